#include <levin/dist/http_client.h>
#include <levin/dist/zip_archive.h>

#include <gtest/gtest.h>

#include <dist/http_server.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sys/wait.h>

namespace levin::dist {
namespace {

namespace fs = std::filesystem;

std::string message_of(const std::function<void()>& call) {
  try {
    call();
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

TEST(HttpClient, SendsMethodPathBodyAndToken) {
  HttpServer::Request seen;
  HttpServer server([&](const HttpServer::Request& request) {
    seen = request;
    return HttpServer::Response{.status = 201, .body = "made"};
  });
  const HttpClient client({.base_url = server.url() + "/", .token = "secret"});
  const std::string body(200'000, 'x');
  const auto response = client.request("PUT", "/a?b=" + url_encoded("c d/&"), body, "application/octet-stream");
  EXPECT_EQ(response.status, 201);
  EXPECT_EQ(response.body, "made");
  EXPECT_EQ(seen.method, "PUT");
  EXPECT_EQ(seen.path, "/a?b=c%20d%2F%26");
  EXPECT_EQ(seen.body, body);
  EXPECT_NE(seen.head.find("Authorization: Bearer secret"), std::string::npos);
  EXPECT_NE(seen.head.find("Content-Type: application/octet-stream"), std::string::npos);
}

TEST(HttpClient, StreamsWhatArrives) {
  HttpServer server([](const HttpServer::Request& request) {
    return HttpServer::Response{.status = request.path == "/there" ? 200 : 404, .body = "a\nb\n"};
  });
  const HttpClient client({.base_url = server.url()});
  HttpStream stream = client.stream("/there");
  std::string all;
  while (const auto text = stream.read(1)) all += *text;
  EXPECT_EQ(all, "a\nb\n");
  EXPECT_EQ(stream.status(), 200);
  HttpStream missing = client.stream("/gone");
  while (missing.read(1)) {
  }
  EXPECT_EQ(missing.status(), 404);
  EXPECT_EQ(HttpStream().read(1), std::nullopt);
}

TEST(HttpClient, FailuresSayWhatHappened) {
  std::string closed;
  {
    const HttpServer server([](const HttpServer::Request&) { return HttpServer::Response{}; });
    closed = server.url();
  }
  const HttpClient refused({.base_url = closed});
  EXPECT_THROW(refused.request("GET", "/"), Unreachable);
  EXPECT_NE(message_of([&] { refused.request("GET", "/"); }).find(closed + " cannot be reached"), std::string::npos);

  HttpServer cut([](const HttpServer::Request&) { return HttpServer::Response{.body = "{", .complete = false}; });
  EXPECT_THROW(HttpClient({.base_url = cut.url()}).request("GET", "/"), Unreachable);

  HttpServer slow([](const HttpServer::Request&) {
    std::this_thread::sleep_for(std::chrono::milliseconds(400));
    return HttpServer::Response{};
  });
  EXPECT_THROW(HttpClient({.base_url = slow.url(), .timeout = 0.1}).request("GET", "/"), Unreachable);

  EXPECT_NE(message_of([] { HttpClient({.base_url = "head:8265"}); }).find("http://HOST:PORT"), std::string::npos);
  EXPECT_NE(message_of([] { HttpClient({.base_url = "http://"}); }).find("no address"), std::string::npos);
  EXPECT_NE(message_of([] { HttpClient({.base_url = "http://h", .token = "a\nb"}); }).find("one line"), std::string::npos);
  EXPECT_NE(message_of([] { HttpClient({.base_url = "https://h", .ca_file = "/none.pem"}); }).find("/none.pem"),
            std::string::npos);
}

// A server with a certificate of its own making: refused, unless that certificate is trusted.
TEST(HttpClient, TlsIsChecked) {
  if (std::system("command -v openssl >/dev/null") != 0) GTEST_SKIP() << "openssl is not installed";
  const fs::path folder = fs::temp_directory_path() / ("levin_tls_" + std::to_string(::getpid()));
  fs::create_directories(folder);
  const std::string pem = (folder / "cert.pem").string(), key = (folder / "key.pem").string();
  const std::string make = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -addext "
                           "subjectAltName=DNS:localhost,IP:127.0.0.1 -keyout " + key + " -out " + pem + " 2>/dev/null";
  ASSERT_EQ(std::system(make.c_str()), 0);
  // A port that was free a moment ago.
  std::string port;
  {
    const HttpServer server([](const HttpServer::Request&) { return HttpServer::Response{}; });
    port = server.url().substr(server.url().rfind(':') + 1);
  }
  const pid_t process = ::fork();
  if (process == 0) {
    ::execlp("openssl", "openssl", "s_server", "-quiet", "-www", "-accept", ("127.0.0.1:" + port).c_str(), "-cert",
             pem.c_str(), "-key", key.c_str(), nullptr);
    ::_exit(127);
  }
  const HttpOptions options{.base_url = "https://127.0.0.1:" + port};
  std::string refusal;
  for (int i = 0; i < 100; ++i) {
    refusal = message_of([&] { HttpClient(options).request("GET", "/"); });
    if (refusal.find("no safe connection") != std::string::npos) break;
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }
  EXPECT_NE(refusal.find("no safe connection to https://127.0.0.1:"), std::string::npos) << refusal;
  EXPECT_NE(refusal.find("PEM file"), std::string::npos) << refusal;
  HttpOptions trusting = options;
  trusting.ca_file = pem;
  EXPECT_EQ(HttpClient(trusting).request("GET", "/").status, 200);
  ::kill(process, SIGTERM);
  ::waitpid(process, nullptr, 0);
  fs::remove_all(folder);
}

TEST(ZipArchive, UnpacksToTheSameFiles) {
  const fs::path folder = fs::temp_directory_path() / ("levin_zip_" + std::to_string(::getpid()));
  fs::create_directories(folder);
  ZipArchive archive;
  std::string large;
  for (int i = 0; i < 100'000; ++i) large += std::to_string(i * 7919 % 65537);
  archive.add("bin/program", "#!/bin/sh\necho ran\n", true);
  archive.add("data/large.txt", large);
  archive.add("empty", "");
  EXPECT_THROW(archive.add("empty", "again"), Error);
  EXPECT_THROW(archive.add("../out", ""), Error);
  EXPECT_THROW(archive.add("/out", ""), Error);
  const std::string bytes = archive.bytes();
  EXPECT_LT(bytes.size(), large.size());
  std::ofstream(folder / "a.zip", std::ios::binary) << bytes;
  // As Ray unpacks it: Python's zipfile, with the mode from the attributes.
  const std::string unpack = "cd " + folder.string() + R"( && python3 -c '
import os, zipfile
with zipfile.ZipFile("a.zip") as z:
    assert z.testzip() is None
    for i in z.infolist():
        os.chmod(z.extract(i), i.external_attr >> 16)' && ./bin/program > ran && test ! -x empty)";
  ASSERT_EQ(std::system(unpack.c_str()), 0);
  std::ifstream file(folder / "data/large.txt", std::ios::binary);
  EXPECT_EQ(std::string(std::istreambuf_iterator<char>(file), {}), large);
  std::ifstream ran(folder / "ran");
  EXPECT_EQ(std::string(std::istreambuf_iterator<char>(ran), {}), "ran\n");
  EXPECT_EQ(fs::file_size(folder / "empty"), 0u);
  fs::remove_all(folder);
}

}  // namespace
}  // namespace levin::dist
