#include <levin/tune/samplers/random.h>
#include <levin/tune/storage/postgres.h>
#include <levin/tune/study.h>
#include <levin/tune/study_view.h>

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

// What a crash may do to a trial that had just begun, and to the sequence of ids, done by hand.
TEST_F(PostgresServerTest, ATrialWhoseBeginningTheServerLostIsAddedAgain) {
  const std::string url = PostgresServer::instance().fresh_url();
  PostgresStorage storage(url), other(url);
  const auto id = storage.create_study("s", {Direction::minimize}).value();
  storage.update_trial(storage.next_trial(id)->trial_id, {.state = TrialState::complete, .values = {0.0}});
  const auto first = storage.next_trial(id), second = storage.next_trial(id);
  TrialCache seen(std::make_shared<PostgresStorage>(url), id);
  EXPECT_EQ(seen.read().unfinished().size(), 2u);
  PostgresServer::instance().execute(
      url,
      "DELETE FROM trials WHERE state = 'RUNNING'; SELECT setval(pg_get_serial_sequence('trials', 'trial_id'), 1); "
      "SELECT count(pg_terminate_backend(pid, 5000)) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND "
      "backend_type = 'client backend'");
  EXPECT_EQ(seen.read().unfinished().size(), 0u);
  const auto others = other.next_trial(id);
  EXPECT_EQ(others->trial_id, first->trial_id);
  EXPECT_EQ(others->number, 1);
  storage.record_heartbeats(std::vector<std::int64_t>{second->trial_id});
  storage.update_trial(second->trial_id, {.state = TrialState::complete, .values = {2.0}});
  EXPECT_EQ(storage.trial(first->trial_id)->datetime_start, first->datetime_start);
  const auto next = storage.next_trial(id);
  storage.update_trial(first->trial_id, {.state = TrialState::complete, .values = {1.0}});
  storage.update_trial(next->trial_id, {.state = TrialState::complete, .values = {3.0}});
  other.update_trial(others->trial_id, {.state = TrialState::complete, .values = {10.0}});
  const auto trials = other.read_trials(id, {}, -1);
  EXPECT_EQ(seen.read().finished().size(), trials.size());
  std::vector<double> values;
  for (std::size_t i = 0; i < trials.size(); ++i) {
    EXPECT_EQ(trials[i]->number, static_cast<std::int64_t>(i));
    EXPECT_EQ(trials[i]->state, TrialState::complete);
    values.push_back(trials[i]->values.at(0));
  }
  EXPECT_EQ(values, (std::vector<double>{0, 10, 1, 2, 3}));
  EXPECT_EQ(storage.trial(second->trial_id)->values, std::vector<double>{2});  // its first id still names it here
}

TEST_F(PostgresServerTest, ATrialThatBeganAtAnotherTimeIsNotWritten) {
  const std::string url = PostgresServer::instance().fresh_url();
  PostgresStorage storage(url);
  const auto id = storage.create_study("s", {Direction::minimize}).value();
  const auto trial = storage.next_trial(id);
  PostgresServer::instance().execute(url, "UPDATE trials SET datetime_start = datetime_start + interval '1 second'");
  const TrialUpdate update{.state = TrialState::complete, .values = {1.0}};
  EXPECT_THROW(storage.update_trial(trial->trial_id, update), Error);
  EXPECT_THROW(storage.update_trial(trial->trial_id, {.user_attrs = {{"a", 1}}}), Error);
  EXPECT_EQ(storage.trial(trial->trial_id)->state, TrialState::running);
  PostgresStorage(url).update_trial(trial->trial_id, update);  // who did not begin it, does not know when it began
  EXPECT_EQ(storage.trial(trial->trial_id)->state, TrialState::complete);
}

TEST_F(PostgresServerTest, KeepsTextWithQuotesAndBackslashes) {
  PostgresStorage storage(PostgresServer::instance().fresh_url());
  const auto id = storage.create_study("s", {Direction::minimize}).value();
  const std::string odd = "a \"b\" \\ {c,d} 'e'\nNULL";
  TrialUpdate update{.params = {{odd, CategoricalDistribution{{odd, "NULL", ""}}, 0}}, .user_attrs = {{odd, odd}}};
  update.user_attrs[""] = "";
  const auto trial = storage.next_trial(id)->trial_id;
  storage.update_trial(trial, update);
  const auto read = storage.trial(trial);
  EXPECT_EQ(read->params.at(odd).as_string(), odd);
  EXPECT_EQ(read->user_attrs, update.user_attrs);
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
