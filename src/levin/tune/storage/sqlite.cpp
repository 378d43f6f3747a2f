#include <levin/tune/storage/sqlite.h>

#include <levin/core/json.h>
#include <levin/tune/storage/rdb.h>
#include <levin/tune/storage/sqlite_connection.h>
#include <levin/tune/storage/time_text.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <mutex>
#include <unordered_map>
#include <utility>

namespace levin::tune {
namespace {

using detail::Connection;
using detail::Statement;
using detail::Transaction;

// The tables as Optuna 5 makes them; what is there already stays.
constexpr const char* schema = R"(
CREATE TABLE IF NOT EXISTS studies (
  study_id INTEGER NOT NULL, study_name VARCHAR(512) NOT NULL, PRIMARY KEY (study_id));
CREATE UNIQUE INDEX IF NOT EXISTS ix_studies_study_name ON studies (study_name);
CREATE TABLE IF NOT EXISTS version_info (
  version_info_id INTEGER NOT NULL, schema_version INTEGER, library_version VARCHAR(256),
  PRIMARY KEY (version_info_id), CHECK (version_info_id=1));
CREATE TABLE IF NOT EXISTS study_directions (
  study_direction_id INTEGER NOT NULL, direction VARCHAR(8) NOT NULL, study_id INTEGER NOT NULL,
  objective INTEGER NOT NULL, PRIMARY KEY (study_direction_id), UNIQUE (study_id, objective),
  FOREIGN KEY(study_id) REFERENCES studies (study_id));
CREATE TABLE IF NOT EXISTS study_user_attributes (
  study_user_attribute_id INTEGER NOT NULL, study_id INTEGER, "key" VARCHAR(512), value_json TEXT,
  PRIMARY KEY (study_user_attribute_id), UNIQUE (study_id, "key"),
  FOREIGN KEY(study_id) REFERENCES studies (study_id));
CREATE TABLE IF NOT EXISTS study_system_attributes (
  study_system_attribute_id INTEGER NOT NULL, study_id INTEGER, "key" VARCHAR(512), value_json TEXT,
  PRIMARY KEY (study_system_attribute_id), UNIQUE (study_id, "key"),
  FOREIGN KEY(study_id) REFERENCES studies (study_id));
CREATE TABLE IF NOT EXISTS trials (
  trial_id INTEGER NOT NULL, number INTEGER, study_id INTEGER, state VARCHAR(8) NOT NULL,
  datetime_start DATETIME, datetime_complete DATETIME, PRIMARY KEY (trial_id),
  FOREIGN KEY(study_id) REFERENCES studies (study_id));
CREATE INDEX IF NOT EXISTS ix_trials_study_id ON trials (study_id);
CREATE TABLE IF NOT EXISTS trial_user_attributes (
  trial_user_attribute_id INTEGER NOT NULL, trial_id INTEGER, "key" VARCHAR(512), value_json TEXT,
  PRIMARY KEY (trial_user_attribute_id), UNIQUE (trial_id, "key"),
  FOREIGN KEY(trial_id) REFERENCES trials (trial_id));
CREATE TABLE IF NOT EXISTS trial_system_attributes (
  trial_system_attribute_id INTEGER NOT NULL, trial_id INTEGER, "key" VARCHAR(512), value_json TEXT,
  PRIMARY KEY (trial_system_attribute_id), UNIQUE (trial_id, "key"),
  FOREIGN KEY(trial_id) REFERENCES trials (trial_id));
CREATE TABLE IF NOT EXISTS trial_params (
  param_id INTEGER NOT NULL, trial_id INTEGER, param_name VARCHAR(512), param_value FLOAT, distribution_json TEXT,
  PRIMARY KEY (param_id), UNIQUE (trial_id, param_name), FOREIGN KEY(trial_id) REFERENCES trials (trial_id));
CREATE TABLE IF NOT EXISTS trial_values (
  trial_value_id INTEGER NOT NULL, trial_id INTEGER NOT NULL, objective INTEGER NOT NULL, value FLOAT,
  value_type VARCHAR(7) NOT NULL, PRIMARY KEY (trial_value_id), UNIQUE (trial_id, objective),
  FOREIGN KEY(trial_id) REFERENCES trials (trial_id));
CREATE TABLE IF NOT EXISTS trial_intermediate_values (
  trial_intermediate_value_id INTEGER NOT NULL, trial_id INTEGER NOT NULL, step INTEGER NOT NULL,
  intermediate_value FLOAT, intermediate_value_type VARCHAR(7) NOT NULL,
  PRIMARY KEY (trial_intermediate_value_id), UNIQUE (trial_id, step),
  FOREIGN KEY(trial_id) REFERENCES trials (trial_id));
CREATE TABLE IF NOT EXISTS trial_heartbeats (
  trial_heartbeat_id INTEGER NOT NULL, trial_id INTEGER NOT NULL, heartbeat DATETIME NOT NULL,
  PRIMARY KEY (trial_heartbeat_id), UNIQUE (trial_id), FOREIGN KEY(trial_id) REFERENCES trials (trial_id));
CREATE TABLE IF NOT EXISTS alembic_version (
  version_num VARCHAR(32) NOT NULL, CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num));
)";

