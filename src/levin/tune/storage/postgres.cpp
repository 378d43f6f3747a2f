#include <levin/tune/storage/postgres.h>

#include <levin/core/console.h>
#include <levin/core/json.h>
#include <levin/tune/storage/postgres_connection.h>
#include <levin/tune/storage/rdb.h>
#include <levin/tune/storage/time_text.h>

#include <cmath>
#include <map>
#include <mutex>
#include <unordered_map>
#include <utility>

namespace levin::tune {
namespace {

using detail::PgConnection;
using detail::PgLost;
using detail::PgParam;
using detail::PgRefused;
using detail::PgRows;
using detail::PgStatement;

// A guard within a transaction: to divide by this fails, and the transaction with it, for a finished trial and for one
// that began at another time than $2, if that is not null.
constexpr const char* kOneIfOpen =
    "(CASE WHEN state IN ('RUNNING', 'WAITING') AND coalesce(datetime_start = $2::timestamp, $2 IS NULL) THEN 1 ELSE 0 "
    "END)";
constexpr const char* kDivisionByZero = "22012";

// The tables as Optuna 5 makes them; what is there already stays.
const std::vector<std::string>& schema() {
  static const std::vector<std::string> statements = [] {
    std::vector<std::string> out;
    const auto type = [&](const std::string& name, const std::string& values) {
      out.push_back("DO $$ BEGIN CREATE TYPE " + name + " AS ENUM (" + values +
                    "); EXCEPTION WHEN duplicate_object THEN NULL; END $$");
    };
    const auto table = [&](const std::string& name, const std::string& columns) {
      out.push_back("CREATE TABLE IF NOT EXISTS " + name + " (" + columns + ")");
    };
    const auto attributes = [&](const std::string& of, const std::string& kind) {
      const std::string one = of + "_" + kind + "_attribute";
      const std::string parent = of == "study" ? "studies (study_id)" : "trials (trial_id)";
      table(one + "s", one + "_id SERIAL NOT NULL, " + of + "_id INTEGER, key VARCHAR(512), value_json TEXT, " +
                           "PRIMARY KEY (" + one + "_id), UNIQUE (" + of + "_id, key), FOREIGN KEY(" + of +
                           "_id) REFERENCES " + parent);
    };
    type("studydirection", "'NOT_SET', 'MINIMIZE', 'MAXIMIZE'");
    type("trialstate", "'RUNNING', 'COMPLETE', 'PRUNED', 'FAIL', 'WAITING'");
    type("trialvaluetype", "'FINITE', 'INF_POS', 'INF_NEG'");
    type("trialintermediatevaluetype", "'FINITE', 'INF_POS', 'INF_NEG', 'NAN'");
    table("studies", "study_id SERIAL NOT NULL, study_name VARCHAR(512) NOT NULL, PRIMARY KEY (study_id)");
    out.emplace_back("CREATE UNIQUE INDEX IF NOT EXISTS ix_studies_study_name ON studies (study_name)");
    table("version_info",
          "version_info_id SERIAL NOT NULL, schema_version INTEGER, library_version VARCHAR(256), "
          "PRIMARY KEY (version_info_id), CHECK (version_info_id = 1)");
    table("study_directions",
          "study_direction_id SERIAL NOT NULL, direction studydirection NOT NULL, study_id INTEGER NOT NULL, "
          "objective INTEGER NOT NULL, PRIMARY KEY (study_direction_id), UNIQUE (study_id, objective), "
          "FOREIGN KEY(study_id) REFERENCES studies (study_id)");
    attributes("study", "user");
    attributes("study", "system");
    table("trials",
          "trial_id SERIAL NOT NULL, number INTEGER, study_id INTEGER, state trialstate NOT NULL, "
          "datetime_start TIMESTAMP WITHOUT TIME ZONE, datetime_complete TIMESTAMP WITHOUT TIME ZONE, "
          "PRIMARY KEY (trial_id), FOREIGN KEY(study_id) REFERENCES studies (study_id)");
    out.emplace_back("CREATE INDEX IF NOT EXISTS ix_trials_study_id ON trials (study_id)");
    attributes("trial", "user");
    attributes("trial", "system");
    table("trial_params",
          "param_id SERIAL NOT NULL, trial_id INTEGER, param_name VARCHAR(512), param_value DOUBLE PRECISION, "
          "distribution_json TEXT, PRIMARY KEY (param_id), UNIQUE (trial_id, param_name), "
          "FOREIGN KEY(trial_id) REFERENCES trials (trial_id)");
    table("trial_values",
          "trial_value_id SERIAL NOT NULL, trial_id INTEGER NOT NULL, objective INTEGER NOT NULL, "
          "value DOUBLE PRECISION, value_type trialvaluetype NOT NULL, PRIMARY KEY (trial_value_id), "
          "UNIQUE (trial_id, objective), FOREIGN KEY(trial_id) REFERENCES trials (trial_id)");
    table("trial_intermediate_values",
          "trial_intermediate_value_id SERIAL NOT NULL, trial_id INTEGER NOT NULL, step INTEGER NOT NULL, "
          "intermediate_value DOUBLE PRECISION, intermediate_value_type trialintermediatevaluetype NOT NULL, "
          "PRIMARY KEY (trial_intermediate_value_id), UNIQUE (trial_id, step), "
          "FOREIGN KEY(trial_id) REFERENCES trials (trial_id)");
    table("trial_heartbeats",
          "trial_heartbeat_id SERIAL NOT NULL, trial_id INTEGER NOT NULL, "
          "heartbeat TIMESTAMP WITHOUT TIME ZONE NOT NULL, PRIMARY KEY (trial_heartbeat_id), UNIQUE (trial_id), "
          "FOREIGN KEY(trial_id) REFERENCES trials (trial_id)");
    table("alembic_version",
          "version_num VARCHAR(32) NOT NULL, CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)");
    return out;
  }();
  return statements;
}

std::string text(std::int64_t number) { return std::to_string(number); }

PgParam number_text(double value) { return std::isfinite(value) ? PgParam(format_double(value)) : std::nullopt; }

PgParam time_text(const std::optional<TimePoint>& time) {
  return time ? PgParam(detail::to_table_time(*time)) : std::nullopt;
}

TimePoint now() { return std::chrono::system_clock::now(); }

// What the rows of a statement belong to: SQL for its id, and the parameters of that SQL.
struct Owner {
  std::string sql;
  std::vector<PgParam> params = {};
};

// The trial, or study, that this transaction adds.
const Owner& new_trial() {
  static const Owner owner{"currval(pg_get_serial_sequence('trials', 'trial_id'))::integer"};
  return owner;
}
const Owner& new_study() {
  static const Owner owner{"currval(pg_get_serial_sequence('studies', 'study_id'))::integer"};
  return owner;
}

// An array's element as text within the array's.
std::string quoted_element(const PgParam& value) {
  if (!value) return "NULL";
  std::string out = "\"";
  for (const char c : *value) {
    if (c == '"' || c == '\\') out += '\\';
    out += c;
  }
  return out += '"';
}

// INSERT for many rows, the first column of each being the owner's id. Each further column is sent as an array, so that
// the statement is the same for any number of rows and the server plans it once.
class Rows {
 public:
  // `types`: of the columns after the first.
  Rows(std::string head, const Owner& owner, std::vector<const char*> types, std::string tail)
      : head_(std::move(head)),
        owner_(owner),
        types_(std::move(types)),
        tail_(std::move(tail)),
        columns_(types_.size()) {}

