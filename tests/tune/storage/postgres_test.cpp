#include <levin/tune/samplers/random.h>
#include <levin/tune/storage/postgres.h>
#include <levin/tune/study.h>

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <thread>
#include <tune/postgres_server.h>
#include <vector>

namespace levin::tune {
namespace {

class PostgresServerTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!PostgresServer::installed()) GTEST_SKIP() << "PostgreSQL is not installed: apt-get install postgresql";
    ASSERT_TRUE(PostgresServer::instance().running());
  }
};

TEST_F(PostgresServerTest, AStateChangeIsOneRoundTrip) {
  PostgresStorage storage(PostgresServer::instance().fresh_url());
  const auto id = storage.create_study("s", {Direction::minimize}).value();
  TrialUpdate update;
  for (int i = 0; i < 10; ++i) {
    update.params.push_back({"p" + std::to_string(i), FloatDistribution{.low = 0, .high = 1}, 0.5});
  }
  update.intermediate_values = {{0, 1.0}, {1, 0.5}};
  update.user_attrs = {{"a", 1}, {"b", "two"}};
  update.state = TrialState::complete;
  update.values = {0.25};
  storage.update_trial(storage.next_trial(id)->trial_id, update);  // now the names are known
  const auto before = storage.round_trips();
  for (int i = 0; i < 5; ++i) storage.update_trial(storage.next_trial(id, true)->trial_id, update);
  EXPECT_EQ(storage.round_trips() - before, 10);
  EXPECT_EQ(storage.read_trials(id, {}, -1).size(), 6u);
  EXPECT_EQ(storage.read_trials(id, {}, -1).back()->params.size(), 10u);
}

TEST_F(PostgresServerTest, AVanishedServerIsWaitedForAndNothingIsLostOrDoubled) {
  auto& server = PostgresServer::instance();
  const std::string url = server.fresh_url();
  auto study = create_study({.storage = url, .sampler = RandomSampler({.seed = 0}), .study_name = "s"});
  std::vector<std::jthread> threads;
  std::atomic<int> told{0};
  for (int t = 0; t < 2; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 60; ++i) {
        auto trial = study.ask();
        study.tell(trial, trial.suggest_float("x", 0, 1));
        ++told;
        std::this_thread::sleep_for(std::chrono::milliseconds(5));
      }
    });
  }
  for (int crash = 0; crash < 2; ++crash) {
    std::this_thread::sleep_for(std::chrono::milliseconds(150));
    server.crash();
  }
  threads.clear();
  const auto trials = load_study({.study_name = "s", .storage = url}).trials();
  EXPECT_EQ(told, 120);
  ASSERT_EQ(trials.size(), 120u);
  for (std::size_t i = 0; i < trials.size(); ++i) {
    EXPECT_EQ(trials[i].number, static_cast<std::int64_t>(i));
    EXPECT_EQ(trials[i].state, TrialState::complete);
    EXPECT_EQ(trials[i].values.at(0), trials[i].params.at("x").as_double());
  }
}

TEST_F(PostgresServerTest, SaysWhatIsWrong) {
  const auto message = [](const auto& body) -> std::string {
    try {
      body();
    } catch (const Error& error) {
      return error.what();
    }
    return "no error";
  };
  const std::string url = PostgresServer::instance().fresh_url();
  EXPECT_NE(message([&] { PostgresStorage storage(url, {.create = false}); }).find("holds no studies"),
            std::string::npos);
  const std::string wrong = message(
      [] { PostgresStorage storage("postgresql://levin:secret@/postgres?host=/nowhere-at-all", {.timeout = 0.1}); });
  EXPECT_NE(wrong.find("no connection to the PostgreSQL server"), std::string::npos) << wrong;
  EXPECT_EQ(wrong.find("secret"), std::string::npos) << wrong;
}

}  // namespace
}  // namespace levin::tune
