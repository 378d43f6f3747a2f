// A PostgreSQL server for tests: its own data in a temporary folder, reached by a socket there, gone at the end.
#pragma once

#include <fcntl.h>
#include <pwd.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace levin::tune {

class PostgresServer {
 public:
  /** The server of this process, started at the first call; not `running()` where PostgreSQL is not installed. */
  static PostgresServer& instance() {
    static PostgresServer server;
    return server;
  }

  static std::filesystem::path programs() {
    std::filesystem::path newest;
    std::error_code ignored;
    for (const auto& version : std::filesystem::directory_iterator("/usr/lib/postgresql", ignored)) {
      if (std::filesystem::exists(version.path() / "bin/initdb")) newest = std::max(newest, version.path() / "bin");
    }
    return newest;
  }
  static bool installed() { return !programs().empty(); }

  bool running() const { return process_ > 0; }

  /** An empty database of its own, as a URL. */
  std::string fresh_url() {
    static std::atomic<int> count{0};
    const std::string schema = "s" + std::to_string(count++);
    run({programs() / "psql", "-q", "-h", folder_, "-U", "levin", "-d", "postgres", "-c", "CREATE SCHEMA " + schema});
    return "postgresql://levin@/postgres?host=" + folder_ + "&options=-csearch_path%3D" + schema;
  }

  /** Runs SQL in one transaction. */
  void execute(const std::string& url, const std::string& sql) const {
    if (run({programs() / "psql", "-q", "-v", "ON_ERROR_STOP=1", "-d", url, "-c", sql}) != 0) {
      throw std::runtime_error("psql failed: " + sql);
    }
  }

  /** Stops the server at once, as a crash would, and starts it again. */
  void crash() {
    ::kill(process_, SIGQUIT);
    ::waitpid(process_, nullptr, 0);
    start();
  }

  ~PostgresServer() {
    if (running()) {
      ::kill(process_, SIGQUIT);
      ::waitpid(process_, nullptr, 0);
    }
    std::error_code ignored;
    if (!folder_.empty()) std::filesystem::remove_all(folder_, ignored);
  }

 private:
  PostgresServer() {
    if (!installed()) return;
    folder_ = "/tmp/levin-pg-" + std::to_string(::getpid());
    std::filesystem::create_directory(folder_);
    if (const passwd* user = server_user()) {
      if (::chown(folder_.c_str(), user->pw_uid, user->pw_gid) != 0) return;
    }
    if (run({programs() / "initdb", "-D", folder_ + "/data", "-U", "levin", "-A", "trust", "-N"}) != 0) return;
    start();
  }

  // A server does not run as root.
  static const passwd* server_user() {
    if (::geteuid() != 0) return nullptr;
    const passwd* user = ::getpwnam("postgres");
    return user != nullptr ? user : ::getpwnam("nobody");
  }

  pid_t spawn(const std::vector<std::string>& words) const {
    const pid_t child = ::fork();
    if (child != 0) return child;
    if (const passwd* user = server_user()) {
      if (::setgid(user->pw_gid) != 0 || ::setuid(user->pw_uid) != 0) ::_exit(126);
    }
    if (::chdir("/") != 0) ::_exit(126);
    const int log = ::open((folder_ + "/log").c_str(), O_WRONLY | O_CREAT | O_APPEND, 0600);
    ::dup2(log, 1);
    ::dup2(log, 2);
    std::vector<char*> arguments;
    for (const auto& word : words) arguments.push_back(const_cast<char*>(word.c_str()));
    arguments.push_back(nullptr);
    ::execv(arguments[0], arguments.data());
    ::_exit(127);
  }

  int run(const std::vector<std::string>& words) const {
    int status = -1;
    ::waitpid(spawn(words), &status, 0);
    return status;
  }

  // Without fsync: what tests lose are processes, not the machine, and a slow disk must not decide how long they take.
  void start() {
    process_ = 0;
    for (int i = 0; i < 600; ++i) {
      if (process_ > 0 && ::waitpid(process_, nullptr, WNOHANG) == process_) process_ = 0;
      if (process_ == 0) {  // also again, where what a crash left behind kept it from starting
        process_ = spawn({programs() / "postgres", "-D", folder_ + "/data", "-k", folder_, "-c",
                          "listen_addresses=", "-c", "fsync=off"});
      }
      if (run({programs() / "pg_isready", "-q", "-h", folder_, "-U", "levin", "-d", "postgres"}) == 0) return;
      std::this_thread::sleep_for(std::chrono::milliseconds(50));
    }
    ::kill(process_, SIGQUIT);
    ::waitpid(process_, nullptr, 0);
    process_ = 0;
  }

  std::string folder_;
  pid_t process_ = 0;
};

}  // namespace levin::tune