void bind_number(Statement& statement, int index, double value) {
  if (std::isfinite(value)) {
    statement.bind(index, value);
  } else {
    statement.bind_null(index);
  }
  statement.bind(index + 1, detail::number_type(value));
}

double read_number(const Statement& statement, int column) {
  return detail::read_number(statement.is_null(column) ? 0.0 : statement.real(column), statement.is_null(column),
                             statement.text(column + 1));
}

// What a power cut may take away without harm is not waited for.
bool must_last(const TrialUpdate& update) { return update.state && is_finished(*update.state); }

}  // namespace

class SqliteStorage::Impl {
 public:
  Impl(const std::string& path, SqliteStorageOptions options) : connection(path, options.create, options.timeout) {
    prepare_schema();
  }

  void prepare_schema() {
    const auto has_table = [&](const char* name) {
      Statement statement = connection.prepare("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?");
      return statement.bind(1, name).step();
    };
    // Only a file that lacks tables is written to, so that a read-only file can be looked at.
    if (!has_table("alembic_version") || !has_table("version_info") || !has_table("trial_heartbeats")) {
      if (!has_table("studies")) connection.use_write_ahead_log();
      Transaction transaction(connection, Transaction::Kind::write);
      const bool fresh = !has_table("version_info");
      connection.execute(schema);
      if (fresh) {
        Statement version = connection.prepare("INSERT OR IGNORE INTO version_info VALUES (1, ?, ?)");
        version.bind(1, detail::kSchemaVersion).bind(2, detail::kLibraryVersion).run();
        Statement stamp = connection.prepare("INSERT OR IGNORE INTO alembic_version VALUES (?)");
        stamp.bind(1, detail::kRevision).run();
      }
      transaction.commit();
    }
    std::string found;
    {
      Statement version = connection.prepare("SELECT schema_version FROM version_info");
      found = version.step() ? "schema " + version.text(0) : "no schema version";
      Statement stamp = connection.prepare("SELECT version_num FROM alembic_version");
      found += stamp.step() ? ", revision " + stamp.text(0) : ", no revision";
    }
    detail::check_schema(found, connection.path());
  }

  void require_study(std::int64_t study_id) {
    Statement statement = connection.prepare("SELECT 1 FROM studies WHERE study_id = ?");
    if (statement.bind(1, study_id).step()) return;
    throw Error({.what = "there is no study of this id",
                 .value = std::to_string(study_id),
                 .where = connection.path(),
                 .hint = {}});
  }

