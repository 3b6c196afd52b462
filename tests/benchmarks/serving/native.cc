// What compiled code needs for the parts of a request that are not the model: HTTP with the kernel's share, and JSON to float32.
// Measured, never shipped. `parse FILE SECONDS` prints microseconds of CPU a body; `serve PORT` answers every request with the same 250 bytes.
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <fstream>
#include <iterator>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

static size_t parse(std::string_view body, std::vector<float>& rows) {
    size_t at = body.find("\"data\"");
    at = body.find('[', at);
    const char* p = body.data() + at;
    const char* end = body.data() + body.size();
    rows.clear();
    while (p < end && *p != ']') {
        while (p < end && (*p == '[' || *p == ',' || *p == ' ')) ++p;
        float value;
        auto [next, error] = std::from_chars(p, end, value);
        if (error != std::errc()) return 0;
        rows.push_back(value);
        p = next;
        while (p < end && *p == ' ') ++p;
    }
    return rows.size();
}

static int time_parse(const char* path, double seconds) {
    std::ifstream file(path, std::ios::binary);
    std::string body((std::istreambuf_iterator<char>(file)), {});
    std::vector<float> rows;
    size_t values = parse(body, rows), runs = 0;
    std::clock_t begun = std::clock();
    double took = 0;
    while (took < seconds) {
        for (int i = 0; i < 100; ++i) values = parse(body, rows);
        runs += 100;
        took = static_cast<double>(std::clock() - begun) / CLOCKS_PER_SEC;
    }
    std::printf("%zu %.3f\n", values, took * 1e6 / runs);
    return values ? 0 : 1;
}

static std::string answer() {
    std::string body(150, ' ');
    return "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: " + std::to_string(body.size()) +
           "\r\n\r\n" + body;
}

// Length of the first whole request in `in`; 0 when it is not whole.
static size_t whole(const std::string& in) {
    size_t head = in.find("\r\n\r\n");
    if (head == std::string::npos) return 0;
    size_t length = 0, at = in.find("Content-Length: ");
    if (at < head) length = std::strtoul(in.c_str() + at + 16, nullptr, 10);
    return in.size() >= head + 4 + length ? head + 4 + length : 0;
}

static int serve(int port) {
    int listening = socket(AF_INET, SOCK_STREAM, 0), one = 1;
    setsockopt(listening, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<uint16_t>(port));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (bind(listening, reinterpret_cast<sockaddr*>(&address), sizeof address) || listen(listening, 1024)) return 1;
    int poll = epoll_create1(0);
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.fd = listening;
    epoll_ctl(poll, EPOLL_CTL_ADD, listening, &event);
    std::unordered_map<int, std::string> received;
    std::vector<char> buffer(1 << 18);
    const std::string said = answer();
    epoll_event events[256];
    for (;;) {
        int ready = epoll_wait(poll, events, 256, -1);
        for (int i = 0; i < ready; ++i) {
            int fd = events[i].data.fd;
            if (fd == listening) {
                int made = accept4(listening, nullptr, nullptr, SOCK_NONBLOCK);
                setsockopt(made, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
                event.data.fd = made;
                epoll_ctl(poll, EPOLL_CTL_ADD, made, &event);
                continue;
            }
            ssize_t got = read(fd, buffer.data(), buffer.size());
            if (got <= 0) {
                close(fd);
                received.erase(fd);
                continue;
            }
            std::string& in = received[fd];
            in.append(buffer.data(), static_cast<size_t>(got));
            while (size_t size = whole(in)) {
                in.erase(0, size);
                if (write(fd, said.data(), said.size()) < 0) break;
            }
        }
    }
}

int main(int count, char** arguments) {
    if (count == 4 && !std::strcmp(arguments[1], "parse")) return time_parse(arguments[2], std::atof(arguments[3]));
    if (count == 3 && !std::strcmp(arguments[1], "serve")) return serve(std::atoi(arguments[2]));
    std::fputs("parse FILE SECONDS | serve PORT\n", stderr);
    return 2;
}
