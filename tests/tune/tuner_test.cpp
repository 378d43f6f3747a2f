// The Tuner, and spaces that only it has: conditions, groups, relations, grids, no repeats.
#include <levin/core/file.h>
#include <levin/core/json.h>
#include <levin/core/rng.h>
#include <levin/tune/samplers/random.h>
#include <levin/tune/samplers/space_sampler.h>
#include <levin/tune/samplers/tpe.h>
#include <levin/tune/schedulers/async_hyperband.h>
#include <levin/tune/schedulers/pbt.h>
#include <levin/tune/storage/sqlite.h>
#include <levin/tune/tuner.h>

#include <gtest/gtest.h>
#include <tune/scratch.h>

#include <atomic>
#include <cmath>
#include <map>
#include <set>
#include <thread>

namespace levin::tune {
namespace {

std::string message(const std::function<void()>& body) {
  try {
    body();
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

struct Decay : Trainable {
  void setup(const Config& config) override { lr = config.get<double>("lr"); }
  Metrics step() override { return {{"loss", loss *= 1 - lr}}; }
  State save() const override { return {{"loss", loss}}; }
  void load(const State& state) override { loss = state.get<double>("loss"); }
  double lr = 0, loss = 1;
};
const SearchSpace lr_space{{"lr", loguniform(1e-3, 0.5)}};

TEST(SpaceWords, RaysVocabulary) {
  for (const auto& distribution : {qloguniform(0.1, 10, 0.1), randn(2, 0.5), qrandn(0, 2, 0.5), qlograndint(8, 128, 8),
                                   ordinal({16, 32, 64}), ordinal({"small", "large"}), grid_search({1, "a", true})}) {
    const auto back = parse_distribution(distribution.to_text());
    ASSERT_TRUE(back) << distribution.to_text();
    EXPECT_EQ(back->to_text(), distribution.to_text());
    const Distribution stored = Distribution::from_json(distribution.to_json());
    EXPECT_EQ(stored.to_text(), distribution.to_text()) << distribution.to_json();
    EXPECT_EQ(stored, distribution);
  }
  EXPECT_THROW(qloguniform(0.15, 10, 0.1), Error);
  EXPECT_THROW(randn(0, 0), Error);
  EXPECT_THROW(ordinal({1, 1}), Error);
  EXPECT_THROW(uniform(0, 1).rounded_to(0.1), Error);
  EXPECT_NE(message([] { parse_distribution("qlograndint(8, 128)"); }).find("takes 3 arguments"), std::string::npos);
}

TEST(SpaceWords, ValuesAreWhatTheirWordsSay) {
  for (const SamplerRef& sampler : {SamplerRef(RandomSampler({.seed = 1})), SamplerRef(TPESampler({.seed = 1}))}) {
    auto study = create_study({.sampler = sampler, .pruner = NopPruner()});
    const SearchSpace space{{"qlog", qloguniform(0.1, 10, 0.1)},
                            {"normal", randn(2, 0.5)},
                            {"qnormal", qrandn(0, 2, 0.5)},
                            {"qint", qlograndint(8, 128, 8)},
                            {"size", ordinal({"small", "medium", "large"})}};
    for (int i = 0; i < 40; ++i) {
      auto trial = study.ask(space);
      const Map params = trial.params();
      const auto on_grid = [&](const char* name, double q) {
        const double at = params.at(name).as_double() / q;
        EXPECT_NEAR(at, std::nearbyint(at), 1e-9) << name;
      };
      on_grid("qlog", 0.1), on_grid("qnormal", 0.5), on_grid("qint", 8);
      EXPECT_TRUE(params.at("qint").is_int());
      EXPECT_TRUE(params.at("size").is_string());
      study.tell(trial, params.get<double>("normal"));
    }
  }
  // The mean and deviation of 4,000 draws; another seed would miss these 5 sigma bands once in a million runs.
  Rng rng(0, "test");
  double sum = 0, squares = 0;
  for (int i = 0; i < 4000; ++i) {
    const double x = draw(randn(2, 0.5), rng).as_double();
    sum += x, squares += x * x;
  }
  EXPECT_NEAR(sum / 4000, 2, 5 * 0.5 / std::sqrt(4000));
  EXPECT_NEAR(std::sqrt(squares / 4000 - std::pow(sum / 4000, 2)), 0.5, 5 * 0.5 / std::sqrt(8000));
}

TEST(SpaceWords, OrdinalIsAnIntForSamplersAndForOptuna) {
  const Distribution size = ordinal({"small", "medium", "large"});
  EXPECT_EQ(size.kind(), Distribution::Kind::integer);
  EXPECT_EQ(size.to_internal("large"), 2);
  EXPECT_EQ(size.to_external(1), Value("medium"));
  EXPECT_THROW(size.to_internal("huge"), Error);
  EXPECT_THROW(check_compatible("size", size, ordinal({"small", "large"})), Error);
  const Map json = parse_json(size.to_json()).as_map();
  EXPECT_EQ(json.at("name"), Value("IntDistribution"));
  EXPECT_EQ(json.at("attributes").as_map().at("high"), Value(2));
  const auto file = scratch_file("ordinal.db");
  {
    auto study = create_study({.storage = "sqlite:///" + file, .study_name = "s"});
    auto trial = study.ask({{"size", size}});
    study.tell(trial, 1.0);
  }
  EXPECT_TRUE(load_study({.storage = "sqlite:///" + file}).trials()[0].params.at("size").is_string());
}

TEST(SpaceWords, GroupsConditionsAndComputedValues) {
  const SearchSpace space{
      {"optimizer", choice({"adam", "sgd"})},
      {"momentum", when("optimizer", {"sgd"}, uniform(0, 0.9))},
      {"net", SearchSpace{{"layers", randint(1, 4)},
                          {"second", when("layers", {2, 3}, randint(8, 65))},
                          {"bias", when("layers", {1}, choice({true, false}))},
                          {"double", sample_from([](const Config& net) { return 2 * net.get<int>("layers"); })}}},
      {"epochs", 3},
      {"sum", sample_from([](const Config& config) {
         return config.at("net").as_map().get<int>("double") + config.get<int>("epochs");
       })}};
  EXPECT_EQ(space.size(), 5u);
  auto study = create_study({.sampler = RandomSampler({.seed = 2})});
  int sgd = 0, deep = 0;
  for (int i = 0; i < 50; ++i) {
    auto trial = study.ask();
    const Config config = suggest(trial, space);
    const Map& net = config.at("net").as_map();
    const bool is_sgd = config.at("optimizer") == Value("sgd");
    sgd += is_sgd, deep += net.get<int>("layers") > 1;
    EXPECT_EQ(config.contains("momentum"), is_sgd);
    EXPECT_EQ(net.contains("second"), net.get<int>("layers") > 1);
    EXPECT_EQ(net.contains("bias"), net.get<int>("layers") == 1);
    EXPECT_EQ(config.get<int>("sum"), 2 * net.get<int>("layers") + 3);
    EXPECT_EQ(make_config(space, trial.params()), config);
    study.tell(trial, 0.0);
  }
  EXPECT_TRUE(0 < sgd && sgd < 50 && 0 < deep && deep < 50);
  EXPECT_NE(message([] {
              SearchSpace{{"optimizer", choice({"adam"})}, {"m", when("optimiser", {"adam"}, uniform(0, 1))}};
            }).find("did you mean \"optimizer\"?"),
            std::string::npos);
  EXPECT_THROW((SearchSpace{{"a", choice({1})}, {"b", when("a", {2}, uniform(0, 1))}}), Error);
  EXPECT_THROW((SearchSpace{{"a/b", uniform(0, 1)}}), Error);
  EXPECT_THROW((SearchSpace{{"a", 1}, {"a", uniform(0, 1)}}), Error);
}

// Every kind of relation at once, over floats, ints and choices.
SearchSpace related() {
  SearchSpace space{{"a", uniform(0, 1)},   {"b", uniform(0, 1)},   {"c", loguniform(1e-3, 1)},
                    {"w1", randint(1, 65)}, {"w2", randint(1, 65)}, {"k", choice({"x", "y", "z"})},
                    {"p", uniform(0, 1)},   {"q", uniform(0, 1)},   {"r", uniform(0, 1)}};
  space.relate({param("a") < param("b"), param("w2") <= param("w1"), param("b") + 2 * param("c") <= 1.5,
                param("p") + param("q") + param("r") == 1, Relation("no wide x", {"k", "w1"}, [](const Map& m) {
                  return m.at("k") != Value("x") || m.get<int>("w1") < 32;
                })});
  return space;
}

TEST(SpaceSampler, NothingInfeasibleIsSuggested) {
  const SearchSpace space = related();
  for (const SamplerRef& inner : {SamplerRef(RandomSampler({.seed = 0})), SamplerRef(TPESampler({.seed = 0})),
                                  SamplerRef(TPESampler({.n_startup_trials = 3, .seed = 1, .multivariate = false}))}) {
    auto study = create_study({.sampler = SpaceSampler(space, inner, {.seed = 0}), .pruner = NopPruner()});
    for (int i = 0; i < 60; ++i) {
      auto trial = study.ask();
      const Config config = suggest(trial, space);  // throws for what breaks a relation
      for (const auto& relation : space.relations()) ASSERT_TRUE(relation.holds(config)) << relation.description();
      ASSERT_NEAR(config.get<double>("p") + config.get<double>("q") + config.get<double>("r"), 1, 1e-9);
      study.tell(trial, config.get<double>("a") + config.get<double>("p"));
    }
  }
}

TEST(SpaceSampler, RelationsHoldAlsoWhereTheLoopSuggests) {
  SearchSpace space{{"low", uniform(0, 1)}, {"high", uniform(0, 1)}};
  space.relate({param("low") < param("high")});
  auto study = create_study({.sampler = SpaceSampler(space, RandomSampler({.seed = 0})), .pruner = NopPruner()});
  study.optimize(
      [](Trial& trial) {
        const double high = trial.suggest_float("high", 0, 1), low = trial.suggest_float("low", 0, 1);
        EXPECT_LT(low, high);
        return high - low + trial.suggest_float("free", 0, 1);
      },
      {.n_trials = 50});
  study.enqueue_trial({{"low", 0.9}});
  auto trial = study.ask(space);
  EXPECT_GT(trial.params().get<double>("high"), 0.9);
  auto other = study.ask();
  EXPECT_THROW(other.suggest_float("low", 2, 3), Error);
  auto plain = create_study({.sampler = RandomSampler({.seed = 0})});
  EXPECT_NE(message([&] {
              for (int i = 0; i < 20; ++i) plain.ask(space);
            }).find("SpaceSampler"),
            std::string::npos);
}

TEST(SpaceSampler, SaysWhatCannotBe) {
  SearchSpace space{{"a", randint(0, 5)}, {"b", randint(0, 5)}, {"k", choice({"x"})}};
  EXPECT_THROW(space.relate({param("a") < param("k")}), Error);
  EXPECT_THROW(space.relate({param("a") < param("bb")}), Error);
  space.relate({param("a") + param("b") > 100});
  auto study = create_study({.sampler = SpaceSampler(space, RandomSampler({.seed = 0}))});
  const std::string what = message([&] { study.ask(space); });
  EXPECT_NE(what.find("keep the relations"), std::string::npos) << what;
}

TEST(SpaceSampler, TriesNothingTwice) {
  SearchSpace space{{"a", randint(0, 4)}, {"k", choice({"x", "y"})}, {"m", when("k", {"y"}, choice({1, 2, 3}))}};
  space.relate(
      {Relation("no 3 at 0", {"a", "m"}, [](const Map& m) { return m.get<int>("a") + m.get<int>("m") != 3; })});
  constexpr int points = 4 + 4 * 3 - 3;  // a + m == 3 for (0,3), (1,2), (2,1)
  for (const auto policy : {Duplicates::avoid, Duplicates::forbid}) {
    auto study =
        create_study({.sampler = SpaceSampler(space, TPESampler({.seed = 0}), {.duplicates = policy, .seed = 0}),
                      .pruner = NopPruner()});
    std::set<std::string> seen;
    for (int i = 0; i < points; ++i) {
      auto trial = study.ask(space);
      EXPECT_TRUE(seen.insert(make_config(space, trial.params()).to_string()).second) << i;
      if (i % 3 != 0) study.tell(trial, 1.0 * i);  // others are still running
    }
    if (policy == Duplicates::avoid) {
      EXPECT_NO_THROW(study.ask(space));
    } else {
      EXPECT_NE(message([&] { study.ask(space); }).find("every config of the space was tried"), std::string::npos);
    }
  }
}

TEST(Tuner, GridTimesSamples) {
  const SearchSpace space{
      {"layers", grid_search({1, 2, 3})}, {"act", grid_search({"relu", "tanh"})}, {"lr", loguniform(1e-4, 1e-1)}};
  Tuner tuner(trainable<Decay>(), space,
              {.metric = "loss", .num_samples = 4, .stop = {{"training_iteration", 2}}, .seed = 0});
  const auto results = tuner.fit();
  ASSERT_EQ(results.size(), 24u);
  std::map<std::string, int> counts;
  std::set<double> rates;
  for (const auto& result : results) {
    ++counts[result.config.at("act").to_string() + result.config.at("layers").to_string()];
    rates.insert(result.config.get<double>("lr"));
    EXPECT_EQ(result.history.size(), 2u);
  }
  EXPECT_EQ(counts.size(), 6u);
  for (const auto& [combination, count] : counts) EXPECT_EQ(count, 4) << combination;
  EXPECT_EQ(rates.size(), 24u);
  EXPECT_EQ(tuner.study().trials({TrialState::complete}).size(), 24u);
  EXPECT_EQ(tuner.study().best_value(), results.best().metrics.get<double>("loss"));
  EXPECT_EQ(tuner.study().trials()[0].intermediate_values.size(), 2u);
}

TEST(Tuner, FunctionsAreTrainables) {
  const auto loop = trainable([](const Config& config, Session& session) {
    double loss = 1;
    if (const State* state = session.checkpoint()) loss = state->get<double>("loss");
    while (true) {  // the stopper ends it
      loss *= 1 - config.get<double>("lr");
      session.report({{"loss", loss}}, State{{"loss", loss}});
    }
  });
  const TunerOptions options{.metric = "loss", .num_samples = 6, .stop = {{"training_iteration", 5}}, .seed = 4};
  const auto seen = Tuner(loop, lr_space, options).fit(), expected = Tuner(trainable<Decay>(), lr_space, options).fit();
  for (std::size_t i = 0; i < 6; ++i) EXPECT_EQ(seen[i].history, expected[i].history);
  TunerOptions population = options;
  population.scheduler =
      PopulationBasedTraining({.perturbation_interval = 2, .mutations = {{"lr", uniform(0.1, 0.5)}}});
  population.max_concurrent_trials = 3;
  EXPECT_EQ(Tuner(loop, lr_space, population).fit().num_errors(), 0u);

  const auto whole = trainable([](const Config& config) -> Metrics { return {{"loss", config.get<double>("lr")}}; });
  const auto results = Tuner(whole, lr_space, {.metric = "loss", .num_samples = 5}).fit();
  EXPECT_EQ(results.size(), 5u);
  const auto ends = trainable([](const Config&, Session& session) {
    session.report({{"loss", 2}});
    session.report({{"loss", 1}});
  });
  EXPECT_EQ(Tuner(ends, lr_space, {.metric = "loss"}).fit().best().metrics.at("loss"), Value(1));
}

TEST(Tuner, FailuresAreResults) {
  static std::atomic<int> calls;
  struct Flaky : Decay {
    Metrics step() override {
      if (++calls == 4) throw std::runtime_error("once");
      return Decay::step();
    }
  };
  calls = 0;
  const TunerOptions options{.metric = "loss",
                             .num_samples = 3,
                             .stop = {{"training_iteration", 6}},
                             .seed = 0,
                             .checkpoint = {.frequency = 2}};
  TunerOptions retry = options;
  retry.failure.max_failures = 1;
  const auto results = Tuner(trainable<Flaky>(), lr_space, retry).fit();
  EXPECT_EQ(results.num_errors(), 0u);
  // It went on from its second step: step three was done twice at most.
  EXPECT_EQ(calls, 3 * 6 + 2);
  const auto clean = Tuner(trainable<Decay>(), lr_space, options).fit();
  for (std::size_t i = 0; i < 3; ++i) EXPECT_EQ(results[i].metrics.at("loss"), clean[i].metrics.at("loss"));

  calls = 0;
  const auto failed = Tuner(trainable<Flaky>(), lr_space, options).fit();
  ASSERT_EQ(failed.num_errors(), 1u);
  EXPECT_EQ(failed.errors()[0]->error, "once");
  EXPECT_EQ(failed.errors()[0]->state, TrialState::fail);
  calls = 0;
  TunerOptions fast = options;
  fast.failure.fail_fast = true;
  EXPECT_EQ(Tuner(trainable<Flaky>(), lr_space, fast).fit().size(), 1u);
}

TEST(Tuner, TheSearchEndsWhenTold) {
  const TunerOptions endless{.metric = "loss", .num_samples = -1, .stop = {{"training_iteration", 3}}, .seed = 0};
  TunerOptions options = endless;
  options.time_budget_s = 0.05;
  EXPECT_GE(Tuner(trainable<Decay>(), lr_space, options).fit().size(), 1u);
  options = endless;
  options.stop = CombinedStopper(MaximumIterationStopper(3), TargetValueStopper({.target = 0.3}));
  const auto reached = Tuner(trainable<Decay>(), lr_space, options).fit();
  EXPECT_LE(reached.best().metrics.get<double>("loss"), 0.3);
  for (std::size_t i = 0; i + 1 < reached.size(); ++i) EXPECT_GT(reached[i].metrics.get<double>("loss"), 0.3);
  options.stop = [](std::int64_t trial, const Metrics& result) {
    return result.get<int>("training_iteration") > trial;
  };
  options.num_samples = 3;
  const auto counted = Tuner(trainable<Decay>(), lr_space, options).fit();
  EXPECT_EQ(counted[2].history.size(), 3u);
  options.num_samples = -1;
  options.stop = CombinedStopper(MaximumIterationStopper(1),
                                 TerminatorStopper({.improvement_evaluator = BestValueStagnationEvaluator(5)}));
  EXPECT_GE(Tuner(trainable<Decay>(), lr_space, options).fit().size(), 20u);
  std::stop_source source;
  options.stop_token = source.get_token();
  options.stop = {{"training_iteration", 3}};
  options.on_trial_end = [&](const TrialResult& result) {
    if (result.number == 4) source.request_stop();
  };
  EXPECT_EQ(Tuner(trainable<Decay>(), lr_space, options).fit().size(), 5u);
}

TEST(Tuner, EndsWhenLittleRegretIsLeft) {
  struct Bowl : Trainable {
    void setup(const Config& config) override { x = config.get<double>("x"), y = config.get<double>("y"); }
    Metrics step() override { return {{"loss", (x - 0.3) * (x - 0.3) + (y + 0.2) * (y + 0.2)}}; }
    double x = 0, y = 0;
  };
  std::vector<std::size_t> sizes;
  for (const double regret : {0.5, 0.02}) {
    const auto results = Tuner(trainable<Bowl>(), {{"x", uniform(-1, 1)}, {"y", uniform(-1, 1)}},
                               {.metric = "loss",
                                .num_samples = 300,
                                .stop = CombinedStopper(MaximumIterationStopper(1),
                                                        RegretBoundStopper({.max_regret = regret, .seed = 0})),
                                .seed = 0})
                             .fit();
    EXPECT_LE(results.best().metrics.get<double>("loss"), regret);
    sizes.push_back(results.size());
  }
  EXPECT_GE(sizes[0], 20u);
  EXPECT_LT(sizes[0], sizes[1]);  // less regret takes longer to be sure of
  EXPECT_LT(sizes[1], 300u);
  EXPECT_THROW(RegretBoundStopper({.max_regret = 0}), Error);
}

TEST(Tuner, SaysWhatIsWrong) {
  const auto what = [](const TunerOptions& options, const SearchSpace& space = lr_space) {
    return message([&] { Tuner(trainable<Decay>(), space, options).fit(); });
  };
  EXPECT_NE(what({}).find("name of the metric"), std::string::npos);
  EXPECT_NE(what({.metric = "los", .stop = {{"training_iteration", 1}}}).find("did you mean \"loss\"?"),
            std::string::npos);
  EXPECT_NE(what({.metric = "loss", .stop = {{"iteration", 1}}}).find("\"iteration\""), std::string::npos);
  EXPECT_NE(what({.metric = "loss", .num_samples = 0}).find("num_samples"), std::string::npos);
  EXPECT_NE(what({.metric = "loss", .max_concurrent_trials = 0}).find("max_concurrent"), std::string::npos);
  EXPECT_NE(what({.metric = "loss", .points_to_evaluate = {{{"lr", 7}}}}).find("lies outside"), std::string::npos);
  EXPECT_NE(what({.metric = "loss", .checkpoint = {.folder = "x"}}).find("frequency"), std::string::npos);
  EXPECT_THROW(Tuner({}, lr_space, {.metric = "loss"}), Error);
  EXPECT_THROW(Tuner(trainable<Decay>(), lr_space, {.metric = "loss"}).study(), Error);
  struct Unsaved : Trainable {
    Metrics step() override { return {{"loss", 1}}; }
  };
  EXPECT_NE(message([] {
              Tuner(trainable<Unsaved>(), lr_space,
                    {.metric = "loss", .num_samples = 9, .scheduler = PromotionASHAScheduler()})
                  .fit();
            }).find("override save and load"),
            std::string::npos);
}

TEST(Tuner, PointsComeFirstAndTPELearns) {
  Tuner tuner(trainable<Decay>(), lr_space,
              {.metric = "loss",
               .num_samples = 40,
               .search_alg = TPESampler({.seed = 0}),
               .stop = {{"training_iteration", 3}},
               .seed = 0,
               .points_to_evaluate = {{{"lr", 0.001}}, {{"lr", 0.002}}}});
  const auto results = tuner.fit();
  ASSERT_EQ(results.size(), 42u);
  EXPECT_EQ(results[1].config.at("lr"), Value(0.002));
  double late = 0;
  for (std::size_t i = 32; i < 42; ++i) late += std::log10(results[i].config.get<double>("lr")) / 10;
  EXPECT_GT(late, -1);  // random search has a mean of -1.65 here
}

TEST(Tuner, ThreadsAndReuse) {
  static std::atomic<int> made, now, most;
  made = now = most = 0;
  struct Slow : Decay {
    Slow() { ++made; }
    Metrics step() override {
      const int at_once = ++now;
      for (int seen = most; seen < at_once && !most.compare_exchange_weak(seen, at_once);) {
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
      --now;
      return Decay::step();
    }
    bool reset(const Config& config) override {
      setup(config);
      loss = 1;
      return true;
    }
  };
  TunerOptions options{.metric = "loss",
                       .num_samples = 12,
                       .max_concurrent_trials = 4,
                       .stop = {{"training_iteration", 3}},
                       .seed = 7,
                       .reuse_actors = true};
  const auto many = Tuner(trainable<Slow>(), lr_space, options).fit();
  EXPECT_GE(most, 2);
  EXPECT_EQ(made, 4);
  options.max_concurrent_trials = 1;
  options.reuse_actors = false;
  const auto one = Tuner(trainable<Slow>(), lr_space, options).fit();
  EXPECT_EQ(made, 16);
  for (std::size_t i = 0; i < 12; ++i) {
    EXPECT_EQ(many[i].config, one[i].config);
    EXPECT_EQ(many[i].metrics.at("loss"), one[i].metrics.at("loss"));
  }
}

TEST(Tuner, RestoresAfterACrash) {
  const auto file = scratch_file("tuner.db");
  const std::filesystem::path folder = scratch_file("checkpoints");
  const TunerOptions options{.metric = "loss",
                             .num_samples = 6,
                             .stop = {{"training_iteration", 8}},
                             .storage = "sqlite:///" + file,
                             .name = "search",
                             .seed = 0,
                             .checkpoint = {.folder = folder, .frequency = 1}};
  const auto whole = [&] {
    TunerOptions plain = options;
    plain.storage = "memory://";
    plain.checkpoint = {};
    return Tuner(trainable<Decay>(), lr_space, plain).fit();
  }();
  // The process "dies" in trial 2, after its fifth step: nothing is told.
  static std::atomic<int> steps;
  steps = 0;
  struct Counting : Decay {
    Metrics step() override {
      ++steps;
      return Decay::step();
    }
  };
  {
    TunerOptions dying = options;
    std::stop_source source;
    dying.stop_token = source.get_token();
    dying.on_result = [&](const tune::Run& run, const Metrics&) {
      if (run.number == 2 && run.iteration == 5) source.request_stop();
    };
    const auto partial = Tuner(trainable<Counting>(), lr_space, dying).fit();
    EXPECT_EQ(partial.size(), 3u);
    EXPECT_EQ(partial[2].error, "the search was interrupted");
    EXPECT_EQ(steps, 8 + 8 + 5);
  }
  {
    // And another trial is left RUNNING, as by kill -9.
    auto study =
        load_study({.study_name = "search", .storage = options.storage, .sampler = RandomSampler({.seed = 0})});
    auto trial = study.ask();
    trial.set_system_attr("tuner:variant", 3);
    trial.suggest("lr", lr_space.at("lr"));
    trial.report(0.9, 1);
    study.trials();
  }
  Tuner again = Tuner::restore(trainable<Counting>(), lr_space, options);
  const auto results = again.fit();
  EXPECT_EQ(steps, 21 + 3 + 8 + 2 * 8);  // trial 2 goes on at its sixth step
  const auto trials = again.study().trials();
  EXPECT_EQ(trials.size(), 8u);  // 4, two of them taken up again, and the last 2
  EXPECT_EQ(trials[2].state, TrialState::fail);
  EXPECT_EQ(trials[3].state, TrialState::fail);
  EXPECT_EQ(trials[4].system_attrs.at("failed_trial"), Value(2));
  ASSERT_EQ(results.size(), 6u);
  EXPECT_EQ(results.num_errors(), 0u);
  EXPECT_DOUBLE_EQ(results[2].metrics.get<double>("loss"), whole[2].metrics.get<double>("loss"));
  EXPECT_EQ(results[2].history.back().first, 8);
  EXPECT_TRUE(std::filesystem::exists(results[0].checkpoint_folder / "trial.json"));
  const auto nothing_left = Tuner::restore(trainable<Counting>(), lr_space, options).fit();
  EXPECT_EQ(nothing_left.size(), 6u);
  TunerOptions other = options;
  other.metric = "accuracy";
  EXPECT_THROW(Tuner::restore(trainable<Counting>(), lr_space, other).fit(), Error);
}

TEST(Tuner, RestoredErrorsAreTakenUpWhenAsked) {
  static std::atomic<bool> broken;
  struct Sometimes : Decay {
    Metrics step() override {
      if (broken && context().number == 1 && loss < 1) throw std::runtime_error("broken");
      return Decay::step();
    }
  };
  for (const bool resume : {true, false}) {
    broken = true;
    const TunerOptions options{.metric = "loss",
                               .num_samples = 3,
                               .stop = {{"training_iteration", 4}},
                               .storage = "sqlite:///" + scratch_file("errors.db"),
                               .name = "search",
                               .seed = 0,
                               .checkpoint = {.folder = scratch_file("states"), .frequency = 1}};
    EXPECT_EQ(Tuner(trainable<Sometimes>(), lr_space, options).fit().num_errors(), 1u);
    EXPECT_EQ(Tuner::restore(trainable<Sometimes>(), lr_space, options).fit().num_errors(), 1u);
    broken = false;
    const auto mended = Tuner::restore(trainable<Sometimes>(), lr_space, options,
                                       {.resume_errored = resume, .restart_errored = !resume})
                            .fit();
    EXPECT_EQ(mended.num_errors(), 0u);
    EXPECT_EQ(mended.size(), 3u);
    EXPECT_EQ(mended[2].history.size(), resume ? 3u : 4u);
  }
}

TEST(ResultGrid, TablesAndBest) {
  const auto results =
      Tuner(trainable<Decay>(), {{"lr", grid_search({0.1, 0.2})}, {"net", SearchSpace{{"note", "a,b"}}}},
            {.metric = "loss", .stop = {{"training_iteration", 2}}})
          .fit();
  EXPECT_EQ(results.best().config.at("lr"), Value(0.2));
  EXPECT_EQ(results.best("loss", Mode::max).number, 0);
  EXPECT_EQ(results.best("loss", Mode::max, Scope::all).number, 0);
  EXPECT_THROW(results.best("acc"), Error);
  const std::string csv = results.to_csv();
  EXPECT_EQ(csv.substr(0, csv.find('\n')),
            "trial,state,loss,training_iteration,time_total_s,config/lr,config/net/note,error");
  EXPECT_NE(csv.find("\"a,b\""), std::string::npos);
  EXPECT_EQ(results.history_csv().substr(0, 47), "trial,training_iteration,loss\n0,1,0.9\n0,2,0.81\n");
  const auto file = scratch_file("results.csv");
  results.write_csv(file);
  EXPECT_EQ(read_file(file), csv);
}

}  // namespace
}  // namespace levin::tune
