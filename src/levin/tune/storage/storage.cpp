#include <levin/tune/storage/storage.h>

#include <levin/tune/heartbeat.h>
#include <levin/tune/storage/journal.h>
#include <levin/tune/storage/memory.h>
#include <levin/tune/storage/postgres.h>
#include <levin/tune/storage/sqlite.h>

#include <array>

namespace levin::tune {

Storage::~Storage() = default;

void Storage::create_trials(std::int64_t study_id, std::span<const TrialPtr> contents) {
  for (const auto& content : contents) create_trial(study_id, content.get());
}

std::int64_t count_taken(std::span<const TrialPtr> trials) {
  std::int64_t count = 0;
  for (const auto& trial : trials) {
    count += trial->state != TrialState::waiting;
    count -= retried_trial_number(*trial).has_value();
  }
  return count;
}

TrialPtr Storage::next_trial(std::int64_t study_id, bool heartbeat, std::optional<std::int64_t> limit) {
  if (limit && count_taken(read_trials(study_id, {}, -1)) >= *limit) return nullptr;
  TrialPtr trial = claim_waiting_trial(study_id);
  if (trial == nullptr) trial = create_trial(study_id);
  if (heartbeat) record_heartbeats({&trial->trial_id, 1});
  return trial;
}

void Storage::record_heartbeats(std::span<const std::int64_t> /*trial_ids*/) {
  throw Error({.what = "this storage keeps no heartbeats", .value = {}, .where = url(), .hint = {}});
}

std::vector<TrialPtr> Storage::fail_stale_trials(std::int64_t /*study_id*/, double /*grace_period*/,
                                                 const Successor& /*successor*/) {
  throw Error({.what = "this storage keeps no heartbeats", .value = {}, .where = url(), .hint = {}});
}

std::shared_ptr<Storage> open_storage(const std::string& url, bool create) {
  const auto fail = [&](const std::string& what, const std::string& hint) {
    throw Error({.what = what, .value = "\"" + url + "\"", .where = "storage", .hint = hint});
  };
  const std::string known =
      "write memory://, journal:///file.log, sqlite:///file.db (//// before an absolute path) or "
      "postgresql://user@host/database";
  const std::size_t colon = url.find("://");
  if (colon == std::string::npos) {
    const bool is_file = url.ends_with(".db") || url.ends_with(".sqlite") || url.ends_with(".sqlite3");
    const bool is_journal = url.ends_with(".log") || url.ends_with(".journal");
    fail("a storage is named by a URL", is_file      ? "did you mean \"sqlite:///" + url + "\"?"
                                        : is_journal ? "did you mean \"journal:///" + url + "\"?"
                                                     : known);
  }
  const std::string scheme = url.substr(0, colon);
  const std::string rest = url.substr(colon + 3);
  if (scheme == "memory") {
    if (!rest.empty()) fail("a memory storage has no name", "write memory://");
    if (!create) fail("a new memory storage holds no study", "pass the storage object of the study instead");
    return std::make_shared<MemoryStorage>();
  }
  if (scheme == "sqlite" || scheme == "journal") {
    if (!rest.starts_with('/')) {
      fail(scheme + " takes three slashes before a file's path", "did you mean \"" + scheme + ":///" + rest + "\"?");
    }
    const std::string path = rest.substr(1);
    if (path.empty()) fail("the URL names no file", known);
    if (path.find('?') != std::string::npos)
      fail("the URL of a storage takes no options", "drop what follows the \"?\"");
    if (scheme == "journal") return std::make_shared<JournalStorage>(path, JournalStorageOptions{.create = create});
    return std::make_shared<SqliteStorage>(path, SqliteStorageOptions{.create = create});
  }
  // SQLAlchemy names a driver, too: postgresql+psycopg2.
  if (scheme == "postgresql" || scheme == "postgres" || scheme.starts_with("postgresql+")) {
    return std::make_shared<PostgresStorage>("postgresql://" + rest, PostgresStorageOptions{.create = create});
  }
  const std::array<std::string, 4> schemes{"memory", "journal", "sqlite", "postgresql"};
  fail("unknown kind of storage", closest(scheme, schemes).empty() ? known : did_you_mean(scheme, schemes));
  return nullptr;
}

std::shared_ptr<Storage> StorageRef::open(bool create) const {
  if (storage_ != nullptr) return storage_;
  if (url_.empty()) {
    throw Error({.what = "no storage was given",
                 .value = {},
                 .where = {},
                 .hint = "write memory://, journal:///file.log or sqlite:///file.db"});
  }
  return open_storage(url_, create);
}

}  // namespace levin::tune
