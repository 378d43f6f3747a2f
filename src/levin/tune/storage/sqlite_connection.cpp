#include <levin/tune/storage/sqlite_connection.h>

#include <levin/core/error.h>
#include <levin/core/value.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <random>
#include <thread>
#include <unistd.h>

namespace levin::tune::detail {

Statement::~Statement() {
  sqlite3_reset(statement_);
  sqlite3_clear_bindings(statement_);
}

Statement& Statement::bind(int index, std::int64_t value) {
  sqlite3_bind_int64(statement_, index, value);
  return *this;
}

Statement& Statement::bind(int index, double value) {
  sqlite3_bind_double(statement_, index, value);
  return *this;
}

Statement& Statement::bind(int index, std::string_view value) {
  sqlite3_bind_text64(statement_, index, value.data(), value.size(), SQLITE_TRANSIENT, SQLITE_UTF8);
  return *this;
}

Statement& Statement::bind_null(int index) {
  sqlite3_bind_null(statement_, index);
  return *this;
}

bool Statement::step() {
  const int code = sqlite3_step(statement_);
  if (code == SQLITE_ROW) return true;
  if (code == SQLITE_DONE) return false;
  connection_.fail(code);
}

std::string Statement::text(int column) const {
  const auto* text = reinterpret_cast<const char*>(sqlite3_column_text(statement_, column));
  if (text == nullptr) return {};
  return {text, static_cast<std::size_t>(sqlite3_column_bytes(statement_, column))};
}

Connection::Connection(std::string path, bool create, double wait) : path_(std::move(path)), wait_(wait) {
  namespace fs = std::filesystem;
  const auto refuse = [&](const std::string& what, const std::string& hint) {
    throw Error({.what = what, .value = "\"" + path_ + "\"", .where = "storage", .hint = hint});
  };
  std::error_code ignored;
  if (path_ != ":memory:") {
    if (fs::is_directory(path_, ignored)) refuse("a storage must be a file, and this is a folder", "name a file in it");
    const auto folder = fs::path(path_).parent_path();
    if (!folder.empty() && !fs::is_directory(folder, ignored)) {
      refuse("the folder of the storage does not exist", "create " + folder.string());
    }
    if (!create && !fs::exists(path_, ignored))
      refuse("there is no such storage", "check the path, or run a study first");
  }
  const int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | (create ? SQLITE_OPEN_CREATE : 0);
  int code = sqlite3_open_v2(path_.c_str(), &handle_, flags, nullptr);
  if (code == SQLITE_OK && is_finished_elsewhere()) {
    sqlite3_close_v2(handle_);
    std::string uri = "file:";
    for (const char c : path_) {
      if (c == '?' || c == '#' || c == '%') {
        char hex[4];
        std::snprintf(hex, sizeof hex, "%%%02X", static_cast<unsigned char>(c));
        uri += hex;
      } else {
        uri += c;
      }
    }
    code = sqlite3_open_v2((uri + "?immutable=1").c_str(), &handle_,
                           SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_URI, nullptr);
  }
  if (code != SQLITE_OK) {
    try {
      fail(code);
    } catch (...) {
      sqlite3_close_v2(handle_);
      throw;
    }
  }
  sqlite3_extended_result_codes(handle_, 1);
  sqlite3_exec(handle_, "PRAGMA synchronous = FULL", nullptr, nullptr, nullptr);
  sqlite3_busy_handler(handle_, &Connection::on_busy, this);
}

// A file with a write-ahead log that nobody has open, in a folder where none can be made: it can only be looked at.
bool Connection::is_finished_elsewhere() const {
  char* reason = nullptr;
  const int code = sqlite3_exec(handle_, "SELECT 1 FROM sqlite_master", nullptr, nullptr, &reason);
  sqlite3_free(reason);
  const bool no_log = !std::filesystem::exists(path_ + "-wal");
  return (code & 0xff) == SQLITE_CANTOPEN && no_log && ::access(path_.c_str(), R_OK) == 0;
}

Connection::~Connection() {
  for (const auto& [sql, statement] : statements_) sqlite3_finalize(statement);
  sqlite3_close_v2(handle_);
}

// Waits a random while, so that many workers do not come back all at once.
int Connection::on_busy(void* self, int count) {
  auto& connection = *static_cast<Connection*>(self);
  if (count == 0) connection.waited_ = 0;
  if (connection.waited_ >= connection.wait_) return 0;
  thread_local std::minstd_rand random{std::random_device{}()};
  const double longest = std::min(0.05, 0.001 * (1 << std::min(count, 6)));
  const double pause = std::uniform_real_distribution(0.0005, longest)(random);
  std::this_thread::sleep_for(std::chrono::duration<double>(pause));
  connection.waited_ += pause;
  return 1;
}

sqlite3_stmt* Connection::compile(const std::string& sql) {
  sqlite3_stmt* statement = nullptr;
  const int code = sqlite3_prepare_v2(handle_, sql.c_str(), -1, &statement, nullptr);
  if (code != SQLITE_OK) fail(code);
  return statement;
}

Statement Connection::prepare(const char* sql) {
  auto& statement = statements_[sql];
  if (statement == nullptr) statement = compile(sql);
  return {*this, statement};
}

void Connection::execute(const char* sql) {
  const int code = sqlite3_exec(handle_, sql, nullptr, nullptr, nullptr);
  if (code != SQLITE_OK) fail(code);
}

void Connection::use_write_ahead_log() {
  // Another process may be making the same file; then it sets this.
  for (int attempt = 0; attempt < 50; ++attempt) {
    const int code = sqlite3_exec(handle_, "PRAGMA journal_mode = WAL", nullptr, nullptr, nullptr);
    if ((code & 0xff) != SQLITE_BUSY) return;
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
}

bool Connection::has_write_ahead_log() {
  Statement statement = prepare("PRAGMA journal_mode");
  return statement.step() && statement.text(0) == "wal";
}

void Connection::wait_for_disk(bool wait) {
  if (wait == waits_for_disk_) return;
  // Without a write-ahead log, not waiting could damage the file.
  if (!wait && !has_write_ahead_log()) return;
  execute(wait ? "PRAGMA synchronous = FULL" : "PRAGMA synchronous = NORMAL");
  waits_for_disk_ = wait;
}

void Connection::fail(int code) const {
  const std::string said = handle_ != nullptr ? sqlite3_errmsg(handle_) : sqlite3_errstr(code);
  std::string what = "the storage failed (" + said + ")", hint;
  switch (code & 0xff) {
    case SQLITE_NOTADB:
    case SQLITE_CORRUPT:
      what = "this file is no SQLite database, or a damaged one";
      hint = "name another file";
      break;
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
      what = "the storage stayed locked by another process for " + format_double(wait_) + " s";
      hint = "see who holds it open, or run fewer workers at once";
      break;
    case SQLITE_READONLY:
      what = "the storage cannot be written";
      hint = "check the permissions of the file and of its folder";
      break;
    case SQLITE_CANTOPEN:
    case SQLITE_PERM:
      what = "the storage cannot be opened";
      hint = "check the permissions of the file and of its folder";
      break;
    case SQLITE_FULL: what = "there is no space left for the storage"; break;
    default: break;
  }
  throw Error({.what = what, .value = "\"" + path_ + "\"", .where = "storage", .hint = hint});
}

Transaction::Transaction(Connection& connection, Kind kind, bool last) : connection_(connection) {
  if (kind == Kind::write) connection_.wait_for_disk(last);
  connection_.execute(kind == Kind::write ? "BEGIN IMMEDIATE" : "BEGIN");
}

Transaction::~Transaction() {
  if (!open_) return;
  try {
    connection_.execute("ROLLBACK");
  } catch (...) {
    // SQLite has rolled back by itself already.
  }
}

void Transaction::commit() {
  connection_.execute("COMMIT");
  open_ = false;
}

}  // namespace levin::tune::detail