  FrozenStudy read_study(std::int64_t study_id) {
    FrozenStudy out;
    out.study_id = study_id;
    {
      Statement statement = connection.prepare("SELECT study_name FROM studies WHERE study_id = ?");
      if (!statement.bind(1, study_id).step()) require_study(study_id);
      out.study_name = statement.text(0);
    }
    {
      Statement statement =
          connection.prepare("SELECT direction FROM study_directions WHERE study_id = ? ORDER BY objective");
      statement.bind(1, study_id);
      while (statement.step()) {
        out.directions.push_back(statement.text(0) == "MAXIMIZE" ? Direction::maximize : Direction::minimize);
      }
    }
    const auto read_attrs = [&](const char* sql, Map& attrs) {
      Statement statement = connection.prepare(sql);
      statement.bind(1, study_id);
      while (statement.step()) attrs[statement.text(0)] = parse_json(statement.text(1));
    };
    read_attrs("SELECT key, value_json FROM study_user_attributes WHERE study_id = ? ORDER BY study_user_attribute_id",
               out.user_attrs);
    read_attrs(
        "SELECT key, value_json FROM study_system_attributes WHERE study_id = ? ORDER BY study_system_attribute_id",
        out.system_attrs);
    return out;
  }

  void check_param(std::int64_t study_id, const std::string& name, const Distribution& next) {
    Statement statement = connection.prepare(
        "SELECT p.distribution_json FROM trials t JOIN trial_params p ON p.trial_id = t.trial_id "
        "WHERE t.study_id = ? AND p.param_name = ? LIMIT 1");
    auto& known = first_distributions[study_id];
    auto it = known.find(name);
    if (it == known.end()) {
      if (!statement.bind(1, study_id).bind(2, name).step()) return;
      it = known.emplace(name, distributions.of(statement.text(0))).first;
    }
    check_compatible(name, it->second, next);
  }

  void write_param(std::int64_t trial_id, const std::string& name, const Distribution& d, double internal) {
    Statement statement = connection.prepare(
        "INSERT INTO trial_params (trial_id, param_name, param_value, distribution_json) VALUES (?, ?, ?, ?) "
        "ON CONFLICT (trial_id, param_name) DO UPDATE SET param_value = excluded.param_value, "
        "distribution_json = excluded.distribution_json");
    statement.bind(1, trial_id).bind(2, name).bind(3, internal).bind(4, d.to_json()).run();
  }

  void write_attrs(const char* sql, std::int64_t id, const Map& attrs) {
    for (const auto& [key, value] : attrs) {
      Statement statement = connection.prepare(sql);
      statement.bind(1, id).bind(2, key).bind(3, to_json(value)).run();
    }
  }

  void write_children(std::int64_t trial_id, const std::vector<double>& values, const auto& reports,
                      const Map& user_attrs, const Map& system_attrs) {
    for (std::size_t i = 0; i < values.size(); ++i) {
      Statement statement = connection.prepare(
          "INSERT INTO trial_values (trial_id, objective, value, value_type) VALUES (?, ?, ?, ?) "
          "ON CONFLICT (trial_id, objective) DO UPDATE SET value = excluded.value, value_type = excluded.value_type");
      statement.bind(1, trial_id).bind(2, static_cast<std::int64_t>(i));
      bind_number(statement, 3, values[i]);
      statement.run();
    }
    for (const auto& [step, value] : reports) {
      Statement statement = connection.prepare(
          "INSERT INTO trial_intermediate_values (trial_id, step, intermediate_value, intermediate_value_type) "
          "VALUES (?, ?, ?, ?) ON CONFLICT (trial_id, step) DO UPDATE SET "
          "intermediate_value = excluded.intermediate_value, intermediate_value_type = "
          "excluded.intermediate_value_type");
      statement.bind(1, trial_id).bind(2, step);
      bind_number(statement, 3, value);
      statement.run();
    }
    write_attrs(
        "INSERT INTO trial_user_attributes (trial_id, key, value_json) VALUES (?, ?, ?) "
        "ON CONFLICT (trial_id, key) DO UPDATE SET value_json = excluded.value_json",
        trial_id, user_attrs);
    write_attrs(
        "INSERT INTO trial_system_attributes (trial_id, key, value_json) VALUES (?, ?, ?) "
        "ON CONFLICT (trial_id, key) DO UPDATE SET value_json = excluded.value_json",
        trial_id, system_attrs);
  }

