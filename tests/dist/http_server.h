// A web server for tests, on a port of its own of 127.0.0.1: answers what a function says.
#pragma once

#include <arpa/inet.h>
#include <atomic>
#include <functional>
#include <map>
#include <mutex>
#include <netinet/in.h>
#include <poll.h>
#include <stdexcept>
#include <string>
#include <sys/socket.h>
#include <thread>
#include <unistd.h>
#include <vector>

namespace levin::dist {

class HttpServer {
 public:
  struct Request {
    std::string method, path, body, head;
  };
  struct Response {
    int status = 200;
    std::string body = {};
    bool complete = true;  // false: says that more is to come, and hangs up
  };
  using Answer = std::function<Response(const Request&)>;

  explicit HttpServer(Answer answer) : answer_(std::move(answer)) {
    socket_ = ::socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    if (::bind(socket_, reinterpret_cast<sockaddr*>(&address), size) != 0 || ::listen(socket_, 64) != 0) {
      throw std::runtime_error("no port for a test's server");
    }
    ::getsockname(socket_, reinterpret_cast<sockaddr*>(&address), &size);
    port_ = ntohs(address.sin_port);
    acceptor_ = std::thread([this] { accept(); });
  }

  ~HttpServer() {
    stopping_ = true;
    acceptor_.join();
    for (auto& thread : connections_) thread.join();
    ::close(socket_);
  }

  std::string url() const { return "http://127.0.0.1:" + std::to_string(port_); }

 private:
  void accept() {
    while (!stopping_) {
      pollfd wait{socket_, POLLIN, 0};
      if (::poll(&wait, 1, 20) <= 0) continue;
      const int connection = ::accept(socket_, nullptr, nullptr);
      if (connection >= 0) connections_.emplace_back([this, connection] { serve(connection); });
    }
  }

  void serve(int connection) {
    std::string text;
    const auto read_to = [&](const auto& enough) {
      char buffer[65536];
      while (!enough()) {
        const auto got = ::recv(connection, buffer, sizeof buffer, 0);
        if (got <= 0) return false;
        text.append(buffer, static_cast<std::size_t>(got));
      }
      return true;
    };
    if (read_to([&] { return text.find("\r\n\r\n") != std::string::npos; })) {
      Request request;
      const auto head_end = text.find("\r\n\r\n");
      request.head = text.substr(0, head_end);
      const auto space = text.find(' ');
      request.method = text.substr(0, space);
      request.path = text.substr(space + 1, text.find(' ', space + 1) - space - 1);
      std::size_t length = 0;
      if (const auto at = request.head.find("Content-Length: "); at != std::string::npos) {
        length = std::stoul(request.head.substr(at + 16));
      }
      read_to([&] { return text.size() >= head_end + 4 + length; });
      request.body = text.substr(head_end + 4, length);
      const Response response = answer_(request);
      const std::size_t said = response.body.size() + (response.complete ? 0 : 100);
      const std::string out = "HTTP/1.1 " + std::to_string(response.status) + " Word\r\nContent-Length: " +
                              std::to_string(said) + "\r\nConnection: close\r\n\r\n" + response.body;
      for (std::size_t sent = 0; sent < out.size();) {
        const auto done = ::send(connection, out.data() + sent, out.size() - sent, MSG_NOSIGNAL);
        if (done <= 0) break;
        sent += static_cast<std::size_t>(done);
      }
    }
    ::close(connection);
  }

  Answer answer_;
  int socket_ = -1, port_ = 0;
  std::atomic<bool> stopping_{false};
  std::thread acceptor_;
  std::vector<std::thread> connections_;
};

}  // namespace levin::dist
