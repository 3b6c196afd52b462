-- Sends whole requests from files, in turn, and prints what came of them as one JSON line. Arguments: the files.
local requests, at = {}, 0

function init(paths)
  for position, path in ipairs(paths) do
    local file = assert(io.open(path, "rb"))
    requests[position] = file:read("*a")
    file:close()
  end
end

function request()
  at = at % #requests + 1
  return requests[at]
end

function done(summary, latency)
  local errors = summary.errors
  io.write(string.format(
    '\n{"requests":%d,"microseconds":%d,"p50":%.0f,"p99":%.0f,"max":%.0f,"refused":%d,"broken":%d,"late":%d}\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99), latency.max,
    errors.status, errors.connect + errors.read + errors.write, errors.timeout))
end