  // The trials that `condition` selects, with all that belongs to them, in order of their id.
  std::vector<TrialPtr> read_trials(const std::string& condition) {
    detail::TrialRows rows(distributions);
    const auto run = [&](const std::string& sql, const auto& row) {
      // The conditions vary without end, so these statements are not kept.
      sqlite3_stmt* raw = connection.compile(sql);
      const std::unique_ptr<sqlite3_stmt, int (*)(sqlite3_stmt*)> owner(raw, &sqlite3_finalize);
      Statement statement(connection, raw);
      while (statement.step()) row(statement);
    };
    run("SELECT trial_id, number, state, datetime_start, datetime_complete FROM trials WHERE " + condition +
            " ORDER BY trial_id",
        [&](const Statement& s) { rows.trial(s.integer(0), s.integer(1), s.text(2), s.text(3), s.text(4)); });
    if (rows.empty()) return {};
    // Children are found by their trial, so that the tables' unique indices serve.
    const std::string of_these = " WHERE trial_id IN (SELECT trial_id FROM trials WHERE " + condition + ") ORDER BY ";
    run("SELECT trial_id, param_name, param_value, distribution_json FROM trial_params" + of_these + "param_id",
        [&](const Statement& s) { rows.param(s.integer(0), s.text(1), s.real(2), s.text(3)); });
    run("SELECT trial_id, objective, value, value_type FROM trial_values" + of_these + "trial_id, objective",
        [&](const Statement& s) { rows.value(s.integer(0), read_number(s, 2)); });
    run("SELECT trial_id, step, intermediate_value, intermediate_value_type FROM trial_intermediate_values" + of_these +
            "trial_id, step",
        [&](const Statement& s) { rows.report(s.integer(0), s.integer(1), read_number(s, 2)); });
    run("SELECT trial_id, key, value_json FROM trial_user_attributes" + of_these + "trial_user_attribute_id",
        [&](const Statement& s) { rows.user_attr(s.integer(0), s.text(1), s.text(2)); });
    run("SELECT trial_id, key, value_json FROM trial_system_attributes" + of_these + "trial_system_attribute_id",
        [&](const Statement& s) { rows.system_attr(s.integer(0), s.text(1), s.text(2)); });
    return rows.take();
  }

  TrialPtr read_trial(std::int64_t trial_id) {
    auto trials = read_trials("trial_id = " + std::to_string(trial_id));
    if (trials.empty()) throw_no_trial(trial_id);
    return trials.front();
  }

  [[noreturn]] void throw_no_trial(std::int64_t trial_id) {
    throw Error({.what = "there is no trial of this id",
                 .value = std::to_string(trial_id),
                 .where = connection.path(),
                 .hint = {}});
  }

