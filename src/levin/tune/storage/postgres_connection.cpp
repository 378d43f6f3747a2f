#include <levin/tune/storage/postgres_connection.h>

#include <levin/core/console.h>
#include <levin/core/error.h>
#include <levin/core/value.h>

#include <libpq-fe.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cstdlib>
#include <dlfcn.h>
#include <random>
#include <thread>
#include <utility>

namespace levin::tune::detail {
namespace {

// libpq brings a dozen libraries with it, so it is opened when it is needed and not when a program starts.
struct Libpq {
#define LEVIN_LIBPQ(f) decltype(&::f) f = nullptr
  LEVIN_LIBPQ(PQconnectdb);
  LEVIN_LIBPQ(PQfinish);
  LEVIN_LIBPQ(PQstatus);
  LEVIN_LIBPQ(PQerrorMessage);
  LEVIN_LIBPQ(PQenterPipelineMode);
  LEVIN_LIBPQ(PQpipelineSync);
  LEVIN_LIBPQ(PQsendQueryParams);
  LEVIN_LIBPQ(PQsendPrepare);
  LEVIN_LIBPQ(PQsendQueryPrepared);
  LEVIN_LIBPQ(PQgetResult);
  LEVIN_LIBPQ(PQresultStatus);
  LEVIN_LIBPQ(PQresultErrorField);
  LEVIN_LIBPQ(PQresultErrorMessage);
  LEVIN_LIBPQ(PQntuples);
  LEVIN_LIBPQ(PQnfields);
  LEVIN_LIBPQ(PQgetvalue);
  LEVIN_LIBPQ(PQgetlength);
  LEVIN_LIBPQ(PQgetisnull);
  LEVIN_LIBPQ(PQclear);
  LEVIN_LIBPQ(PQsetNoticeProcessor);
#undef LEVIN_LIBPQ

