#include <levin/tune/pruners/percentile.h>
#include <levin/tune/samplers/random.h>
#include <levin/tune/storage/sqlite.h>
#include <levin/tune/study.h>

#include <gtest/gtest.h>
#include <sqlite3.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <functional>
#include <string>
#include <thread>
#include <tune/scratch.h>
#include <vector>

namespace levin::tune {
namespace {

namespace fs = std::filesystem;

std::string message(const std::function<void()>& body) {
  try {
    body();
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

void expect_message(const std::function<void()>& body, const std::string& part) {
  const std::string text = message(body);
  EXPECT_NE(text.find(part), std::string::npos) << "got: " << text << "\nwanted: " << part;
}

void sql(const std::string& path, const char* text) {
  sqlite3* db = nullptr;
  ASSERT_EQ(sqlite3_open(path.c_str(), &db), SQLITE_OK);
  ASSERT_EQ(sqlite3_exec(db, text, nullptr, nullptr, nullptr), SQLITE_OK) << sqlite3_errmsg(db);
  sqlite3_close(db);
}

TEST(StorageUrl, SaysWhatIsWrong) {
  expect_message([] { open_storage("study.db"); }, "did you mean \"sqlite:///study.db\"?");
  expect_message([] { open_storage("sqllite:///study.db"); }, "did you mean \"sqlite\"?");
  expect_message([] { open_storage("mysql://host/db"); }, "write memory://");
  expect_message([] { open_storage("sqlite://study.db"); }, "did you mean \"sqlite:///study.db\"?");
  expect_message([] { open_storage("sqlite:///"); }, "names no file");
  expect_message([] { open_storage("sqlite:///a.db?timeout=3"); }, "takes no options");
  expect_message([] { open_storage("memory://name"); }, "memory storage has no name");
  expect_message([] { load_study({.study_name = "a", .storage = "memory://"}); }, "pass the storage object");
  expect_message([] { load_study({.study_name = "a"}); }, "no storage was given");
  EXPECT_EQ(open_storage("memory://")->url(), "memory://");
}

TEST(Sqlite, SaysWhatIsWrongWithTheFile) {
  const std::string text = scratch_file("text.db");
  std::ofstream(text) << std::string(5000, 'x');
  expect_message([&] { SqliteStorage storage(text); }, "no SQLite database");
  expect_message([&] { SqliteStorage storage(scratch_file("missing/study.db")); },
                 "folder of the storage does not exist");
  expect_message([&] { SqliteStorage storage(fs::path(text).parent_path()); }, "this is a folder");
  const std::string missing = scratch_file("missing.db");
  expect_message([&] { load_study({.study_name = "a", .storage = "sqlite:///" + missing}); },
                 "there is no such storage");
  EXPECT_FALSE(fs::exists(missing));

  const std::string old = scratch_file("old.db");
  { SqliteStorage storage(old); }
  sql(old, "UPDATE alembic_version SET version_num = 'v2.6.0.a'");
  expect_message([&] { SqliteStorage storage(old); }, "schema 12, revision v2.6.0.a");
  expect_message([&] { SqliteStorage storage(old); }, "optuna storage upgrade");
}

TEST(Sqlite, AReadOnlyFileCanBeRead) {
  const std::string path = scratch_file("read.db");
  {
    auto study = create_study({.storage = "sqlite:///" + path, .study_name = "s"});
    study.tell(study.ask(), 1.0);
  }
  if (geteuid() == 0) GTEST_SKIP() << "root may write to any file";
  fs::permissions(path, fs::perms::owner_read);
  auto study = load_study({.study_name = "s", .storage = "sqlite:///" + path});
  EXPECT_EQ(study.best_value(), 1.0);
  expect_message([&] { study.ask(); }, "cannot be written");
}

TEST(Sqlite, GivesUpOnALockAfterItsTimeout) {
  const std::string path = scratch_file("locked.db");
  SqliteStorage storage(path, {.timeout = 0.2});
  sqlite3* other = nullptr;
  ASSERT_EQ(sqlite3_open(path.c_str(), &other), SQLITE_OK);
  ASSERT_EQ(sqlite3_exec(other, "BEGIN EXCLUSIVE", nullptr, nullptr, nullptr), SQLITE_OK);
  const auto start = std::chrono::steady_clock::now();
  expect_message([&] { storage.create_study("a", {Direction::minimize}); }, "stayed locked");
  EXPECT_GE(std::chrono::steady_clock::now() - start, std::chrono::milliseconds(200));
  sqlite3_exec(other, "ROLLBACK", nullptr, nullptr, nullptr);
  sqlite3_close(other);
  EXPECT_TRUE(storage.create_study("a", {Direction::minimize}).has_value());
}

TEST(Sqlite, ASecondProcessWouldSeeTheSame) {
  // Two storages on one file behave as two processes do.
  const std::string url = "sqlite:///" + scratch_file("two.db");
  auto a = create_study({.storage = url, .sampler = RandomSampler({.seed = 0}), .study_name = "s"});
  auto b = load_study({.study_name = "s", .storage = url, .sampler = RandomSampler({.seed = 0})});
  auto trial = a.ask();
  const double x = trial.suggest_float("x", 0, 1);
  trial.report(0.5, 3);
  a.trials();  // reading a study writes what this process still holds
  ASSERT_EQ(b.trials().size(), 1u);
  EXPECT_EQ(b.trials()[0].params.at("x"), Value(x));
  EXPECT_EQ(b.trials()[0].intermediate_values.at(3), 0.5);
  b.tell(0, 2.0);
  EXPECT_EQ(a.best_value(), 2.0);
  EXPECT_THROW(a.tell(trial, 3.0), Error);
  auto other = b.ask();
  EXPECT_THROW(other.suggest_int("x", 0, 1), Error);  // before anything was written
  EXPECT_EQ(b.trials()[1].params.size(), 0u);
}

// Counts the instructions of SQLite's machine on every connection that is opened while one of these lives.
class InstructionCount {
 public:
  InstructionCount() { sqlite3_auto_extension(reinterpret_cast<void (*)()>(&watch)); }
  ~InstructionCount() { sqlite3_cancel_auto_extension(reinterpret_cast<void (*)()>(&watch)); }
  static inline std::int64_t instructions = 0;

 private:
  static int watch(sqlite3* db, const char**, const void*) {
    sqlite3_progress_handler(
        db, 1,
        [](void*) {
          ++instructions;
          return 0;
        },
        nullptr);
    return SQLITE_OK;
  }
};

TEST(Sqlite, ATrialTakesNoMoreInALargeStudy) {
  const InstructionCount count;
  const std::string path = scratch_file("large.db");
  auto study = create_study({.storage = "sqlite:///" + path,
                             .sampler = RandomSampler({.seed = 0}),
                             .pruner = MedianPruner({.n_startup_trials = 0, .n_warmup_steps = 100}),
                             .study_name = "s"});
  sql(path, "DROP INDEX IF EXISTS ix_trials_waiting");  // as in a file of Optuna's: it comes with the first claim
  const auto instructions_of_trials = [&](int n) {
    const auto before = InstructionCount::instructions;
    study.optimize(
        [](Trial& trial) {
          const double x = trial.suggest_float("x", 0, 1);
          for (int step = 0; step < 3; ++step) {
            trial.report(x, step);
            EXPECT_FALSE(trial.should_prune());
          }
          return x;
        },
        {.n_trials = n});
    return static_cast<double>(InstructionCount::instructions - before) / n;
  };
  instructions_of_trials(5);
  const double early = instructions_of_trials(20);
  instructions_of_trials(400);
  const double late = instructions_of_trials(20);
  EXPECT_GT(early, 100);
  EXPECT_LT(late, 1.1 * early);
  // A waiting trial is found among the finished ones.
  study.enqueue_trial({{"x", 0.25}});
  EXPECT_EQ(study.ask().suggest_float("x", 0, 1), 0.25);
}

TEST(Sqlite, LateWritesComeByThemselves) {
  const std::string url = "sqlite:///" + scratch_file("late.db");
  auto study = create_study({.storage = url, .sampler = RandomSampler({.seed = 0}), .study_name = "s"});
  auto trial = study.ask();
  trial.suggest_float("x", 0, 1);
  const auto reader = open_storage(url);
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  while (reader->trial(trial.frozen().trial_id)->params.empty()) {
    ASSERT_LT(std::chrono::steady_clock::now(), deadline);
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
}

class ProcessesTest : public ::testing::TestWithParam<const char*> {};
INSTANTIATE_TEST_SUITE_P(Storages, ProcessesTest, ::testing::Values("sqlite:///", "journal:///"));

TEST_P(ProcessesTest, ShareAStudy) {
  const std::string url = GetParam() + scratch_file("shared");
  constexpr int n_processes = 8, n_trials = 6;
  std::vector<pid_t> children;
  for (int i = 0; i < n_processes; ++i) {
    const std::string trials = std::to_string(n_trials), seed = std::to_string(i);
    const pid_t child = fork();
    if (child == 0) {
      execl(LEVIN_TUNE_WORKER, LEVIN_TUNE_WORKER, "work", url.c_str(), "s", trials.c_str(), seed.c_str(), nullptr);
      _exit(127);
    }
    children.push_back(child);
  }
  for (const pid_t child : children) {
    int status = 0;
    waitpid(child, &status, 0);
    EXPECT_EQ(status, 0);
  }
  const auto trials = load_study({.study_name = "s", .storage = url}).trials();
  ASSERT_EQ(trials.size(), static_cast<std::size_t>(n_processes * n_trials));
  for (std::size_t i = 0; i < trials.size(); ++i) {
    EXPECT_EQ(trials[i].number, static_cast<std::int64_t>(i));
    EXPECT_TRUE(is_finished(trials[i].state));
    EXPECT_GE(trials[i].params.size(), 6u);
  }
}

}  // namespace
}  // namespace levin::tune