  // Adds a trial; a write transaction is open.
  TrialPtr insert_trial(std::int64_t study_id, const FrozenTrial* content) {
    require_study(study_id);
    auto trial = std::make_shared<FrozenTrial>();
    if (content != nullptr) {
      *trial = *content;
    } else {
      trial->datetime_start = std::chrono::system_clock::now();
    }
    for (const auto& [name, distribution] : trial->distributions) check_param(study_id, name, distribution);
    {
      // With the write lock held nobody else adds trials. Numbers count from 0, so the last one tells their count; a
      // trial of Optuna's may have been left without a number by a crash, and counts all the same.
      Statement statement = connection.prepare(
          "SELECT number, trial_id FROM trials WHERE study_id = ? "
          "ORDER BY trial_id DESC LIMIT 1");
      trial->number = 0;
      if (statement.bind(1, study_id).step()) {
        if (!statement.is_null(0)) {
          trial->number = statement.integer(0) + 1;
        } else {
          Statement count = connection.prepare("SELECT count(*) FROM trials WHERE study_id = ?");
          count.bind(1, study_id).step();
          trial->number = count.integer(0);
        }
      }
    }
    {
      Statement statement = connection.prepare(
          "INSERT INTO trials (number, study_id, state, datetime_start, datetime_complete) VALUES (?, ?, ?, ?, ?)");
      statement.bind(1, trial->number).bind(2, study_id).bind(3, to_string(trial->state));
      const auto bind_time = [&](int index, const std::optional<TimePoint>& time) {
        time ? statement.bind(index, detail::to_table_time(*time)) : statement.bind_null(index);
      };
      bind_time(4, trial->datetime_start);
      bind_time(5, trial->datetime_complete);
      statement.run();
    }
    trial->trial_id = connection.last_id();
    for (const auto& [name, distribution] : trial->distributions) {
      write_param(trial->trial_id, name, distribution, distribution.to_internal(trial->params.at(name)));
    }
    write_children(trial->trial_id, trial->values, trial->intermediate_values, trial->user_attrs, trial->system_attrs);
    return trial;
  }

  // A write transaction is open.
  void index_waiting() {
    if (!std::exchange(indexes_waiting, true)) connection.execute(detail::kWaitingIndex);
  }

  bool is_full(std::int64_t study_id, std::int64_t limit) {
    {
      // Nearly all the time there is no need to count: numbers count from 0.
      Statement last =
          connection.prepare("SELECT number FROM trials WHERE study_id = ? ORDER BY trial_id DESC LIMIT 1");
      if (last.bind(1, study_id).step() && last.integer(0) + 1 < limit) return false;
    }
    static const std::string sql = std::string("SELECT ") + detail::kCountTaken;
    Statement count = connection.prepare(sql.c_str());
    return count.bind(1, study_id).step() && count.integer(0) >= limit;
  }

  std::optional<std::int64_t> first_waiting(std::int64_t study_id) {
    Statement statement = connection.prepare(
        "SELECT trial_id FROM trials WHERE study_id = ? AND state = 'WAITING' ORDER BY trial_id LIMIT 1");
    if (!statement.bind(1, study_id).step()) return std::nullopt;
    return statement.integer(0);
  }

  // Makes a waiting trial running; a write transaction is open.
  TrialPtr claim(std::int64_t trial_id) {
    {
      Statement statement =
          connection.prepare("UPDATE trials SET state = 'RUNNING', datetime_start = ? WHERE trial_id = ?");
      statement.bind(1, detail::to_table_time(std::chrono::system_clock::now())).bind(2, trial_id).run();
    }
    return read_trial(trial_id);
  }

  // The clock of heartbeats is the database's, as Optuna has it.
  void beat(std::int64_t trial_id) {
    Statement statement = connection.prepare(
        "INSERT INTO trial_heartbeats (trial_id, heartbeat) SELECT trial_id, strftime('%Y-%m-%d %H:%M:%f', 'now') FROM "
        "trials "
        "WHERE trial_id = ? AND state = 'RUNNING' "
        "ON CONFLICT (trial_id) DO UPDATE SET heartbeat = excluded.heartbeat");
    statement.bind(1, trial_id).run();
  }

  std::vector<std::int64_t> stale_trials(std::int64_t study_id, double grace_period) {
    Statement statement = connection.prepare(
        "SELECT t.trial_id FROM trial_heartbeats h JOIN trials t ON t.trial_id = h.trial_id WHERE t.study_id = ? "
        "AND t.state = 'RUNNING' AND (julianday('now') - julianday(h.heartbeat)) * 86400.0 > ? ORDER BY t.trial_id");
    statement.bind(1, study_id).bind(2, grace_period);
    std::vector<std::int64_t> out;
    while (statement.step()) out.push_back(statement.integer(0));
    return out;
  }