  Libpq() {
    void* library = ::dlopen("libpq.so.5", RTLD_NOW | RTLD_LOCAL);
    if (library == nullptr) {
      throw Error({.what = "PostgreSQL's client library cannot be opened",
                   .value = ::dlerror(),
                   .where = "storage",
                   .hint = "install it (libpq5 on Debian)"});
    }
    const auto find = [&](const char* name) {
      void* symbol = ::dlsym(library, name);
      if (symbol == nullptr) {
        throw Error({.what = "PostgreSQL's client library is too old",
                     .value = std::string("no ") + name,
                     .where = "storage",
                     .hint = "install version 14 or newer"});
      }
      return symbol;
    };
#define LEVIN_LIBPQ(f) f = reinterpret_cast<decltype(&::f)>(find(#f))
    LEVIN_LIBPQ(PQconnectdb);
    LEVIN_LIBPQ(PQfinish);
    LEVIN_LIBPQ(PQstatus);
    LEVIN_LIBPQ(PQerrorMessage);
    LEVIN_LIBPQ(PQenterPipelineMode);
    LEVIN_LIBPQ(PQpipelineSync);
    LEVIN_LIBPQ(PQsendQueryParams);
    LEVIN_LIBPQ(PQsendPrepare);
    LEVIN_LIBPQ(PQsendQueryPrepared);
    LEVIN_LIBPQ(PQgetResult);
    LEVIN_LIBPQ(PQresultStatus);
    LEVIN_LIBPQ(PQresultErrorField);
    LEVIN_LIBPQ(PQresultErrorMessage);
    LEVIN_LIBPQ(PQntuples);
    LEVIN_LIBPQ(PQnfields);
    LEVIN_LIBPQ(PQgetvalue);
    LEVIN_LIBPQ(PQgetlength);
    LEVIN_LIBPQ(PQgetisnull);
    LEVIN_LIBPQ(PQclear);
    LEVIN_LIBPQ(PQsetNoticeProcessor);
#undef LEVIN_LIBPQ
  }
};

const Libpq& pq() {
  static const Libpq library;
  return library;
}

std::string one_line(std::string text) {
  std::replace(text.begin(), text.end(), '\n', ' ');
  while (!text.empty() && text.back() == ' ') text.pop_back();
  return text;
}

// "postgresql://user:secret@host/db" without the secret.
std::string without_password(const std::string& url) {
  const auto start = url.find("://");
  const auto end = url.find_first_of("/?", start == std::string::npos ? 0 : start + 3);
  const auto at = url.rfind('@', end);
  if (start == std::string::npos || at == std::string::npos || at < start) return url;
  const auto colon = url.find(':', start + 3);
  if (colon == std::string::npos || colon > at) return url;
  return url.substr(0, colon) + url.substr(at);
}

void pause(double seconds) {
  thread_local std::minstd_rand random{std::random_device{}()};
  std::this_thread::sleep_for(
      std::chrono::duration<double>(seconds * std::uniform_real_distribution(0.5, 1.5)(random)));
}

}  // namespace

std::int64_t PgRows::integer(std::size_t row, std::size_t column) const {
  return rows[row][column] ? std::strtoll(rows[row][column]->c_str(), nullptr, 10) : 0;
}

double PgRows::real(std::size_t row, std::size_t column) const {
  const std::string& digits = text(row, column);
  double value = 0;
  std::from_chars(digits.data(), digits.data() + digits.size(), value);
  return value;
}

const std::string& PgRows::text(std::size_t row, std::size_t column) const {
  static const std::string empty;
  return rows[row][column] ? *rows[row][column] : empty;
}

PgConnection::PgConnection(std::string url, double timeout)
    : url_(std::move(url)), shown_url_(without_password(url_)), timeout_(timeout) {
  connect();
}

PgConnection::~PgConnection() { disconnect(); }

void PgConnection::disconnect() {
  if (connection_ != nullptr) {
    pq().PQfinish(connection_);
    ++losses_;
  }
  connection_ = nullptr;
  prepared_.clear();
}

// A server that starts, restarts or has no room is waited for; one that refuses is not.
void PgConnection::connect() {
  disconnect();
  const auto start = std::chrono::steady_clock::now();
  for (double wait = 0.02;; wait = std::min(1.0, wait * 1.5)) {
    connection_ = pq().PQconnectdb(url_.c_str());
    if (connection_ != nullptr && pq().PQstatus(connection_) == CONNECTION_OK) break;
    const std::string said = connection_ == nullptr ? "no memory" : one_line(pq().PQerrorMessage(connection_));
    disconnect();
    const auto says = [&](const char* part) { return said.find(part) != std::string::npos; };
    const bool passes = says("starting up") || says("shutting down") || says("not yet accepting connections") ||
                        says("too many clients") || says("Connection refused") || says("No such file") ||
                        says("in recovery mode") || says("server closed the connection") || says("reserved for");
    const double waited = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    if (!passes || waited >= timeout_) {
      throw Error({.what = "there is no connection to the PostgreSQL server: " + said,
                   .value = {},
                   .where = shown_url_,
                   .hint = passes ? "see whether the server runs; it was waited for " + format_double(timeout_) + " s"
                                  : "the URL is postgresql://USER@HOST:PORT/DATABASE"});
    }
    pause(wait);
  }
  pq().PQsetNoticeProcessor(connection_, [](void*, const char*) {}, nullptr);
  if (pq().PQenterPipelineMode(connection_) != 1) {
    throw Error({.what = "the PostgreSQL connection takes no pipelines", .value = {}, .where = shown_url_, .hint = {}});
  }
}

std::vector<PgRows> PgConnection::run(const std::vector<PgStatement>& statements) {
  constexpr int kRetries = 20;
  for (int attempt = 0;; ++attempt) {
    try {
      return run_once(statements);
    } catch (const PgRefused& refused) {
      // The session is not the one that statements were prepared in (invalid or duplicate statement name).
      if (prepares_ && (refused.state() == "26000" || refused.state() == "42P05")) {
        prepares_ = false;
        continue;
      }
      const bool conflict = refused.state() == "40001" || refused.state() == "40P01";
      if (!conflict || attempt == kRetries) throw;
      pause(std::min(0.2, 0.002 * (1 << std::min(attempt, 7))));
    }
  }
}

// The name that a statement is prepared under; null for one that is sent as it is: the first time, and when there are
// too many different ones.
const std::string* PgConnection::name_of(const std::string& sql, bool& is_new) {
  constexpr std::size_t kMost = 200;
  is_new = false;
  if (!prepares_) return nullptr;
  const auto found = prepared_.find(sql);
  if (found == prepared_.end()) {
    if (prepared_.size() >= kMost) std::erase_if(prepared_, [](const auto& entry) { return entry.second.empty(); });
    if (prepared_.size() < kMost) prepared_.emplace(sql, "");
    return nullptr;
  }
  is_new = found->second.empty();
  if (is_new) found->second = "levin_" + std::to_string(++names_);
  return &found->second;
}

std::vector<PgRows> PgConnection::run_once(const std::vector<PgStatement>& statements) {
  const auto lost = [&]() -> PgLost {
    const std::string said = one_line(pq().PQerrorMessage(connection_));
    disconnect();
    return PgLost(said.empty() ? "the connection was lost" : said);
  };
  if (connection_ == nullptr) connect();
  if (pq().PQstatus(connection_) != CONNECTION_OK) throw lost();
  // What is sent before a sync is one transaction.
  std::vector<const std::string*> prepares;  // by result, in order: the SQL that it prepares, null for an answer
  for (const auto& statement : statements) {
    std::vector<const char*> values;
    for (const auto& param : statement.params) values.push_back(param ? param->c_str() : nullptr);
    const int count = static_cast<int>(values.size());
    bool is_new = false;
    const std::string* name = name_of(statement.sql, is_new);
    if (is_new) {
      if (pq().PQsendPrepare(connection_, name->c_str(), statement.sql.c_str(), 0, nullptr) != 1) throw lost();
      prepares.push_back(&statement.sql);
    }
    const int sent = name != nullptr ? pq().PQsendQueryPrepared(connection_, name->c_str(), count, values.data(),
                                                                nullptr, nullptr, 0)
                                     : pq().PQsendQueryParams(connection_, statement.sql.c_str(), count, nullptr,
                                                              values.data(), nullptr, nullptr, 0);
    if (sent != 1) throw lost();
    prepares.push_back(nullptr);
  }
  if (pq().PQpipelineSync(connection_) != 1) throw lost();
  ++round_trips_;
  std::vector<PgRows> out;
  std::optional<PgRefused> refused;
  // Each statement has one result, the sync another, and a null stands between them. libpq may lose a connection
  // without saying so and then gives nulls, or one and the same error, without end.
  const std::size_t most = prepares.size() + 2;
  bool ended = false;
  for (std::size_t results = 0;;) {
    pg_result* result = pq().PQgetResult(connection_);
    if (result == nullptr) {
      if (std::exchange(ended, true) || pq().PQstatus(connection_) != CONNECTION_OK) throw lost();
      continue;
    }
    ended = false;
    if (++results > most) {
      pq().PQclear(result);
      throw lost();
    }
    const auto status = pq().PQresultStatus(result);
    const std::string* preparation = results <= prepares.size() ? prepares[results - 1] : nullptr;
    const bool done = status == PGRES_TUPLES_OK || status == PGRES_COMMAND_OK;
    if (preparation != nullptr && !done) {
      prepared_.erase(*preparation);
    } else if (preparation == nullptr && done) {
      PgRows rows;
      const int n_rows = pq().PQntuples(result), n_columns = pq().PQnfields(result);
      for (int row = 0; row < n_rows; ++row) {
        auto& cells = rows.rows.emplace_back();
        for (int column = 0; column < n_columns; ++column) {
          if (pq().PQgetisnull(result, row, column) != 0) {
            cells.emplace_back(std::nullopt);
          } else {
            cells.emplace_back(std::string(pq().PQgetvalue(result, row, column),
                                           static_cast<std::size_t>(pq().PQgetlength(result, row, column))));
          }
        }
      }
      out.push_back(std::move(rows));
    }
    if (status == PGRES_FATAL_ERROR && !refused) {
      const char* state = pq().PQresultErrorField(result, PG_DIAG_SQLSTATE);
      refused.emplace(state != nullptr ? state : "", one_line(pq().PQresultErrorMessage(result)));
    }
    pq().PQclear(result);
    if (status == PGRES_PIPELINE_SYNC) break;
    if (pq().PQstatus(connection_) != CONNECTION_OK) throw lost();
  }
  if (refused) {
    // The server ends connections that way when it stops.
    if (refused->state().starts_with("57P")) {
      disconnect();
      throw PgLost(refused->what());
    }
    throw PgRefused(*refused);
  }
  return out;
}

}  // namespace levin::tune::detail
