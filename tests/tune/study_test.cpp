#include <levin/tune/study.h>

#include <gtest/gtest.h>

#include <atomic>
#include <cstdio>
#include <cmath>
#include <limits>
#include <malloc.h>
#include <set>
#include <stop_token>
#include <thread>

#include <levin/tune/samplers/random.h>

namespace levin::tune {
namespace {

Study random_study(Direction direction = Direction::minimize) {
  return create_study({.sampler = RandomSampler({.seed = 1}), .pruner = NopPruner(), .direction = direction});
}

std::string message(const std::function<void()>& body) {
  try {
    body();
  } catch (const std::exception& error) {
    return error.what();
  }
  return "no error";
}

TEST(Study, FindsTheBestTrial) {
  auto study = random_study();
  study.optimize([](Trial& trial) { return std::pow(trial.suggest_float("x", -2, 2), 2); }, {.n_trials = 50});
  ASSERT_EQ(study.trials().size(), 50u);
  double best = std::numeric_limits<double>::infinity();
  std::int64_t number = 0;
  for (const auto& trial : study.trials()) {
    EXPECT_EQ(trial.number, number++);
    EXPECT_EQ(trial.state, TrialState::complete);
    EXPECT_TRUE(trial.duration().has_value());
    best = std::min(best, trial.value());
  }
  EXPECT_EQ(study.best_value(), best);
  EXPECT_EQ(std::pow(study.best_params().at("x").as_double(), 2), best);
}

// What the heap holds for a trial, of which there may be 100,000. glibc's own books, which a sanitizer does not keep.
TEST(Study, TrialsAreSmall) {
#ifdef __GLIBC__
  if (::mallinfo2().uordblks == 0) GTEST_SKIP() << "this allocator keeps no books";
  auto study = random_study();
  const auto objective = [](Trial& trial) {
    double sum = 0;
    for (int i = 0; i < 10; ++i) sum += trial.suggest_float("x" + std::to_string(i), -5, 5);
    return sum;
  };
  study.optimize(objective, {.n_trials = 100});
  const auto before = ::mallinfo2().uordblks;
  constexpr int kTrials = 3000;
  study.optimize(objective, {.n_trials = kTrials});
  const double bytes = static_cast<double>(::mallinfo2().uordblks - before) / kTrials;
  EXPECT_LT(bytes, 1750);
  EXPECT_GT(bytes, 500);  // else something else was measured
  std::printf("%.0f bytes a trial of 10 parameters\n", bytes);
#else
  GTEST_SKIP() << "this allocator keeps no books";
#endif
}

TEST(Study, MaximizesToo) {
  auto study = random_study(Direction::maximize);
  for (const double value : {1.0, 3.0, 3.0, 2.0}) study.tell(study.ask(), value);
  EXPECT_EQ(study.best_trial().number, 1);  // the earliest of equals
}

TEST(Study, InfiniteValuesCount) {
  auto study = random_study();
  study.tell(study.ask(), std::numeric_limits<double>::infinity());
  EXPECT_EQ(study.best_value(), std::numeric_limits<double>::infinity());
  study.tell(study.ask(), -std::numeric_limits<double>::infinity());
  EXPECT_EQ(study.best_trial().number, 1);
}

TEST(Study, SuggestsEachTypeInItsOwnType) {
  auto study = random_study();
  auto trial = study.ask();
  const std::string name = trial.suggest_categorical("name", {"relu", "tanh"});
  const std::int64_t number = trial.suggest_categorical("number", {1, 2});
  const double real = trial.suggest_categorical("real", {0.1, 0.2});
  const bool flag = trial.suggest_categorical("flag", {true, false});
  const Value any = trial.suggest_categorical("any", List{Value(), "x", 3});
  EXPECT_TRUE(name == "relu" || name == "tanh");
  EXPECT_TRUE(number == 1 || number == 2);
  EXPECT_TRUE(real == 0.1 || real == 0.2);
  EXPECT_EQ(trial.params().at("flag"), Value(flag));
  EXPECT_EQ(trial.params().at("any"), any);
  EXPECT_TRUE(trial.params().at("number").is_int());
  EXPECT_EQ(trial.suggest_int("steps", 3, 12, {.step = 4}) % 4, 3);
  EXPECT_EQ(trial.suggest_float("only", 2.5, 2.5), 2.5);
}

TEST(Study, ParametersKeepTheirValueWithinATrial) {
  auto study = random_study();
  auto trial = study.ask();
  const double x = trial.suggest_float("x", 0, 1);
  EXPECT_EQ(trial.suggest_float("x", 0, 1), x);
  EXPECT_EQ(trial.suggest_float("x", 5, 6), x);  // as in Optuna, the first call counts
  EXPECT_THROW(trial.suggest_int("x", 0, 1), Error);
  EXPECT_THROW(trial.suggest_float("x", 0.1, 1, {.log = true}), Error);
}

TEST(Study, ParametersKeepTheirKindAcrossTrials) {
  auto study = random_study();
  auto first = study.ask();
  first.suggest_categorical("c", {"a", "b"});
  first.suggest_float("x", 0, 1);
  auto second = study.ask();
  EXPECT_NO_THROW(second.suggest_float("x", 3, 4));
  const std::string text = message([&] { second.suggest_categorical("c", {"a", "z"}); });
  EXPECT_NE(text.find("choices of a parameter cannot change"), std::string::npos) << text;
  EXPECT_NE(text.find("choice(a, z), was choice(a, b)"), std::string::npos) << text;
}

TEST(Study, BadRangesNameTheParameter) {
  auto study = random_study();
  auto trial = study.ask();
  for (const auto& body : std::vector<std::function<void()>>{
           [&] { trial.suggest_float("lr", 1, 0); }, [&] { trial.suggest_float("lr", 0, 1, {.log = true}); },
           [&] { trial.suggest_float("lr", 0, 1, {.step = 0.0}); }, [&] { trial.suggest_int("lr", 5, 1); },
           [&] { trial.suggest_float("lr", 0.1, 1, {.step = 0.1, .log = true}); },
           [&] { trial.suggest_float("lr", std::nan(""), 1); }, [&] { trial.suggest_categorical("lr", List{}); }}) {
    EXPECT_NE(message(body).find("parameter \"lr\""), std::string::npos) << message(body);
  }
}

TEST(Study, NanFailsTheTrialAndNotTheStudy) {
  auto study = random_study();
  study.optimize([](Trial& trial) { return trial.number() == 1 ? std::nan("") : 1.0; }, {.n_trials = 3});
  const auto trials = study.trials();
  ASSERT_EQ(trials.size(), 3u);
  EXPECT_EQ(trials[1].state, TrialState::fail);
  EXPECT_TRUE(trials[1].values.empty());
  EXPECT_EQ(trials[1].system_attrs.at("fail_reason"), Value("the objective is NaN"));
  EXPECT_EQ(trials[2].state, TrialState::complete);
}

TEST(Study, ExceptionsFailTheTrialAndAreThrownOn) {
  auto study = random_study();
  const auto objective = [](Trial& trial) -> double {
    if (trial.number() == 1) throw std::runtime_error("no memory left");
    return 1.0;
  };
  EXPECT_EQ(message([&] { study.optimize(objective, {.n_trials = 3}); }), "no memory left");
  auto trials = study.trials();
  ASSERT_EQ(trials.size(), 2u);
  EXPECT_EQ(trials[1].state, TrialState::fail);
  EXPECT_EQ(trials[1].system_attrs.at("fail_reason"), Value("no memory left"));

  auto patient = random_study();
  patient.optimize(objective, {.n_trials = 3, .catch_errors = true});
  EXPECT_EQ(patient.trials().size(), 3u);
  EXPECT_EQ(patient.trials({TrialState::fail}).size(), 1u);
}

TEST(Study, PrunedTrialsKeepTheirLastReport) {
  auto study = random_study();
  study.optimize(
      [](Trial& trial) -> double {
        trial.report(3.0, 0);
        trial.report(2.0, 5);
        trial.report(9.0, 5);  // the first report of a step counts
        if (trial.number() == 1) trial.report(std::nan(""), 6);
        throw TrialPruned();
      },
      {.n_trials = 2});
  const auto trials = study.trials({TrialState::pruned});
  ASSERT_EQ(trials.size(), 2u);
  EXPECT_EQ(trials[0].value(), 2.0);
  EXPECT_EQ(trials[0].last_step(), 5);
  EXPECT_TRUE(trials[1].values.empty());  // NaN is no value
  EXPECT_THROW(study.best_trial(), Error);
}

TEST(Study, EnqueuedTrialsComeFirst) {
  auto study = random_study();
  study.enqueue_trial({{"x", 0.25}, {"c", "b"}}, {.user_attrs = {{"why", "guess"}}});
  study.enqueue_trial({{"x", 0.25}, {"c", "b"}}, {.skip_if_exists = true});
  EXPECT_EQ(study.trials({TrialState::waiting}).size(), 1u);
  study.optimize(
      [](Trial& trial) {
        const std::string c = trial.suggest_categorical("c", {"a", "b"});
        return trial.suggest_float("x", 0, 1) + (c == "b" ? 10 : 0);
      },
      {.n_trials = 2});
  const auto trials = study.trials();
  EXPECT_EQ(trials[0].value(), 10.25);
  EXPECT_EQ(trials[0].user_attrs.at("why"), Value("guess"));
  EXPECT_NE(trials[1].params.at("x"), Value(0.25));
}

TEST(Study, TellJudgesItsArguments) {
  auto study = random_study();
  auto trial = study.ask();
  EXPECT_THROW(study.tell(trial, TrialState::complete), Error);
  EXPECT_THROW(study.tell(trial, TrialState::running), Error);
  EXPECT_THROW(study.tell(trial, 1.0, {.state = TrialState::fail}), Error);
  EXPECT_THROW(study.tell(trial, std::nan(""), {.state = TrialState::complete}), Error);
  EXPECT_THROW(study.tell(99, 1.0), Error);
  EXPECT_EQ(trial.frozen().state, TrialState::running);
  EXPECT_EQ(study.tell(trial.number(), 1.0).state, TrialState::complete);
  EXPECT_THROW(study.tell(trial, 2.0), Error);
  EXPECT_EQ(study.tell(trial, 2.0, {.skip_if_finished = true}).value(), 1.0);
  EXPECT_EQ(study.tell(study.ask(), {1.0, 2.0}).state, TrialState::fail);  // one objective, two values
  EXPECT_THROW(study.tell(FixedTrial({}), 1.0), Error);
  EXPECT_THROW(study.tell(random_study().ask(), 1.0), Error);
}

TEST(Study, CallbacksCanStop) {
  auto study = random_study();
  std::vector<std::int64_t> seen;
  study.optimize([](Trial&) { return 0.0; }, {.n_trials = 100, .callbacks = {[&](Study& s, const FrozenTrial& trial) {
                                                                 seen.push_back(trial.number);
                                                                 if (trial.number == 4) s.stop();
                                                               }}});
  EXPECT_EQ(seen, (std::vector<std::int64_t>{0, 1, 2, 3, 4}));
  EXPECT_THROW(study.stop(), Error);
  study.optimize([](Trial&) { return 0.0; }, {.n_trials = 2});  // a stop does not outlive its optimize
  EXPECT_EQ(study.trials().size(), 7u);
}

TEST(Study, StopTokenEndsCleanly) {
  auto study = random_study();
  std::stop_source source;
  study.optimize(
      [&](Trial& trial) {
        EXPECT_FALSE(trial.stop_requested());
        if (trial.number() == 2) {
          source.request_stop();
          EXPECT_TRUE(trial.stop_requested());
        }
        return 1.0;
      },
      {.n_trials = 100, .stop_token = source.get_token()});
  EXPECT_EQ(study.trials({TrialState::complete}).size(), 3u);
  EXPECT_TRUE(study.trials({TrialState::running}).empty());
}

TEST(Study, TimeoutEnds) {
  auto study = random_study();
  study.optimize(
      [](Trial&) {
        std::this_thread::sleep_for(std::chrono::milliseconds(5));
        return 1.0;
      },
      {.timeout = 0.05});
  EXPECT_GE(study.trials().size(), 1u);
  EXPECT_LE(study.trials().size(), 11u);
}

TEST(Study, NestedOptimizeIsRefused) {
  auto study = random_study();
  EXPECT_THROW(study.optimize(
                   [&](Trial&) {
                     study.optimize([](Trial&) { return 0.0; }, {.n_trials = 1});
                     return 0.0;
                   },
                   {.n_trials = 1}),
               Error);
  EXPECT_EQ(study.trials().size(), 1u);
}

TEST(Study, ThreadsShareTheTrials) {
  auto study = random_study();
  std::atomic<int> at_once{0}, most{0};
  study.optimize(
      [&](Trial& trial) {
        const int now = ++at_once;
        int seen = most;
        while (now > seen && !most.compare_exchange_weak(seen, now)) {
        }
        std::this_thread::sleep_for(std::chrono::milliseconds(2));
        const double x = trial.suggest_float("x", 0, 1);
        trial.report(x, 1);
        --at_once;
        return x;
      },
      {.n_trials = 64, .n_jobs = 8});
  EXPECT_GT(most, 1);
  const auto trials = study.trials({TrialState::complete});
  ASSERT_EQ(trials.size(), 64u);
  std::set<std::int64_t> numbers;
  for (const auto& trial : trials) {
    numbers.insert(trial.number);
    EXPECT_EQ(trial.params.at("x").as_double(), trial.value());
    EXPECT_EQ(trial.intermediate_values.at(1), trial.value());
  }
  EXPECT_EQ(numbers.size(), 64u);
}

TEST(Study, AskAndTellFromEightThreads) {
  auto study = random_study();
  for (int i = 0; i < 40; ++i) study.enqueue_trial({{"x", i / 100.0}});
  {
    std::vector<std::jthread> threads;
    for (int t = 0; t < 8; ++t) {
      threads.emplace_back([study]() mutable {
        for (int i = 0; i < 25; ++i) {
          auto trial = study.ask();
          const double x = trial.suggest_float("x", 0, 1);
          trial.set_user_attr("thread", 1);
          study.tell(trial, x);
          if (i % 5 == 0) study.best_trial();
        }
      });
    }
  }
  const auto trials = study.trials();
  ASSERT_EQ(trials.size(), 200u);
  std::set<double> enqueued;
  for (const auto& trial : trials) {
    EXPECT_EQ(trial.state, TrialState::complete);
    if (trial.system_attrs.contains("fixed_params")) enqueued.insert(trial.value());
  }
  EXPECT_EQ(enqueued.size(), 40u);  // each enqueued trial ran once, with its value
}

TEST(Study, ResultsDoNotDependOnThreads) {
  const auto run = [](std::int64_t n_jobs) {
    auto study = random_study();
    study.optimize([](Trial& trial) { return trial.suggest_float("x", 0, 1) + trial.suggest_float("y", 0, 1); },
                   {.n_trials = 40, .n_jobs = n_jobs});
    std::vector<double> values;
    for (const auto& trial : study.trials()) values.push_back(trial.value());
    return values;
  };
  EXPECT_EQ(run(1), run(4));
}

TEST(Study, SeveralObjectivesKeepTheParetoFront) {
  auto study =
      create_study({.sampler = RandomSampler({.seed = 0}), .directions = {Direction::minimize, Direction::maximize}});
  for (const auto& values : std::vector<std::vector<double>>{{1, 1}, {2, 2}, {2, 1}, {0, 0}, {1, 1}}) {
    study.tell(study.ask(), values);
  }
  std::vector<std::int64_t> front;
  for (const auto& trial : study.best_trials()) front.push_back(trial.number);
  EXPECT_EQ(front, (std::vector<std::int64_t>{0, 1, 3, 4}));
  EXPECT_THROW(study.best_trial(), Error);
  auto trial = study.ask();
  EXPECT_THROW(trial.report(1, 1), Error);
  EXPECT_FALSE(trial.should_prune());
}

TEST(Study, InfeasibleTrialsAreNotTheBest) {
  auto study = random_study();
  for (int i = 0; i < 3; ++i) {
    auto trial = study.ask();
    trial.set_constraint("size", i == 0 ? 0.5 : -1.0);
    trial.set_constraint("size", -2.0);  // the first counts
    study.tell(trial, static_cast<double>(i));
  }
  EXPECT_EQ(study.best_trial().number, 1);
  EXPECT_EQ(study.trials()[0].infeasibility(), 0.5);
}

TEST(Study, NamesAreUniqueAndLoadable) {
  const auto storage = std::make_shared<StorageRef>("memory://")->open();
  create_study({.storage = storage, .study_name = "digits", .direction = Direction::maximize});
  EXPECT_NE(message([&] { create_study({.storage = storage, .study_name = "digits"}); }).find("load_if_exists"),
            std::string::npos);
  auto again = create_study({.storage = storage, .study_name = "digits", .load_if_exists = true});
  EXPECT_EQ(again.direction(), Direction::maximize);
  EXPECT_THROW(
      create_study(
          {.storage = storage, .study_name = "digits", .direction = Direction::minimize, .load_if_exists = true}),
      Error);
  EXPECT_EQ(load_study({.storage = storage}).study_name(), "digits");
  EXPECT_NE(message([&] { load_study({.study_name = "digts", .storage = storage}); }).find("did you mean \"digits\""),
            std::string::npos);
  again.tell(again.ask(), 2.0);
  const auto summaries = study_summaries(storage);
  ASSERT_EQ(summaries.size(), 1u);
  EXPECT_EQ(summaries[0].n_trials, 1);
  EXPECT_EQ(summaries[0].best_trial->value(), 2.0);
  delete_study({.study_name = "digits", .storage = storage});
  EXPECT_TRUE(study_summaries(storage).empty());
}

TEST(Study, AddedTrialsAreChecked) {
  auto study = random_study();
  FrozenTrial trial;
  trial.state = TrialState::complete;
  EXPECT_THROW(study.add_trial(trial), Error);
  trial.values = {0.5};
  trial.params = {{"x", 3.0}};
  EXPECT_THROW(study.add_trial(trial), Error);
  trial.distributions = {{"x", FloatDistribution{.low = 0, .high = 1}}};
  EXPECT_THROW(study.add_trial(trial), Error);
  trial.params = {{"x", 0.3}};
  study.add_trial(trial);
  EXPECT_EQ(study.best_params(), (Map{{"x", 0.3}}));
}

TEST(Study, StudyAttributes) {
  auto study = random_study();
  study.set_user_attr("data", "digits");
  study.set_system_attr("note", List{1, 2});
  EXPECT_EQ(study.user_attrs().at("data"), Value("digits"));
  EXPECT_EQ(study.system_attrs().at("note"), Value(List{1, 2}));
}

TEST(FixedTrial, RunsAnObjectiveWithGivenParameters) {
  const auto objective = [](Trial& trial) {
    const auto layers = trial.suggest_int("layers", 1, 3);
    return trial.suggest_categorical("activation", {"relu", "tanh"}) + std::to_string(layers);
  };
  FixedTrial trial({{"layers", 2}, {"activation", "tanh"}}, 7);
  EXPECT_EQ(objective(trial), "tanh2");
  EXPECT_EQ(trial.number(), 7);
  EXPECT_FALSE(trial.should_prune());
  EXPECT_THROW(trial.suggest_float("lr", 0, 1), Error);
  FixedTrial outside({{"layers", 9}});
  EXPECT_THROW(outside.suggest_int("layers", 1, 3), Error);
}

}  // namespace
}  // namespace levin::tune