  void add(const std::vector<PgParam>& values) {
    for (std::size_t i = 0; i < columns_.size(); ++i) {
      columns_[i] += (columns_[i].empty() ? "{" : ",") + quoted_element(values[i]);
    }
  }

  void put(std::vector<PgStatement>& statements) && {
    if (columns_.front().empty()) return;
    PgStatement statement{head_ + " SELECT " + owner_.sql + ", given.* FROM unnest(", owner_.params};
    for (std::size_t i = 0; i < columns_.size(); ++i) {
      statement.params.emplace_back(std::move(columns_[i]) + "}");
      statement.sql += (i > 0 ? ", $" : "$") + std::to_string(statement.params.size()) + "::" + types_[i] + "[]";
    }
    statement.sql += ") AS given" + tail_;
    statements.push_back(std::move(statement));
  }

 private:
  std::string head_;
  const Owner& owner_;
  std::vector<const char*> types_;
  std::string tail_;
  std::vector<std::string> columns_;  // arrays as text, without their last brace
};

template <class Reports>
void put_children(std::vector<PgStatement>& statements, const Owner& trial, const std::vector<ParamRecord>& params,
                  const std::vector<double>& values, const Reports& reports, const Map& user_attrs,
                  const Map& system_attrs) {
  Rows param_rows("INSERT INTO trial_params (trial_id, param_name, param_value, distribution_json)", trial,
                  {"varchar", "float8", "text"},
                  " ON CONFLICT (trial_id, param_name) DO UPDATE SET param_value = excluded.param_value, "
                  "distribution_json = excluded.distribution_json");
  for (const auto& param : params) {
    param_rows.add({param.name, format_double(param.internal), param.distribution.to_json()});
  }
  std::move(param_rows).put(statements);
  Rows value_rows("INSERT INTO trial_values (trial_id, objective, value, value_type)", trial,
                  {"integer", "float8", "trialvaluetype"},
                  " ON CONFLICT (trial_id, objective) DO UPDATE SET value = excluded.value, "
                  "value_type = excluded.value_type");
  for (std::size_t i = 0; i < values.size(); ++i) {
    value_rows.add({std::to_string(i), number_text(values[i]), detail::number_type(values[i])});
  }
  std::move(value_rows).put(statements);
  Rows report_rows(
      "INSERT INTO trial_intermediate_values (trial_id, step, intermediate_value, intermediate_value_type)", trial,
      {"integer", "float8", "trialintermediatevaluetype"},
      " ON CONFLICT (trial_id, step) DO UPDATE SET intermediate_value = excluded.intermediate_value, "
      "intermediate_value_type = excluded.intermediate_value_type");
  for (const auto& [step, value] : reports) {
    report_rows.add({text(step), number_text(value), detail::number_type(value)});
  }
  std::move(report_rows).put(statements);
  for (const auto& [table, attrs] :
       {std::pair("trial_user_attributes", &user_attrs), std::pair("trial_system_attributes", &system_attrs)}) {
    Rows rows("INSERT INTO " + std::string(table) + " (trial_id, key, value_json)", trial, {"varchar", "text"},
              " ON CONFLICT (trial_id, key) DO UPDATE SET value_json = excluded.value_json");
    for (const auto& [key, value] : *attrs) rows.add({key, to_json(value)});
    std::move(rows).put(statements);
  }
}

std::vector<ParamRecord> params_of(const FrozenTrial& trial) {
  std::vector<ParamRecord> out;
  for (const auto& [name, distribution] : trial.distributions) {
    out.push_back({name, distribution, distribution.to_internal(trial.params.at(name))});
  }
  return out;
}

// With the study's row locked nobody adds trials to it, here or in Optuna; each statement sees what was committed
// before it began.
PgStatement lock_study(std::int64_t id) {
  return {"SELECT study_id FROM studies WHERE study_id = $1::integer FOR UPDATE", {text(id)}};
}

// Numbers count from 0, so the last one tells their count.
constexpr const char* kNextNumber =
    "coalesce((SELECT number FROM trials WHERE study_id = $1::integer ORDER BY trial_id DESC LIMIT 1), "
    "(SELECT count(*) FROM trials WHERE study_id = $1::integer) - 1) + 1";

}  // namespace

class PostgresStorage::Impl {
 public:
  // Runs what may be repeated, until the connection lasts. What the server refuses is an Error.
  template <class Body>
  auto retried(Body&& body) {
    constexpr int kAttempts = 5;
    for (int attempt = 1;; ++attempt) {
      try {
        add_lost_trials();
        return body();
      } catch (const PgLost& lost) {
        if (attempt == kAttempts) {
          throw Error(
              {.what = "the connection to the PostgreSQL server was lost again and again: " + std::string(lost.what()),
               .value = {},
               .where = connection.shown_url(),
               .hint = {}});
        }
        console::warn_once("the connection to " + connection.shown_url() + " was lost; it is made anew");
      } catch (const PgRefused& refused) {
        throw Error({.what = "the PostgreSQL server refused: " + std::string(refused.what()),
                     .value = {},
                     .where = connection.shown_url(),
                     .hint = refused.state() == "25006" ? "write to the primary server, not to a standby" : ""});
      }
    }
  }