  void end_trial(std::int64_t trial_id, TrialState state) {
    {
      const bool finished = is_finished(state);
      Statement statement = connection.prepare(
          finished
              ? "UPDATE trials SET state = ?, datetime_complete = ? WHERE trial_id = ?"
              : "UPDATE trials SET state = ?, datetime_complete = NULL, datetime_start = coalesce(datetime_start, ?) "
                "WHERE trial_id = ?");
      statement.bind(1, to_string(state))
          .bind(2, detail::to_table_time(std::chrono::system_clock::now()))
          .bind(3, trial_id)
          .run();
    }
    if (state != TrialState::waiting) return;
    Statement statement = connection.prepare("DELETE FROM trial_heartbeats WHERE trial_id = ?");
    statement.bind(1, trial_id).run();
  }

  std::mutex mutex;  // one thread at a time uses the connection
  Connection connection;
  detail::DistributionCache distributions;
  std::map<std::int64_t, std::unordered_map<std::string, Distribution>> first_distributions;  // by study and name
  bool indexes_waiting = false;
};

SqliteStorage::SqliteStorage(const std::string& path, SqliteStorageOptions options)
    : impl_(std::make_unique<Impl>(path, options)) {}

SqliteStorage::~SqliteStorage() = default;

std::string SqliteStorage::url() const { return "sqlite:///" + impl_->connection.path(); }

std::optional<std::int64_t> SqliteStorage::create_study(const std::string& name,
                                                        const std::vector<Direction>& directions) {
  const std::lock_guard lock(impl_->mutex);
  Connection& connection = impl_->connection;
  Transaction transaction(connection, Transaction::Kind::write);
  {
    Statement statement = connection.prepare("SELECT 1 FROM studies WHERE study_name = ?");
    if (statement.bind(1, name).step()) return std::nullopt;
  }
  {
    Statement statement = connection.prepare("INSERT INTO studies (study_name) VALUES (?)");
    statement.bind(1, name).run();
  }
  const std::int64_t id = connection.last_id();
  for (std::size_t i = 0; i < directions.size(); ++i) {
    Statement statement =
        connection.prepare("INSERT INTO study_directions (direction, study_id, objective) VALUES (?, ?, ?)");
    statement.bind(1, to_string(directions[i])).bind(2, id).bind(3, static_cast<std::int64_t>(i)).run();
  }
  transaction.commit();
  return id;
}

void SqliteStorage::delete_study(std::int64_t study_id) {
  const std::lock_guard lock(impl_->mutex);
  Connection& connection = impl_->connection;
  Transaction transaction(connection, Transaction::Kind::write);
  impl_->require_study(study_id);
  for (const char* sql :
       {"DELETE FROM trial_user_attributes WHERE trial_id IN (SELECT trial_id FROM trials WHERE study_id = ?)",
        "DELETE FROM trial_system_attributes WHERE trial_id IN (SELECT trial_id FROM trials WHERE study_id = ?)",
        "DELETE FROM trial_params WHERE trial_id IN (SELECT trial_id FROM trials WHERE study_id = ?)",
        "DELETE FROM trial_values WHERE trial_id IN (SELECT trial_id FROM trials WHERE study_id = ?)",
        "DELETE FROM trial_intermediate_values WHERE trial_id IN (SELECT trial_id FROM trials WHERE study_id = ?)",
        "DELETE FROM trial_heartbeats WHERE trial_id IN (SELECT trial_id FROM trials WHERE study_id = ?)",
        "DELETE FROM trials WHERE study_id = ?", "DELETE FROM study_directions WHERE study_id = ?",
        "DELETE FROM study_user_attributes WHERE study_id = ?",
        "DELETE FROM study_system_attributes WHERE study_id = ?", "DELETE FROM studies WHERE study_id = ?"}) {
    Statement statement = connection.prepare(sql);
    statement.bind(1, study_id).run();
  }
  transaction.commit();
  impl_->first_distributions.erase(study_id);
}

