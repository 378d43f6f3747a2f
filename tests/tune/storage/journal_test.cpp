#include <levin/tune/samplers/random.h>
#include <levin/tune/storage/journal.h>
#include <levin/tune/study.h>

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <functional>
#include <sstream>
#include <thread>
#include <tune/scratch.h>

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

std::string content(const std::string& path) {
  std::stringstream out;
  out << std::ifstream(path).rdbuf();
  return out.str();
}

void append(const std::string& path, const std::string& text) { std::ofstream(path, std::ios::app) << text; }

std::int64_t with_trials(JournalStorage& storage, int n) {
  const auto id = storage.create_study("s", {Direction::minimize}).value();
  for (int i = 0; i < n; ++i) {
    storage.update_trial(storage.next_trial(id)->trial_id, {.state = TrialState::complete, .values = {1.0 * i}});
  }
  return id;
}

TEST(Journal, WritesOptunasLines) {
  const std::string path = scratch_file("lines.log");
  JournalStorage storage(path);
  const auto id = storage.create_study("s", {Direction::minimize, Direction::maximize}).value();
  const auto trial = storage.next_trial(id)->trial_id;
  storage.update_trial(trial, {.params = {{"x", FloatDistribution{.low = 0, .high = 2}, 0.5}},
                               .intermediate_values = {{3, 0.25}},
                               .user_attrs = {{"u", List{1, "a"}}},
                               .system_attrs = {{"s", Value()}},
                               .state = TrialState::complete,
                               .values = {1.5, 2.0}});
  std::istringstream lines(content(path));
  std::vector<std::string> out;
  for (std::string line; std::getline(lines, line);) {
    // Worker and times vary.
    for (const char* key : {"\"worker_id\":\"", "\"datetime_start\":\"", "\"datetime_complete\":\""}) {
      const auto at = line.find(key);
      if (at == std::string::npos) continue;
      const auto start = at + std::string(key).size();
      line.replace(start, line.find('"', start) - start, "*");
    }
    out.push_back(line);
  }
  const std::vector<std::string> expected{
      R"({"op_code":0,"worker_id":"*","study_name":"s","directions":[1,2]})",
      R"({"op_code":4,"worker_id":"*","study_id":0,"datetime_start":"*"})",
      R"({"op_code":5,"worker_id":"*","trial_id":0,"param_name":"x","param_value_internal":0.5,"distribution":)"
      R"("{\"name\": \"FloatDistribution\", \"attributes\": {\"step\": null, \"low\": 0.0, \"high\": 2.0, \"log\": false}}"})",
      R"({"op_code":7,"worker_id":"*","trial_id":0,"step":3,"intermediate_value":0.25})",
      R"({"op_code":8,"worker_id":"*","trial_id":0,"user_attr":{"u":[1,"a"]}})",
      R"({"op_code":9,"worker_id":"*","trial_id":0,"system_attr":{"s":null}})",
      R"({"op_code":6,"worker_id":"*","trial_id":0,"state":1,"values":[1.5,2.0],"datetime_complete":"*"})"};
  EXPECT_EQ(out, expected);
  EXPECT_FALSE(fs::is_symlink(fs::symlink_status(path + ".lock")));
}

TEST(Journal, ATornLastLineIsPassedOverAndTakenAway) {
  const std::string path = scratch_file("torn.log");
  JournalStorage storage(path);
  const auto id = with_trials(storage, 2);
  const std::string whole = content(path);
  append(path, R"({"op_code":4,"worker_id":"dead","study_)");
  JournalStorage other(path);
  EXPECT_EQ(other.read_trials(id, {}, -1).size(), 2u);
  EXPECT_EQ(other.next_trial(id)->number, 2);
  EXPECT_EQ(content(path).substr(0, whole.size()), whole);
  EXPECT_EQ(content(path).find("dead"), std::string::npos);
  EXPECT_EQ(storage.read_trials(id, {}, -1).size(), 3u);
  // A line that only lacks its end counts: its writer may have gone on.
  append(path, R"({"op_code":4,"worker_id":"w","study_id":0,"datetime_start":null})");
  EXPECT_EQ(storage.next_trial(id)->number, 4);
  EXPECT_EQ(JournalStorage(path).read_trials(id, {}, -1).size(), 5u);
}

TEST(Journal, SaysWhatIsWrong) {
  const std::string text = scratch_file("text.log");
  std::ofstream(text) << "some notes\n";
  EXPECT_NE(message([&] { JournalStorage storage(text); }).find("no journal of studies"), std::string::npos);
  EXPECT_EQ(content(text), "some notes\n");
  EXPECT_NE(message([&] { JournalStorage storage(scratch_file("no/journal.log")); }).find("create its folder"),
            std::string::npos);
  EXPECT_NE(message([&] { JournalStorage storage(fs::path(text).parent_path()); }).find("this is a folder"),
            std::string::npos);
  const std::string missing = scratch_file("missing.log");
  EXPECT_NE(message([&] { JournalStorage storage(missing, {.create = false}); }).find("no such storage"),
            std::string::npos);
  EXPECT_FALSE(fs::exists(missing));

  const std::string path = scratch_file("damaged.log");
  {
    JournalStorage storage(path);
    with_trials(storage, 1);
  }
  append(path, "{\"op_code\":4,\"wor{\"op_code\":4}\n");
  const std::string damaged = message([&] { JournalStorage storage(path); });
  EXPECT_NE(damaged.find("damaged line"), std::string::npos) << damaged;
  EXPECT_NE(damaged.find("damaged.log:4"), std::string::npos) << damaged;

  const std::string moved = scratch_file("moved.log");
  JournalStorage storage(moved);
  with_trials(storage, 1);
  fs::rename(moved, moved + ".old");
  EXPECT_NE(message([&] { storage.next_trial(0); }).find("moved or replaced"), std::string::npos);
}

TEST(Journal, AFullDiskLeavesNoTornLine) {
  const std::string path = scratch_file("full.log");
  JournalStorage storage(path);
  const auto id = with_trials(storage, 3);
  const std::string before = content(path);
  // A limit on the file's size fails a write half way, as a full disk does.
  rlimit limit{};
  ::getrlimit(RLIMIT_FSIZE, &limit);
  const auto old_handler = std::signal(SIGXFSZ, SIG_IGN);
  rlimit small = limit;
  small.rlim_cur = before.size() + 20;
  ::setrlimit(RLIMIT_FSIZE, &small);
  const std::string said = message([&] { storage.next_trial(id); });
  ::setrlimit(RLIMIT_FSIZE, &limit);
  std::signal(SIGXFSZ, old_handler);
  EXPECT_NE(said.find("cannot be written"), std::string::npos) << said;
  EXPECT_EQ(content(path), before);
  EXPECT_EQ(storage.next_trial(id)->number, 3);
}

TEST(Journal, ALockIsWaitedForAndOneOfADeadProcessIsTaken) {
  const std::string path = scratch_file("locked.log");
  JournalStorage storage(path, {.timeout = 0.3});
  const auto id = with_trials(storage, 1);
  fs::create_symlink(path, path + ".lock");  // as Optuna's lock
  EXPECT_NE(message([&] { storage.next_trial(id); }).find("stayed locked"), std::string::npos);
  std::thread release([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    fs::remove(path + ".lock");
  });
  EXPECT_EQ(storage.next_trial(id)->number, 1);
  release.join();
  std::ofstream(path + ".lock");  // as Optuna's lock for newer network file systems
  EXPECT_NE(message([&] { storage.next_trial(id); }).find("stayed locked"), std::string::npos);
  fs::remove(path + ".lock");
}

}  // namespace
}  // namespace levin::tune