  Impl(const std::string& url, PostgresStorageOptions options) : connection(url, options.timeout) {
    retried([&] { prepare_schema(options.create); });
  }

  void prepare_schema(bool create) {
    const auto complete = [&] {
      return connection
                 .run({{"SELECT count(*) FROM pg_catalog.pg_class WHERE relkind = 'r' AND relname IN "
                        "('alembic_version', "
                        "'version_info', 'trial_heartbeats') AND pg_catalog.pg_table_is_visible(oid)"}})[0]
                 .integer(0, 0) == 3;
    };
    if (!complete()) {
      if (!create) {
        throw Error({.what = "this database holds no studies",
                     .value = {},
                     .where = connection.shown_url(),
                     .hint = "check its name, or run a study first"});
      }
      // One process at a time makes the tables.
      std::vector<PgStatement> statements{{"SELECT pg_advisory_xact_lock(7305808692)"}};
      for (const auto& sql : schema()) statements.push_back({sql});
      statements.push_back({"INSERT INTO version_info VALUES (1, $1::integer, $2) ON CONFLICT DO NOTHING",
                            {text(detail::kSchemaVersion), detail::kLibraryVersion}});
      statements.push_back({"INSERT INTO alembic_version SELECT $1 WHERE NOT EXISTS (SELECT 1 FROM alembic_version)",
                            {detail::kRevision}});
      connection.run(statements);
    }
    const auto found =
        connection.run({{"SELECT schema_version FROM version_info"}, {"SELECT version_num FROM alembic_version"}});
    detail::check_schema((found[0].empty() ? "no schema version" : "schema " + found[0].text(0, 0)) +
                             (found[1].empty() ? ", no revision" : ", revision " + found[1].text(0, 0)),
                         connection.shown_url());
  }

  [[noreturn]] void throw_no_study(std::int64_t id) const {
    throw Error(
        {.what = "there is no study of this id", .value = text(id), .where = connection.shown_url(), .hint = {}});
  }
  [[noreturn]] void throw_no_trial(std::int64_t id) const {
    throw Error(
        {.what = "there is no trial of this id", .value = text(id), .where = connection.shown_url(), .hint = {}});
  }

  std::vector<FrozenStudy> read_studies(const std::string& condition) {
    const auto rows = connection.run(
        {{"SELECT study_id, study_name FROM studies" + condition + " ORDER BY study_id"},
         {"SELECT study_id, direction FROM study_directions" + condition + " ORDER BY study_id, objective"},
         {"SELECT study_id, key, value_json FROM study_user_attributes" + condition +
          " ORDER BY study_user_attribute_id"},
         {"SELECT study_id, key, value_json FROM study_system_attributes" + condition +
          " ORDER BY study_system_attribute_id"}});
    std::vector<FrozenStudy> out;
    std::map<std::int64_t, std::size_t> places;
    for (std::size_t i = 0; i < rows[0].rows.size(); ++i) {
      places[rows[0].integer(i, 0)] = out.size();
      auto& study = out.emplace_back();
      study.study_id = rows[0].integer(i, 0);
      study.study_name = rows[0].text(i, 1);
    }
    const auto each = [&](const PgRows& of, const auto& use) {
      for (std::size_t i = 0; i < of.rows.size(); ++i) {
        if (const auto it = places.find(of.integer(i, 0)); it != places.end()) use(out[it->second], i);
      }
    };
    each(rows[1], [&](FrozenStudy& study, std::size_t i) {
      study.directions.push_back(rows[1].text(i, 1) == "MAXIMIZE" ? Direction::maximize : Direction::minimize);
    });
    each(rows[2],
         [&](FrozenStudy& s, std::size_t i) { s.user_attrs[rows[2].text(i, 1)] = parse_json(rows[2].text(i, 2)); });
    each(rows[3],
         [&](FrozenStudy& s, std::size_t i) { s.system_attrs[rows[3].text(i, 1)] = parse_json(rows[3].text(i, 2)); });
    return out;
  }

