// A connection to a PostgreSQL server that sends a transaction as one pipeline: the thin layer over libpq.
#pragma once

#include <cstdint>
#include <optional>
#include <stdexcept>
#include <string>
#include <unordered_map>
#include <vector>

struct pg_conn;
struct pg_result;

namespace levin::tune::detail {

/** A parameter of a statement as text; nothing is NULL. */
using PgParam = std::optional<std::string>;

struct PgStatement {
  std::string sql;
  std::vector<PgParam> params = {};
};

/** The rows that one statement returned. */
struct PgRows {
  std::vector<std::vector<PgParam>> rows;

  bool empty() const { return rows.empty(); }
  std::int64_t integer(std::size_t row, std::size_t column) const;
  double real(std::size_t row, std::size_t column) const;
  const std::string& text(std::size_t row, std::size_t column) const;  ///< "" for NULL
  bool is_null(std::size_t row, std::size_t column) const { return !rows[row][column]; }
};

/** What the server said against a statement; nothing of its transaction happened. */
class PgRefused : public std::runtime_error {
 public:
  PgRefused(std::string state, const std::string& message) : std::runtime_error(message), state_(std::move(state)) {}
  /** The five characters of SQLSTATE. */
  const std::string& state() const { return state_; }

 private:
  std::string state_;
};

/** The connection was lost before the server answered: the transaction may or may not have happened. */
class PgLost : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/** One connection; used by one thread at a time. Statements that come again are prepared on the server. */
class PgConnection {
 public:
  PgConnection(std::string url, double timeout);
  ~PgConnection();
  PgConnection(const PgConnection&) = delete;
  PgConnection& operator=(const PgConnection&) = delete;

  /**
   * Runs the statements as one transaction in one round trip and returns what each gave. Conflicts between
   * transactions (serialisation, deadlock) are retried. Throws PgRefused, or PgLost when the connection broke; the next
   * call makes it anew.
   */
  std::vector<PgRows> run(const std::vector<PgStatement>& statements);

  /** The URL without its password. */
  const std::string& shown_url() const { return shown_url_; }
  std::int64_t round_trips() const { return round_trips_; }
  /** How often an open connection was lost. */
  std::int64_t losses() const { return losses_; }

 private:
  void connect();
  void disconnect();
  std::vector<PgRows> run_once(const std::vector<PgStatement>& statements);
  const std::string* name_of(const std::string& sql, bool& is_new);

  std::string url_;
  std::string shown_url_;
  double timeout_;
  pg_conn* connection_ = nullptr;
  std::int64_t round_trips_ = 0;
  std::int64_t losses_ = 0;
  std::unordered_map<std::string, std::string> prepared_;  // names by SQL, "" for what was sent once
  std::int64_t names_ = 0;
  bool prepares_ = true;  // false: behind a pooler that gives each transaction another session
};

}  // namespace levin::tune::detail