std::optional<std::int64_t> SqliteStorage::find_study(const std::string& name) {
  const std::lock_guard lock(impl_->mutex);
  Statement statement = impl_->connection.prepare("SELECT study_id FROM studies WHERE study_name = ?");
  if (!statement.bind(1, name).step()) return std::nullopt;
  return statement.integer(0);
}

FrozenStudy SqliteStorage::study(std::int64_t study_id) {
  const std::lock_guard lock(impl_->mutex);
  Transaction transaction(impl_->connection, Transaction::Kind::read);
  FrozenStudy out = impl_->read_study(study_id);
  transaction.commit();
  return out;
}

std::vector<FrozenStudy> SqliteStorage::studies() {
  const std::lock_guard lock(impl_->mutex);
  Transaction transaction(impl_->connection, Transaction::Kind::read);
  std::vector<std::int64_t> ids;
  {
    Statement statement = impl_->connection.prepare("SELECT study_id FROM studies ORDER BY study_id");
    while (statement.step()) ids.push_back(statement.integer(0));
  }
  std::vector<FrozenStudy> out;
  for (const auto id : ids) out.push_back(impl_->read_study(id));
  transaction.commit();
  return out;
}

void SqliteStorage::set_study_user_attr(std::int64_t study_id, const std::string& key, const Value& value) {
  const std::lock_guard lock(impl_->mutex);
  Transaction transaction(impl_->connection, Transaction::Kind::write);
  impl_->require_study(study_id);
  impl_->write_attrs(
      "INSERT INTO study_user_attributes (study_id, key, value_json) VALUES (?, ?, ?) "
      "ON CONFLICT (study_id, key) DO UPDATE SET value_json = excluded.value_json",
      study_id, {{key, value}});
  transaction.commit();
}

void SqliteStorage::set_study_system_attr(std::int64_t study_id, const std::string& key, const Value& value) {
  const std::lock_guard lock(impl_->mutex);
  Transaction transaction(impl_->connection, Transaction::Kind::write);
  impl_->require_study(study_id);
  impl_->write_attrs(
      "INSERT INTO study_system_attributes (study_id, key, value_json) VALUES (?, ?, ?) "
      "ON CONFLICT (study_id, key) DO UPDATE SET value_json = excluded.value_json",
      study_id, {{key, value}});
  transaction.commit();
}

TrialPtr SqliteStorage::create_trial(std::int64_t study_id, const FrozenTrial* content) {
  const std::lock_guard lock(impl_->mutex);
  Transaction transaction(impl_->connection, Transaction::Kind::write, content != nullptr);
  TrialPtr trial = impl_->insert_trial(study_id, content);
  transaction.commit();
  return trial;
}

void SqliteStorage::create_trials(std::int64_t study_id, std::span<const TrialPtr> contents) {
  constexpr std::size_t kAtOnce = 1000;  // others may write in between
  for (; !contents.empty(); contents = contents.subspan(std::min(kAtOnce, contents.size()))) {
    const std::lock_guard lock(impl_->mutex);
    Transaction transaction(impl_->connection, Transaction::Kind::write);
    for (const auto& content : contents.first(std::min(kAtOnce, contents.size()))) {
      impl_->insert_trial(study_id, content.get());
    }
    transaction.commit();
  }
}

TrialPtr SqliteStorage::claim_waiting_trial(std::int64_t study_id) {
  const std::lock_guard lock(impl_->mutex);
  if (!impl_->first_waiting(study_id)) return nullptr;  // the common case needs no lock
  Transaction transaction(impl_->connection, Transaction::Kind::write, false);
  const auto id = impl_->first_waiting(study_id);
  if (!id) return nullptr;
  TrialPtr trial = impl_->claim(*id);
  transaction.commit();
  return trial;
}