  // The trials come first: what a finished trial holds was there before it was seen to be finished.
  std::vector<TrialPtr> read_trials(const std::string& condition) {
    const std::string of_these = " WHERE trial_id IN (SELECT trial_id FROM trials WHERE " + condition + ") ORDER BY ";
    const auto found = connection.run(
        {{"SELECT trial_id, number, state, datetime_start, datetime_complete FROM trials WHERE " + condition +
          " ORDER BY trial_id"},
         {"SELECT trial_id, param_name, param_value, distribution_json FROM trial_params" + of_these + "param_id"},
         {"SELECT trial_id, value, value_type FROM trial_values" + of_these + "trial_id, objective"},
         {"SELECT trial_id, step, intermediate_value, intermediate_value_type FROM trial_intermediate_values" +
          of_these + "trial_id, step"},
         {"SELECT trial_id, key, value_json FROM trial_user_attributes" + of_these + "trial_user_attribute_id"},
         {"SELECT trial_id, key, value_json FROM trial_system_attributes" + of_these + "trial_system_attribute_id"}});
    detail::TrialRows rows(distributions);
    const auto each = [&](std::size_t part, const auto& use) {
      for (std::size_t i = 0; i < found[part].rows.size(); ++i) use(found[part], i);
    };
    each(0, [&](const PgRows& r, std::size_t i) {
      rows.trial(r.integer(i, 0), r.integer(i, 1), r.text(i, 2), r.text(i, 3), r.text(i, 4));
    });
    each(1, [&](const PgRows& r, std::size_t i) {
      rows.param(r.integer(i, 0), r.text(i, 1), r.real(i, 2), r.text(i, 3));
    });
    each(2, [&](const PgRows& r, std::size_t i) {
      rows.value(r.integer(i, 0), detail::read_number(r.real(i, 1), r.is_null(i, 1), r.text(i, 2)));
    });
    each(3, [&](const PgRows& r, std::size_t i) {
      rows.report(r.integer(i, 0), r.integer(i, 1), detail::read_number(r.real(i, 2), r.is_null(i, 2), r.text(i, 3)));
    });
    each(4, [&](const PgRows& r, std::size_t i) { rows.user_attr(r.integer(i, 0), r.text(i, 1), r.text(i, 2)); });
    each(5, [&](const PgRows& r, std::size_t i) { rows.system_attr(r.integer(i, 0), r.text(i, 1), r.text(i, 2)); });
    return rows.take();
  }

  TrialPtr read_trial(std::int64_t id) {
    const auto trials = read_trials("trial_id = " + text(id));
    if (trials.empty()) throw_no_trial(id);
    return trials.front();
  }

  // An unfinished trial that this process writes.
  struct Begun {
    std::int64_t study_id;
    std::optional<TimePoint> start;  // if it was made here
  };

  Begun& begun_trial(std::int64_t trial_id) {
    if (const auto it = begun.find(trial_id); it != begun.end()) return it->second;
    const auto rows = connection.run({{"SELECT study_id FROM trials WHERE trial_id = $1::integer", {text(trial_id)}}});
    if (rows[0].empty()) throw_no_trial(trial_id);
    return begun[trial_id] = {rows[0].integer(0, 0), std::nullopt};
  }

  // The id that a trial has now: not the one it began with if it was added again.
  std::int64_t present_id(std::int64_t trial_id) const {
    const auto it = added_again.find(trial_id);
    return it == added_again.end() ? trial_id : it->second;
  }

  // After a lost connection: adds again what began here and a server that crashed has lost.
  void add_lost_trials() {
    if (losses == connection.losses()) return;
    std::vector<std::pair<std::int64_t, std::int64_t>> ids;  // old and new
    for (const auto id : unsure) {
      const auto it = begun.find(id);
      if (it == begun.end() || !it->second.start) continue;
      const auto& [study_id, start] = it->second;
      const auto there =
          connection.run({{"SELECT trial_id FROM trials WHERE study_id = $1::integer AND datetime_start "
                           "= $2::timestamp ORDER BY trial_id LIMIT 1",
                           {text(study_id), time_text(start)}}})[0];
      if (there.empty()) {
        if (const auto added = add_again(id, study_id, start)) ids.emplace_back(id, *added);
      } else if (there.integer(0, 0) != id) {
        ids.emplace_back(id, there.integer(0, 0));
      }
    }
    std::vector<decltype(begun)::node_type> moved;
    for (const auto& [id, new_id] : ids) {
      added_again[id] = new_id;
      moved.push_back(begun.extract(id));
      moved.back().key() = new_id;
    }
    for (auto& trial : moved) begun.insert(std::move(trial));
    unsure.clear();
    losses = connection.losses();
  }

  // The new id; null if the study is gone.
  std::optional<std::int64_t> add_again(std::int64_t id, std::int64_t study_id, const std::optional<TimePoint>& start) {
    FrozenTrial trial;
    trial.datetime_start = start;
    // Nobody gets the old id after this: it stands for the new one here.
    std::vector<PgStatement> statements{
        {"SELECT count(nextval(ids)) FROM (SELECT pg_get_serial_sequence('trials', 'trial_id')::regclass AS ids) AS "
         "trial_ids, generate_series(coalesce(pg_sequence_last_value(ids), 0), $1::bigint)",
         {text(id)}}};
    put_new_trial(statements, study_id, trial);
    try {
      const auto made = connection.run(statements)[2];
      console::warning("the PostgreSQL server crashed and lost a trial that had just begun; it goes on as trial " +
                       made.text(0, 1));
      return made.integer(0, 0);
    } catch (const PgRefused& refused) {
      if (refused.state() != "23503") throw;
      return std::nullopt;
    }
  }

