-- Health of Experiment, ModelDeployment and DriftMonitor for Argo CD. The three share kstatus conditions, so they share this file.
-- Suspended: it waits for a person's word. Never Unknown: whatever is not understood is Progressing.
local waits = { Suspended = true, Paused = true, CanaryPaused = true, AwaitingApproval = true }
local hs = { status = "Progressing", message = "the operator has not looked at it yet" }
local status = obj.status
if status == nil or status.conditions == nil or status.observedGeneration == nil then
  return hs
end
if obj.metadata.generation ~= nil and status.observedGeneration < obj.metadata.generation then
  hs.message = "the operator has not answered the latest spec yet"
  return hs
end
local stalled = false
local ready = nil
for _, condition in ipairs(status.conditions) do
  if condition.type == "Ready" then
    ready = condition
  elseif condition.type == "Stalled" and condition.status == "True" then
    stalled = true
  end
end
if ready == nil then
  return hs
end
hs.message = (ready.reason or "") .. ": " .. (ready.message or "")
if stalled then
  hs.status = "Degraded"
elseif waits[ready.reason] then
  hs.status = "Suspended"
elseif ready.status == "True" then
  hs.status = "Healthy"
end
return hs