TrialPtr SqliteStorage::next_trial(std::int64_t study_id, bool heartbeat, std::optional<std::int64_t> limit) {
  const std::lock_guard lock(impl_->mutex);
  Transaction transaction(impl_->connection, Transaction::Kind::write, false);
  impl_->index_waiting();
  if (limit && impl_->is_full(study_id, *limit)) return nullptr;
  const auto waiting = impl_->first_waiting(study_id);
  TrialPtr trial = waiting ? impl_->claim(*waiting) : impl_->insert_trial(study_id, nullptr);
  if (heartbeat) impl_->beat(trial->trial_id);
  transaction.commit();
  return trial;
}

void SqliteStorage::record_heartbeats(std::span<const std::int64_t> trial_ids) {
  const std::lock_guard lock(impl_->mutex);
  Transaction transaction(impl_->connection, Transaction::Kind::write, false);
  for (const auto id : trial_ids) impl_->beat(id);
  transaction.commit();
}

std::vector<TrialPtr> SqliteStorage::fail_stale_trials(std::int64_t study_id, double grace_period,
                                                       const Successor& successor) {
  const std::lock_guard lock(impl_->mutex);
  if (impl_->stale_trials(study_id, grace_period).empty()) return {};
  Transaction transaction(impl_->connection, Transaction::Kind::write);
  std::vector<TrialPtr> out;
  for (const auto id : impl_->stale_trials(study_id, grace_period)) {
    impl_->end_trial(id, TrialState::fail);
    out.push_back(impl_->read_trial(id));
    const auto next = successor ? successor(*out.back()) : std::nullopt;
    if (next) impl_->insert_trial(study_id, &*next);
  }
  transaction.commit();
  return out;
}

void SqliteStorage::update_trial(std::int64_t trial_id, const TrialUpdate& update) {
  const std::lock_guard lock(impl_->mutex);
  Connection& connection = impl_->connection;
  Transaction transaction(connection, Transaction::Kind::write, must_last(update));
  std::int64_t study_id = -1;
  {
    Statement statement = connection.prepare("SELECT state, number, study_id FROM trials WHERE trial_id = ?");
    if (!statement.bind(1, trial_id).step()) impl_->throw_no_trial(trial_id);
    if (is_finished(detail::to_state(statement.text(0)))) {
      throw Error({.what = "a finished trial cannot change",
                   .value = "trial " + statement.text(1) + ", " + statement.text(0),
                   .where = {},
                   .hint = {}});
    }
    study_id = statement.integer(2);
  }
  for (const auto& param : update.params) impl_->check_param(study_id, param.name, param.distribution);
  for (const auto& param : update.params) impl_->write_param(trial_id, param.name, param.distribution, param.internal);
  impl_->write_children(trial_id, update.values, update.intermediate_values, update.user_attrs, update.system_attrs);
  if (update.state) impl_->end_trial(trial_id, *update.state);
  transaction.commit();
}

std::vector<TrialPtr> SqliteStorage::read_trials(std::int64_t study_id, std::span<const std::int64_t> ids,
                                                 std::int64_t after) {
  const std::lock_guard lock(impl_->mutex);
  Transaction transaction(impl_->connection, Transaction::Kind::read);
  impl_->require_study(study_id);
  const std::string of_study = "study_id = " + std::to_string(study_id) + " AND trial_id ";
  std::string condition = of_study + "> " + std::to_string(after);
  if (!ids.empty()) {
    // A union, as each half has an index; for a condition with OR, SQLite goes through all trials of the study.
    std::string list;
    for (const auto id : ids) list += (list.empty() ? "" : ",") + std::to_string(id);
    const std::string select = "SELECT trial_id FROM trials WHERE ";
    condition = "trial_id IN (" + select + condition + " UNION ALL " + select + of_study + "IN (" + list + "))";
  }
  auto out = impl_->read_trials(condition);
  transaction.commit();
  return out;
}

TrialPtr SqliteStorage::trial(std::int64_t trial_id) {
  const std::lock_guard lock(impl_->mutex);
  Transaction transaction(impl_->connection, Transaction::Kind::read);
  TrialPtr trial = impl_->read_trial(trial_id);
  transaction.commit();
  return trial;
}

}  // namespace levin::tune