  // Checks parameters against the first of their names in the study. When a name is new to this process, the study is
  // locked in an open transaction, which the caller's statements then end; else nothing is sent.
  bool open_for_new_names(std::int64_t study_id, const std::vector<ParamRecord>& params) {
    auto& known = first_distributions[study_id];
    PgStatement query{
        "SELECT DISTINCT ON (p.param_name) p.param_name, p.distribution_json FROM trial_params p JOIN trials t "
        "ON t.trial_id = p.trial_id WHERE t.study_id = $1::integer AND p.param_name IN (",
        {text(study_id)}};
    for (const auto& param : params) {
      if (known.contains(param.name)) continue;
      query.sql += (query.params.size() > 1 ? ", $" : "$") + std::to_string(query.params.size() + 1);
      query.params.emplace_back(param.name);
    }
    const bool opened = query.params.size() > 1;
    if (opened) {
      query.sql += ") ORDER BY p.param_name, p.param_id";
      const auto rows = connection.run({{"BEGIN"}, lock_study(study_id), query});
      for (std::size_t i = 0; i < rows[2].rows.size(); ++i) {
        known.emplace(rows[2].text(i, 0), distributions.of(rows[2].text(i, 1)));
      }
    }
    try {
      for (const auto& param : params) {
        const auto it = known.find(param.name);
        if (it != known.end()) check_compatible(param.name, it->second, param.distribution);
      }
    } catch (...) {
      if (opened) connection.run({{"ROLLBACK"}});
      throw;
    }
    return opened;
  }

  // Runs a transaction's statements, in the one that open_for_new_names opened if it did.
  std::vector<PgRows> finish(std::vector<PgStatement> statements, bool opened) {
    if (!opened) return connection.run(statements);
    statements.push_back({"COMMIT"});
    try {
      return connection.run(statements);
    } catch (const PgRefused&) {
      connection.run({{"ROLLBACK"}});
      throw;
    }
  }

  void learn(std::int64_t study_id, const std::vector<ParamRecord>& params) {
    for (const auto& param : params) first_distributions[study_id].try_emplace(param.name, param.distribution);
  }

  void put_new_trial(std::vector<PgStatement>& statements, std::int64_t study_id, const FrozenTrial& content) const {
    statements.push_back(lock_study(study_id));
    statements.push_back({std::string("INSERT INTO trials (number, study_id, state, datetime_start, datetime_complete) "
                                      "SELECT ") +
                              kNextNumber + ", $1::integer, $2::trialstate, $3::timestamp, $4::timestamp " +
                              "RETURNING trial_id, number",
                          {text(study_id), to_string(content.state), time_text(content.datetime_start),
                           time_text(content.datetime_complete)}});
    put_children(statements, new_trial(), params_of(content), content.values, content.intermediate_values,
                 content.user_attrs, content.system_attrs);
  }

  // The trial that this process began at `stamp`, should the answer to that have been lost.
  std::optional<std::int64_t> begun_at(std::int64_t study_id, const std::string& stamp) {
    const auto rows = connection.run(
        {{"SELECT trial_id FROM trials WHERE study_id = $1::integer AND state = 'RUNNING' AND datetime_start = "
          "$2::timestamp",
          {text(study_id), stamp}}});
    return rows[0].empty() ? std::nullopt : std::optional(rows[0].integer(0, 0));
  }

  // Who may not make the index does without: claims take longer then, the more trials the longer.
  void index_waiting() {
    if (std::exchange(indexes_waiting, true)) return;
    const auto there =
        connection.run({{"SELECT 1 FROM pg_catalog.pg_class WHERE relname = $1 AND "
                         "pg_catalog.pg_table_is_visible(oid)",
                         {detail::kWaitingIndexName}}});
    if (!there[0].empty()) return;
    try {
      connection.run({{detail::kWaitingIndex}});
    } catch (const PgRefused&) {
    }
  }

  // Claims the oldest waiting trial, or with `create` adds one; null when there is none. The start's time, in
  // microseconds, names the trial within the study.
  TrialPtr begin_trial(std::int64_t study_id, bool create, bool heartbeat, std::optional<std::int64_t> limit = {}) {
    const TimePoint start = std::chrono::floor<std::chrono::microseconds>(now());
    const std::string stamp = detail::to_table_time(start);
    bool may_be_there = false;
    return retried([&]() -> TrialPtr {
      if (may_be_there) {
        if (const auto id = begun_at(study_id, stamp)) return read_trial(*id);
      }
      index_waiting();
      PgStatement begin{"", {text(study_id), stamp}};
      std::string room;
      if (limit) {
        begin.params.emplace_back(text(*limit));
        room = std::string(" AND CASE WHEN ") + kNextNumber + " < $3::bigint THEN true ELSE " + detail::kCountTaken +
               " < $3::bigint END";
      }
      std::string& sql = begin.sql;
      sql =
          "WITH claimed AS (UPDATE trials SET state = 'RUNNING', datetime_start = $2::timestamp WHERE trial_id = "
          "(SELECT trial_id FROM trials WHERE study_id = $1::integer AND state = 'WAITING'" +
          room + " ORDER BY trial_id LIMIT 1 FOR UPDATE SKIP LOCKED) RETURNING trial_id, number)";
      if (create) {
        sql += ", made AS (INSERT INTO trials (number, study_id, state, datetime_start) SELECT " +
               std::string(kNextNumber) +
               ", $1::integer, 'RUNNING', $2::timestamp WHERE NOT EXISTS (SELECT 1 FROM claimed)" + room +
               " RETURNING trial_id, number)";
      }
      sql += " SELECT trial_id, number, true FROM claimed";
      // Nobody waits until a new trial is on the disk: see `unsure`.
      if (create) {
        sql += " UNION ALL SELECT trial_id, number, set_config('synchronous_commit', 'off', true) IS NULL FROM made";
      }
      std::vector<PgStatement> statements{lock_study(study_id), begin};
      if (heartbeat) {
        statements.push_back(
            {"INSERT INTO trial_heartbeats (trial_id, heartbeat) SELECT trial_id, CURRENT_TIMESTAMP "
             "FROM trials WHERE study_id = $1::integer AND state = 'RUNNING' AND datetime_start = "
             "$2::timestamp ON CONFLICT (trial_id) DO UPDATE SET heartbeat = excluded.heartbeat",
             {text(study_id), stamp}});
      }
      may_be_there = true;
      std::vector<PgRows> rows;
      try {
        rows = connection.run(statements);
      } catch (const PgRefused& refused) {
        if (refused.state() == "23503") throw_no_study(study_id);  // no such study to refer to
        throw;
      }
      if (rows[0].empty()) throw_no_study(study_id);
      if (rows[1].empty()) return nullptr;
      const std::int64_t id = rows[1].integer(0, 0);
      const bool claimed = rows[1].text(0, 2) == "t";
      begun[id] = {study_id, claimed ? std::nullopt : std::optional(start)};
      if (claimed) return read_trial(id);
      unsure.push_back(id);
      auto trial = std::make_shared<FrozenTrial>();
      trial->trial_id = id;
      trial->number = rows[1].integer(0, 1);
      trial->datetime_start = start;
      return trial;
    });
  }

