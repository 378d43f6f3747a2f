#include <levin/tune/samplers/random.h>
#include <levin/tune/samplers/tpe.h>
#include <levin/tune/study.h>
#include <levin/tune/study_export.h>

#include <gtest/gtest.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <thread>
#include <tune/scratch.h>

namespace levin::tune {
namespace {

void rest(double seconds) { std::this_thread::sleep_for(std::chrono::duration<double>(seconds)); }

constexpr HeartbeatOptions kQuick{.interval = 0.05, .grace_period = 0.25, .max_retry = 1};

class HeartbeatTest : public ::testing::TestWithParam<const char*> {
 protected:
  const std::string url = GetParam() + scratch_file("beat");
};
INSTANTIATE_TEST_SUITE_P(Storages, HeartbeatTest, ::testing::Values("sqlite:///", "journal:///"));

TEST_P(HeartbeatTest, AnAskedTrialLivesAsLongAsItsHandle) {
  auto study = create_study({.storage = url, .study_name = "s", .heartbeat = kQuick});
  auto other = load_study({.study_name = "s", .storage = url, .heartbeat = kQuick});
  auto held = study.ask();
  held.suggest_float("x", 0, 1);
  {
    auto dropped = study.ask();
    dropped.suggest_float("x", 0, 1);
    dropped.set_user_attr("tag", "kept");
    study.trials();  // writes what is pending
  }
  rest(0.5);
  auto next = other.ask();
  EXPECT_EQ(next.number(), 2);
  const auto trials = other.trials();
  EXPECT_EQ(trials[0].state, TrialState::running);
  EXPECT_EQ(trials[1].state, TrialState::fail);
  EXPECT_EQ(retried_trial_number(trials[2]), 1);
  EXPECT_EQ(retry_history(trials[2]), (std::vector<std::int64_t>{1}));
  EXPECT_EQ(trials[2].params, trials[1].params);
  EXPECT_EQ(trials[2].user_attrs, (Map{{"tag", "kept"}}));
  EXPECT_EQ(next.suggest_float("x", 0, 1), trials[1].params.at("x").as_double());
  study.tell(held, 1.0);
  EXPECT_THROW(study.tell(1, 2.0), Error);
}

TEST_P(HeartbeatTest, RetriesEndAndTheCheckpointStays) {
  auto study = create_study({.storage = url, .study_name = "a/b", .heartbeat = kQuick});
  std::filesystem::path folder;
  {
    auto first = study.ask();
    folder = first.checkpoint_dir();
    std::ofstream(folder / "state") << "epoch 3";
  }
  rest(0.5);
  {
    auto second = study.ask();
    EXPECT_EQ(retried_trial_number(second.frozen()), 0);
    EXPECT_EQ(second.checkpoint_dir(), folder);
    EXPECT_TRUE(std::filesystem::exists(second.checkpoint_dir() / "state"));
    EXPECT_EQ(folder.parent_path().filename(), "a_b");
  }
  rest(0.5);
  auto third = study.ask();
  EXPECT_FALSE(retried_trial_number(third.frozen()).has_value()) << "max_retry is 1";
  EXPECT_NE(third.checkpoint_dir(), folder);
  EXPECT_EQ(study.trials({TrialState::fail}).size(), 2u);
}

TEST(Heartbeat, TrialsWithoutOneAreLeftAlone) {
  const std::string url = "sqlite:///" + scratch_file("without.db");
  auto plain = create_study({.storage = url, .study_name = "s"});
  plain.ask();
  rest(0.4);
  auto study = load_study({.study_name = "s", .storage = url, .heartbeat = kQuick});
  study.ask();
  EXPECT_EQ(study.trials()[0].state, TrialState::running);
  EXPECT_THROW(load_study({.study_name = "s", .storage = url, .heartbeat = HeartbeatOptions{.interval = 0}}), Error);
  EXPECT_THROW(create_study().ask().checkpoint_dir(), Error);
}

TEST(SynchronousStudy, ReplaysWithThreadsAndASamplerThatLearns) {
  const auto run = [](std::uint64_t jitter) {
    auto study = create_study({.sampler = TPESampler({.n_startup_trials = 4, .seed = 3})});
    study.optimize(
        [&](Trial& trial) {
          const double x = trial.suggest_float("x", -5, 5);
          const double y = trial.suggest_float("y", -5, 5);
          rest(1e-3 * static_cast<double>((static_cast<std::uint64_t>(trial.number()) * 7 + jitter) % 5));
          return x * x + y * y;
        },
        {.n_trials = 26, .n_jobs = 4, .synchronous = true});
    std::vector<Map> out;
    for (const auto& trial : study.trials()) out.push_back(trial.params);
    return out;
  };
  const auto first = run(0);
  EXPECT_EQ(first.size(), 26u);
  EXPECT_EQ(run(1), first);
  EXPECT_EQ(run(3), first);
}

TEST(CatchErrors, CatchesByType) {
  const auto objective = [](Trial& trial) -> double {
    if (trial.number() == 1) throw std::out_of_range("small");
    if (trial.number() == 3) throw std::runtime_error("large");
    return 0;
  };
  auto study = create_study({});
  EXPECT_THROW(study.optimize(objective, {.n_trials = 9, .catch_errors = catching<std::logic_error, int>()}),
               std::runtime_error);
  EXPECT_EQ(study.trials().size(), 4u);
  EXPECT_EQ(study.trials()[1].state, TrialState::fail);
}

TEST(CopyStudy, CopiesBetweenStoragesAndExtendsChoices) {
  const std::string from = "sqlite:///" + scratch_file("from.db"), to = "journal:///" + scratch_file("to.log");
  auto study = create_study({.storage = from, .sampler = RandomSampler({.seed = 1}), .study_name = "s"});
  study.set_user_attr("data", "digits");
  study.set_metric_names({"loss"});
  study.optimize(
      [](Trial& trial) {
        trial.suggest_categorical("optimizer", {"adam", "sgd"});
        trial.report(0.5, 1);
        return trial.suggest_float("x", 0, 1);
      },
      {.n_trials = 5});
  study.enqueue_trial({{"x", 0.5}});
  copy_study({.from_study_name = "s",
              .from_storage = from,
              .to_storage = to,
              .to_study_name = "t",
              .extend_choices = {{"optimizer", List{"lion", "sgd"}}}});
  auto copy = load_study({.study_name = "t", .storage = to});
  EXPECT_EQ(copy.user_attrs(), study.user_attrs());
  EXPECT_EQ(copy.metric_names(), std::vector<std::string>{"loss"});
  const auto a = study.trials(), b = copy.trials();
  ASSERT_EQ(b.size(), 6u);
  for (std::size_t i = 0; i < 6; ++i) {
    EXPECT_EQ(a[i].params, b[i].params);
    EXPECT_EQ(a[i].values, b[i].values);
    EXPECT_EQ(a[i].state, b[i].state);
    EXPECT_EQ(a[i].datetime_complete, b[i].datetime_complete);
  }
  auto trial = copy.ask();
  trial.suggest_categorical("optimizer", {"adam", "sgd", "lion"});
  EXPECT_THROW(trial.suggest_categorical("optimizer", {"adam", "sgd"}), Error);
  EXPECT_THROW(copy_study({.from_study_name = "s", .from_storage = from, .to_storage = to, .to_study_name = "t"}),
               Error);
  EXPECT_THROW(copy_study({.from_study_name = "s",
                           .from_storage = from,
                           .to_storage = to,
                           .to_study_name = "u",
                           .extend_choices = {{"optimiser", List{"lion"}}}}),
               Error);
}

TEST(StudyExport, HasTheColumnsOfADataframe) {
  auto study = create_study({.directions = {Direction::minimize, Direction::maximize}});
  FrozenTrial trial;
  trial.state = TrialState::complete;
  trial.values = {0.5, 2};
  trial.datetime_start = TimePoint(std::chrono::microseconds(1'767'225'600'000'000));
  trial.datetime_complete = *trial.datetime_start + std::chrono::microseconds(90'061'500'000);
  trial.params = {{"b", 1}, {"a", "x,y"}};
  trial.distributions = {{"b", IntDistribution{.low = 0, .high = 3}}, {"a", CategoricalDistribution{{"x,y", 2}}}};
  trial.user_attrs = {{"list", List{1, 2}}};
  study.add_trial(trial);
  study.enqueue_trial({{"b", 2}});
  std::ostringstream csv, json;
  write_csv(trials_table(study), csv);
  write_json(trials_table(study), json);
  std::istringstream lines(csv.str());
  std::string head, first, second;
  std::getline(lines, head);
  std::getline(lines, first);
  std::getline(lines, second);
  EXPECT_EQ(head,
            "number,values_0,values_1,datetime_start,datetime_complete,duration,params_a,params_b,user_attrs_list,"
            "system_attrs_fixed_params,state");
  EXPECT_NE(first.find(",1 days 01:01:01.500000,\"x,y\",1,\"[1, 2]\",,COMPLETE"), std::string::npos) << first;
  EXPECT_EQ(second, "1,,,,,,,,,\"{\"\"b\"\": 2}\",WAITING");
  EXPECT_NE(json.str().find("\"duration\": 90061.5"), std::string::npos) << json.str();
  study.set_metric_names({"loss", "speed"});
  EXPECT_EQ(trials_table(study).columns[2], "values_speed");
}

}  // namespace
}  // namespace levin::tune
