// A connection to an SQLite file, its statements and transactions: the thin layer over SQLite's C interface.
#pragma once

#include <sqlite3.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>

namespace levin::tune::detail {

class Connection;

/** A prepared statement, bound and stepped; it is reset when it goes out of scope and kept for the next use. */
class Statement {
 public:
  Statement(Connection& connection, sqlite3_stmt* statement) : connection_(connection), statement_(statement) {}
  ~Statement();
  Statement(const Statement&) = delete;
  Statement& operator=(const Statement&) = delete;

  Statement& bind(int index, std::int64_t value);
  Statement& bind(int index, double value);
  Statement& bind(int index, std::string_view value);
  Statement& bind_null(int index);

  /** The next row is there; throws Error when the database says no. */
  bool step();
  /** Steps a statement that returns no rows. */
  void run() { step(); }

  bool is_null(int column) const { return sqlite3_column_type(statement_, column) == SQLITE_NULL; }
  std::int64_t integer(int column) const { return sqlite3_column_int64(statement_, column); }
  double real(int column) const { return sqlite3_column_double(statement_, column); }
  std::string text(int column) const;

 private:
  Connection& connection_;
  sqlite3_stmt* statement_;
};

/** One connection; used by one thread at a time. */
class Connection {
 public:
  /** Opens the file; when `create` is false it must exist. `wait`: seconds to wait for others' locks. */
  Connection(std::string path, bool create, double wait);
  ~Connection();
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  /** A statement that is kept for the next time. */
  Statement prepare(const char* sql);
  /** A statement that the caller finalises. */
  sqlite3_stmt* compile(const std::string& sql);
  void execute(const char* sql);
  std::int64_t last_id() const { return sqlite3_last_insert_rowid(handle_); }
  const std::string& path() const { return path_; }

  /** Makes a new file keep a write-ahead log, where the file system can (network ones cannot). */
  void use_write_ahead_log();
  /** Whether the file keeps a write-ahead log. */
  bool has_write_ahead_log();
  /** Whether commits wait for the disk from now on. */
  void wait_for_disk(bool wait);

  /** Throws an Error that says what SQLite's code means for the user. */
  [[noreturn]] void fail(int code) const;

 private:
  static int on_busy(void* self, int count);
  bool is_finished_elsewhere() const;

  std::string path_;
  double wait_;
  double waited_ = 0;
  sqlite3* handle_ = nullptr;
  bool waits_for_disk_ = true;
  std::unordered_map<std::string, sqlite3_stmt*> statements_;
};

/** A transaction that is rolled back unless commit() is reached. */
class Transaction {
 public:
  enum class Kind { read, write };

  /**
   * A write transaction takes the write lock at once, so that it never has to give up half way. When it must not
   * `last`, a power cut soon after may undo it (whole); a later one that must last brings it to the disk, too.
   */
  Transaction(Connection& connection, Kind kind, bool last = true);
  ~Transaction();
  Transaction(const Transaction&) = delete;
  Transaction& operator=(const Transaction&) = delete;

  void commit();

 private:
  Connection& connection_;
  bool open_ = true;
};

}  // namespace levin::tune::detail