  std::mutex mutex;  // one thread at a time uses the connection
  PgConnection connection;
  detail::DistributionCache distributions;
  std::map<std::int64_t, std::unordered_map<std::string, Distribution>> first_distributions;  // by study and name
  std::unordered_map<std::int64_t, Begun> begun;                                              // by id
  // Ids of new trials that may not be on the disk yet: should the server crash now it may lose them and give their ids
  // to others. What is written and waited for later brings them to the disk, too.
  std::vector<std::int64_t> unsure;
  std::int64_t losses = 0;                                     // of the connection, when `unsure` was looked through
  std::unordered_map<std::int64_t, std::int64_t> added_again;  // ids of such trials, by those they began with
  bool indexes_waiting = false;
};

PostgresStorage::PostgresStorage(const std::string& url, PostgresStorageOptions options)
    : impl_(std::make_unique<Impl>(url, options)) {}

PostgresStorage::~PostgresStorage() = default;

std::string PostgresStorage::url() const { return impl_->connection.shown_url(); }
std::int64_t PostgresStorage::round_trips() const { return impl_->connection.round_trips(); }

std::optional<std::int64_t> PostgresStorage::create_study(const std::string& name,
                                                          const std::vector<Direction>& directions) {
  const std::lock_guard lock(impl_->mutex);
  return impl_->retried([&]() -> std::optional<std::int64_t> {
    std::vector<PgStatement> statements{{"INSERT INTO studies (study_name) VALUES ($1) RETURNING study_id", {name}}};
    Rows rows("INSERT INTO study_directions (study_id, direction, objective)", new_study(),
              {"studydirection", "integer"}, "");
    for (std::size_t i = 0; i < directions.size(); ++i) rows.add({to_string(directions[i]), std::to_string(i)});
    std::move(rows).put(statements);
    try {
      return impl_->connection.run(statements)[0].integer(0, 0);
    } catch (const PgRefused& refused) {
      if (refused.state() == "23505") return std::nullopt;  // the name is taken
      throw;
    }
  });
}

void PostgresStorage::delete_study(std::int64_t study_id) {
  const std::lock_guard lock(impl_->mutex);
  bool sent = false;
  impl_->retried([&] {
    std::vector<PgStatement> statements{lock_study(study_id)};
    for (const char* table : {"trial_user_attributes", "trial_system_attributes", "trial_params", "trial_values",
                              "trial_intermediate_values", "trial_heartbeats"}) {
      statements.push_back({"DELETE FROM " + std::string(table) +
                                " WHERE trial_id IN (SELECT trial_id FROM trials WHERE study_id = $1::integer)",
                            {text(study_id)}});
    }
    for (const char* table :
         {"trials", "study_directions", "study_user_attributes", "study_system_attributes", "studies"}) {
      statements.push_back({"DELETE FROM " + std::string(table) + " WHERE study_id = $1::integer", {text(study_id)}});
    }
    const bool again = std::exchange(sent, true);
    if (impl_->connection.run(statements)[0].empty() && !again) impl_->throw_no_study(study_id);
  });
  impl_->first_distributions.erase(study_id);
}

std::optional<std::int64_t> PostgresStorage::find_study(const std::string& name) {
  const std::lock_guard lock(impl_->mutex);
  return impl_->retried([&]() -> std::optional<std::int64_t> {
    const auto rows = impl_->connection.run({{"SELECT study_id FROM studies WHERE study_name = $1", {name}}});
    return rows[0].empty() ? std::nullopt : std::optional(rows[0].integer(0, 0));
  });
}

FrozenStudy PostgresStorage::study(std::int64_t study_id) {
  const std::lock_guard lock(impl_->mutex);
  return impl_->retried([&] {
    auto studies = impl_->read_studies(" WHERE study_id = " + text(study_id));
    if (studies.empty()) impl_->throw_no_study(study_id);
    return studies.front();
  });
}

std::vector<FrozenStudy> PostgresStorage::studies() {
  const std::lock_guard lock(impl_->mutex);
  return impl_->retried([&] { return impl_->read_studies(""); });
}

namespace {
PgStatement study_attr(const char* table, std::int64_t study_id, const std::string& key, const Value& value) {
  return {"INSERT INTO " + std::string(table) +
              " (study_id, key, value_json) SELECT study_id, $2, $3 FROM studies WHERE study_id = $1::integer "
              "ON CONFLICT (study_id, key) DO UPDATE SET value_json = excluded.value_json RETURNING study_id",
          {text(study_id), key, to_json(value)}};
}
}  // namespace

void PostgresStorage::set_study_user_attr(std::int64_t study_id, const std::string& key, const Value& value) {
  const std::lock_guard lock(impl_->mutex);
  const auto statement = study_attr("study_user_attributes", study_id, key, value);
  impl_->retried([&] {
    if (impl_->connection.run({statement})[0].empty()) impl_->throw_no_study(study_id);
  });
}

void PostgresStorage::set_study_system_attr(std::int64_t study_id, const std::string& key, const Value& value) {
  const std::lock_guard lock(impl_->mutex);
  const auto statement = study_attr("study_system_attributes", study_id, key, value);
  impl_->retried([&] {
    if (impl_->connection.run({statement})[0].empty()) impl_->throw_no_study(study_id);
  });
}

TrialPtr PostgresStorage::create_trial(std::int64_t study_id, const FrozenTrial* content) {
  const std::lock_guard lock(impl_->mutex);
  if (content == nullptr) {
    // A waiting trial is not taken, so this is not begin_trial.
    FrozenTrial fresh;
    fresh.datetime_start = std::chrono::floor<std::chrono::microseconds>(now());
    const std::string stamp = detail::to_table_time(*fresh.datetime_start);
    bool may_be_there = false;
    return impl_->retried([&]() -> TrialPtr {
      if (std::exchange(may_be_there, true)) {
        if (const auto id = impl_->begun_at(study_id, stamp)) return impl_->read_trial(*id);
      }
      std::vector<PgStatement> statements;
      impl_->put_new_trial(statements, study_id, fresh);
      std::vector<PgRows> rows;
      try {
        rows = impl_->connection.run(statements);
      } catch (const PgRefused& refused) {
        if (refused.state() == "23503") impl_->throw_no_study(study_id);
        throw;
      }
      auto trial = std::make_shared<FrozenTrial>(fresh);
      trial->trial_id = rows[1].integer(0, 0);
      trial->number = rows[1].integer(0, 1);
      impl_->begun[trial->trial_id] = {study_id, std::nullopt};
      return trial;
    });
  }
  return impl_->retried([&]() -> TrialPtr {
    const auto params = params_of(*content);
    std::vector<PgStatement> statements;
    impl_->put_new_trial(statements, study_id, *content);
    const bool opened = impl_->open_for_new_names(study_id, params);
    std::vector<PgRows> rows;
    try {
      rows = impl_->finish(std::move(statements), opened);
    } catch (const PgRefused& refused) {
      if (refused.state() == "23503") impl_->throw_no_study(study_id);
      throw;
    } catch (const PgLost& lost) {
      // Nothing tells this trial from another like it, so it is not added a second time.
      throw Error({.what = "the connection was lost while a trial was added: " + std::string(lost.what()),
                   .value = {},
                   .where = impl_->connection.shown_url(),
                   .hint = "see whether it is there, and add it again if not"});
    }
    impl_->learn(study_id, params);
    auto trial = std::make_shared<FrozenTrial>(*content);
    trial->trial_id = rows[1].integer(0, 0);
    trial->number = rows[1].integer(0, 1);
    return trial;
  });
}

void PostgresStorage::create_trials(std::int64_t study_id, std::span<const TrialPtr> contents) {
  constexpr std::size_t kAtOnce = 100;  // others may write in between
  for (; !contents.empty(); contents = contents.subspan(std::min(kAtOnce, contents.size()))) {
    const std::lock_guard lock(impl_->mutex);
    std::vector<PgStatement> statements;
    std::vector<ParamRecord> all;
    for (const auto& content : contents.first(std::min(kAtOnce, contents.size()))) {
      const auto params = params_of(*content);
      all.insert(all.end(), params.begin(), params.end());
      impl_->put_new_trial(statements, study_id, *content);
    }
    const auto send = [&] {
      const bool opened = impl_->open_for_new_names(study_id, all);
      impl_->finish(std::move(statements), opened);
      impl_->learn(study_id, all);
    };
    try {
      send();
    } catch (const PgRefused& refused) {
      throw Error({.what = "the PostgreSQL server refused: " + std::string(refused.what()),
                   .value = {},
                   .where = impl_->connection.shown_url(),
                   .hint = {}});
    } catch (const PgLost& lost) {
      throw Error({.what = "the connection was lost while trials were added: " + std::string(lost.what()),
                   .value = {},
                   .where = impl_->connection.shown_url(),
                   .hint = "see which are there, and add the others again"});
    }
  }
}

TrialPtr PostgresStorage::claim_waiting_trial(std::int64_t study_id) {
  const std::lock_guard lock(impl_->mutex);
  return impl_->begin_trial(study_id, false, false);
}

TrialPtr PostgresStorage::next_trial(std::int64_t study_id, bool heartbeat, std::optional<std::int64_t> limit) {
  const std::lock_guard lock(impl_->mutex);
  return impl_->begin_trial(study_id, true, heartbeat, limit);
}

void PostgresStorage::update_trial(std::int64_t trial_id, const TrialUpdate& update) {
  const std::lock_guard lock(impl_->mutex);
  const std::string stamp = detail::to_table_time(now());
  bool may_be_done = false;
  impl_->retried([&] {
    const std::int64_t id = impl_->present_id(trial_id);
    auto& [study_id, start] = impl_->begun_trial(id);
    const std::string trial = text(id);
    std::vector<PgStatement> statements;
    if (update.state) {
      statements.push_back(
          {std::string("UPDATE trials SET number = number / ") + kOneIfOpen +
               (is_finished(*update.state) ? ", state = $3::trialstate, datetime_complete = $4::timestamp"
                                           : ", state = $3::trialstate, datetime_complete = NULL, datetime_start = "
                                             "coalesce(datetime_start, $4::timestamp)") +
               " WHERE trial_id = $1::integer RETURNING trial_id",
           {trial, time_text(start), to_string(*update.state), stamp}});
      if (*update.state == TrialState::waiting) {
        statements.push_back({"DELETE FROM trial_heartbeats WHERE trial_id = $1::integer", {trial}});
      }
    } else {
      statements.push_back(
          {std::string("SELECT 1 / ") + kOneIfOpen + " FROM trials WHERE trial_id = $1::integer FOR UPDATE",
           {trial, time_text(start)}});
    }
    const Owner owner{"$1::integer", {trial}};
    put_children(statements, owner, update.params, update.values, update.intermediate_values, update.user_attrs,
                 update.system_attrs);
    try {
      const bool opened = !update.params.empty() && impl_->open_for_new_names(study_id, update.params);
      if (impl_->finish(std::move(statements), opened)[0].empty()) impl_->throw_no_trial(id);
    } catch (const PgLost&) {
      may_be_done = true;
      throw;
    } catch (const PgRefused& refused) {
      if (refused.state() == "23503") impl_->throw_no_trial(id);
      if (refused.state() != kDivisionByZero) throw;
      const auto there = impl_->connection.run(
          {{"SELECT state, number, datetime_complete = $2::timestamp FROM trials WHERE trial_id = $1::integer",
            {trial, stamp}}})[0];
      if (there.empty()) impl_->throw_no_trial(id);
      const bool ours =
          may_be_done && update.state && there.text(0, 0) == to_string(*update.state) && there.text(0, 2) == "t";
      if (!ours) {
        const bool finished = there.text(0, 0) != "RUNNING" && there.text(0, 0) != "WAITING";
        throw Error({.what = finished ? "a finished trial cannot change" : "this trial is another process's now",
                     .value = "trial " + there.text(0, 1) + ", " + there.text(0, 0),
                     .where = {},
                     .hint = {}});
      }
    }
    impl_->learn(study_id, update.params);
    impl_->unsure.clear();
    if (update.state == TrialState::waiting) start.reset();
  });
  if (update.state && is_finished(*update.state)) impl_->begun.erase(impl_->present_id(trial_id));
}

std::vector<TrialPtr> PostgresStorage::read_trials(std::int64_t study_id, std::span<const std::int64_t> ids,
                                                   std::int64_t after) {
  const std::lock_guard lock(impl_->mutex);
  std::string condition = "study_id = " + text(study_id) + " AND (trial_id > " + text(after);
  if (!ids.empty()) {
    condition += " OR trial_id IN (";
    for (std::size_t i = 0; i < ids.size(); ++i) condition += (i > 0 ? "," : "") + text(ids[i]);
    condition += ")";
  }
  return impl_->retried([&] { return impl_->read_trials(condition + ")"); });
}

TrialPtr PostgresStorage::trial(std::int64_t trial_id) {
  const std::lock_guard lock(impl_->mutex);
  return impl_->retried([&] { return impl_->read_trial(impl_->present_id(trial_id)); });
}

void PostgresStorage::record_heartbeats(std::span<const std::int64_t> trial_ids) {
  if (trial_ids.empty()) return;
  const std::lock_guard lock(impl_->mutex);
  std::string list;
  for (const auto id : trial_ids) list += (list.empty() ? "" : ",") + text(impl_->present_id(id));
  impl_->retried([&] {
    impl_->connection.run(
        {{"INSERT INTO trial_heartbeats (trial_id, heartbeat) SELECT trial_id, CURRENT_TIMESTAMP FROM "
          "trials WHERE state = 'RUNNING' AND trial_id IN (" +
          list + ") ON CONFLICT (trial_id) DO UPDATE SET heartbeat = excluded.heartbeat"}});
  });
}

std::vector<TrialPtr> PostgresStorage::fail_stale_trials(std::int64_t study_id, double grace_period,
                                                         const Successor& successor) {
  const std::lock_guard lock(impl_->mutex);
  return impl_->retried([&] {
    const PgStatement query{
        "SELECT t.trial_id FROM trial_heartbeats h JOIN trials t ON t.trial_id = h.trial_id WHERE t.study_id = "
        "$1::integer AND t.state = 'RUNNING' AND h.heartbeat < CURRENT_TIMESTAMP::timestamp - make_interval(secs => "
        "$2::float8) ORDER BY t.trial_id FOR UPDATE OF t SKIP LOCKED",
        {text(study_id), format_double(grace_period)}};
    std::vector<TrialPtr> out;
    if (impl_->connection.run({query})[0].empty()) return out;
    // What succeeds a trial depends on what it holds, so this transaction takes two rounds.
    const auto locked = impl_->connection.run({{"BEGIN"}, query});
    try {
      std::string list;
      for (std::size_t i = 0; i < locked[1].rows.size(); ++i) list += (i > 0 ? "," : "") + locked[1].text(i, 0);
      std::vector<PgStatement> statements;
      if (!list.empty()) {
        statements.push_back(
            {"UPDATE trials SET state = 'FAIL', datetime_complete = $1::timestamp WHERE trial_id IN (" + list + ")",
             {detail::to_table_time(now())}});
        impl_->connection.run(statements);
        statements.clear();
        out = impl_->read_trials("trial_id IN (" + list + ")");
      }
      for (const auto& trial : out) {
        const auto next = successor ? successor(*trial) : std::nullopt;
        if (next) impl_->put_new_trial(statements, study_id, *next);
      }
      statements.push_back({"COMMIT"});
      impl_->connection.run(statements);
    } catch (const PgLost&) {
      throw;  // the server undoes it
    } catch (...) {
      impl_->connection.run({{"ROLLBACK"}});
      throw;
    }
    return out;
  });
}

}  // namespace levin::tune
