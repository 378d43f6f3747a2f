// What QMC, brute force, CMA-ES and Gaussian process samplers promise beyond the conformance suite.
#include <levin/core/rng.h>
#include <levin/tune/pareto.h>
#include <levin/tune/samplers/brute_force.h>
#include <levin/tune/samplers/cma_es_sampler.h>
#include <levin/tune/samplers/gp.h>
#include <levin/tune/samplers/low_discrepancy.h>
#include <levin/tune/samplers/qmc.h>
#include <levin/tune/samplers/random.h>
#include <levin/tune/samplers/registry.h>
#include <levin/tune/samplers/unit_cube.h>
#include <levin/tune/study.h>

#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <set>
#include <stdexcept>
#include <thread>

namespace levin::tune {
namespace {

double sphere(Trial& trial, int n, double center = 1) {
  double sum = 0;
  for (int i = 0; i < n; ++i) sum += std::pow(trial.suggest_float("x" + std::to_string(i), -5, 5) - center, 2);
  return sum;
}

// Counts the calls it gets and draws at random.
class Counting : public RandomSampler {
 public:
  explicit Counting(std::map<std::string, int>* counts) : RandomSampler({.seed = 0}), counts_(counts) {}
  Value sample_independent(StudyView& study, const FrozenTrial& trial, const std::string& name,
                           const Distribution& distribution) override {
    ++(*counts_)[name];
    return RandomSampler::sample_independent(study, trial, name, distribution);
  }
  void before_trial(StudyView&, const FrozenTrial&) override { ++(*counts_)["before"]; }
  void after_trial(StudyView&, const FrozenTrial&, TrialState, const std::vector<double>&) override {
    ++(*counts_)["after"];
  }

 private:
  std::map<std::string, int>* counts_;
};

TEST(IndependentSampler, ChoosesTheRestAndHearsOfAllTrials) {
  const auto run = [](auto make) {
    std::map<std::string, int> counts;
    auto study = create_study({.sampler = make(SamplerRef(Counting(&counts))), .pruner = NopPruner()});
    study.optimize(
        [](Trial& trial) {
          double sum = trial.suggest_float("x", 0, 1) + trial.suggest_float("y", 0, 1);
          if (trial.number() % 2 == 1) sum += trial.suggest_float("late", 0, 1);
          return sum;
        },
        {.n_trials = 12});
    EXPECT_EQ(counts["before"], 12);
    EXPECT_EQ(counts["after"], 12);
    EXPECT_EQ(counts["late"], 6);
    return counts["x"];
  };
  EXPECT_EQ(run([](SamplerRef s) { return SamplerRef(QMCSampler({.independent_sampler = s})); }), 1);
  EXPECT_EQ(run([](SamplerRef s) { return SamplerRef(CmaEsSampler({.independent_sampler = s})); }), 1);
  EXPECT_EQ(run([](SamplerRef s) { return SamplerRef(GPSampler({.independent_sampler = s, .n_startup_trials = 4})); }),
            4);
}

TEST(QMCSampler, WorkersNeverShareAPoint) {
  for (const auto type : {QMCType::sobol, QMCType::halton}) {
    const auto storage = open_storage("memory://");
    std::vector<Study> workers;
    for (int i = 0; i < 3; ++i) {
      workers.push_back(create_study({.storage = storage,
                                      .sampler = QMCSampler({.qmc_type = type, .scramble = true}),
                                      .pruner = NopPruner(),
                                      .study_name = "shared",
                                      .load_if_exists = true}));
    }
    const auto objective = [](Trial& trial) { return trial.suggest_float("x", 0, 1) + trial.suggest_float("y", 0, 1); };
    workers[0].optimize(objective, {.n_trials = 1});
    std::vector<std::jthread> threads;
    for (auto& worker : workers) {
      threads.emplace_back([&] { worker.optimize(objective, {.n_trials = 21, .n_jobs = 2}); });
    }
    threads.clear();
    // Whoever drew it: trial n has point n of the one sequence that the study's name decides.
    std::set<double> seen;
    const auto trials = workers[0].trials();
    ASSERT_EQ(trials.size(), 64u);
    for (const auto& trial : trials) {
      seen.insert(trial.params.at("x").as_double());
      if (trial.number == 0) continue;
      const auto index = static_cast<std::uint64_t>(trial.number);
      const auto seed = stable_hash("shared");
      const auto point =
          type == QMCType::sobol ? SobolSequence(2, seed).point(index) : HaltonSequence(2, seed).point(index);
      EXPECT_EQ(trial.params.at("x").as_double(), point[0]);
      EXPECT_EQ(trial.params.at("y").as_double(), point[1]);
    }
    EXPECT_EQ(seen.size(), 64u);
  }
}

TEST(BruteForceSampler, TriesEveryBranchOnce) {
  auto study = create_study({.sampler = BruteForceSampler({.seed = 1}), .pruner = NopPruner()});
  std::multiset<std::string> seen;
  study.optimize([&](Trial& trial) {
    std::string text = trial.suggest_categorical("kind", {"float", "int"});
    if (text == "float") {
      text += std::to_string(std::lround(2 * trial.suggest_float("x", 1, 3, {.step = 0.5})));
    } else {
      const auto a = trial.suggest_int("a", 1, 3);
      text += std::to_string(a) + std::to_string(trial.suggest_int("b", a, 3));  // the range depends on a
    }
    seen.insert(text);
    if (text == "int22") throw TrialPruned();
    if (text == "int23") return std::nan("");
    return 0.0;
  });
  EXPECT_EQ(seen, (std::multiset<std::string>{"float2", "float3", "float4", "float5", "float6", "int11", "int12",
                                              "int13", "int22", "int23", "int33"}));
}

TEST(BruteForceSampler, OrderIsRandomAndSeeded) {
  const auto order = [](std::uint64_t seed) {
    auto study = create_study({.sampler = BruteForceSampler({.seed = seed}), .pruner = NopPruner()});
    std::vector<std::int64_t> out;
    study.optimize([&](Trial& trial) {
      out.push_back(10 * trial.suggest_int("a", 0, 4) + trial.suggest_int("b", 0, 4));
      return 0.0;
    });
    return out;
  };
  EXPECT_EQ(order(1).size(), 25u);
  EXPECT_EQ(order(1), order(1));
  EXPECT_NE(order(1), order(2));
}

TEST(BruteForceSampler, WorkersShareTheTree) {
  for (const bool strict : {false, true}) {
    auto study = create_study(
        {.sampler = BruteForceSampler({.seed = 3, .avoid_premature_stop = strict}), .pruner = NopPruner()});
    study.optimize(
        [](Trial& trial) {
          return 10.0 * static_cast<double>(trial.suggest_int("a", 0, 5)) +
                 static_cast<double>(trial.suggest_int("b", 0, 5));
        },
        {.n_jobs = 4});
    std::set<double> values;
    for (const auto& trial : study.trials({TrialState::complete})) values.insert(trial.value());
    if (strict) {
      EXPECT_EQ(values.size(), 36u);
    }
    EXPECT_GE(values.size(), 33u);  // without: what runs elsewhere at the end counts as done
    EXPECT_LE(study.trials().size(), 36u + (strict ? 16 : 8));
  }
}

TEST(BruteForceSampler, FailuresCountAsDone) {
  auto study = create_study({.sampler = BruteForceSampler({.seed = 0}), .pruner = NopPruner()});
  std::set<std::string> seen;
  study.optimize(
      [&](Trial& trial) {
        const auto a = trial.suggest_int("a", 0, 2);
        if (a == 1) throw std::runtime_error("always, before anything else is suggested");
        seen.insert(std::to_string(a) + std::to_string(trial.suggest_int("b", 0, 1)));
        return 0.0;
      },
      {.catch_errors = true});
  EXPECT_EQ(seen.size(), 4u);
  EXPECT_EQ(study.trials().size(), 5u);
}

TEST(BruteForceSampler, SaysWhatIsWrong) {
  auto study = create_study({.sampler = BruteForceSampler(), .pruner = NopPruner()});
  EXPECT_THROW(study.ask().suggest_float("x", 0, 1), Error);
  EXPECT_THROW(study.ask().suggest_int("n", 0, 1 << 30), Error);
  study.optimize([](Trial& trial) { return static_cast<double>(trial.suggest_int("a", 0, 1)); }, {.n_trials = 1});
  try {
    study.ask().suggest_int("a", 0, 2);
    FAIL();
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("something else"), std::string::npos) << error.what();
  }
}

TEST(CmaEsSampler, RefusesBadOptions) {
  const std::vector<FrozenTrial> one(1);
  EXPECT_THROW(CmaEsSampler({.sigma0 = 0.0}), Error);
  EXPECT_THROW(CmaEsSampler({.popsize = 1}), Error);
  EXPECT_THROW(CmaEsSampler({.inc_popsize = 0}), Error);
  EXPECT_THROW(CmaEsSampler({.n_startup_trials = -1}), Error);
  EXPECT_THROW(CmaEsSampler({.sigma0 = 0.1, .source_trials = one}), Error);
  EXPECT_THROW(CmaEsSampler({.use_separable_cma = true, .source_trials = one}), Error);
  EXPECT_THROW(CmaEsSampler({.with_margin = true, .lr_adapt = true}), Error);
  EXPECT_THROW(CmaEsSampler({.use_separable_cma = true, .with_margin = true}), Error);
  auto several = create_study({.sampler = CmaEsSampler(), .directions = {Direction::minimize, Direction::minimize}});
  EXPECT_THROW(several.ask().suggest_float("x", 0, 1), Error);
  auto study = create_study({.sampler = CmaEsSampler({.x0 = {{"x0", 0.5}}}), .pruner = NopPruner()});
  study.optimize([](Trial& trial) { return sphere(trial, 2); }, {.n_trials = 1});
  EXPECT_THROW(study.ask().suggest_float("x0", -5, 5), Error);  // x1 has no start
}

TEST(CmaEsSampler, ConvergesInEveryVariant) {
  const auto best = [](CmaEsSamplerOptions options, std::int64_t n = 400) {
    options.seed = 2;
    auto study = create_study({.sampler = CmaEsSampler(std::move(options)), .pruner = NopPruner()});
    study.optimize([](Trial& trial) { return sphere(trial, 4); }, {.n_trials = n});
    return study.best_value();
  };
  EXPECT_LT(best({}), 1e-5);
  EXPECT_LT(best({.use_separable_cma = true}), 1e-4);
  EXPECT_LT(best({.with_margin = true}), 1e-5);
  EXPECT_LT(best({.lr_adapt = true}, 1000), 1e-2);
  EXPECT_LT(best({.popsize = 20}), 0.1);
  EXPECT_LT(best({.x0 = {{"x0", 1}, {"x1", 1}, {"x2", 1}, {"x3", 1}}, .sigma0 = 1e-3}, 30), 1e-3);
}

TEST(CmaEsSampler, WorkersAgreeOnTheSearch) {
  // Two workers in turn make the same trials as one alone: the state lives in the trials.
  const auto run = [](bool two) {
    const auto storage = open_storage("memory://");
    std::vector<Study> workers;
    for (int i = 0; i < 2; ++i) {
      workers.push_back(create_study({.storage = storage,
                                      .sampler = CmaEsSampler({.seed = 5}),
                                      .pruner = NopPruner(),
                                      .study_name = "s",
                                      .load_if_exists = true}));
    }
    for (std::size_t i = 0; i < 80; ++i) {
      workers[two ? i % 2 : 0].optimize([](Trial& trial) { return sphere(trial, 3); }, {.n_trials = 1});
    }
    return workers[0].trials();
  };
  const auto one = run(false), two = run(true);
  for (std::size_t i = 0; i < one.size(); ++i) EXPECT_EQ(one[i].params, two[i].params) << i;
  EXPECT_GE(one.back().system_attrs.at("levin:cma").as_map().at("generation").as_int(), 10);
}

TEST(CmaEsSampler, SeveralWorkersAtOnceMakeProgress) {
  const auto storage = open_storage("memory://");
  std::vector<Study> workers;
  for (int i = 0; i < 3; ++i) {
    workers.push_back(create_study({.storage = storage,
                                    .sampler = CmaEsSampler(),
                                    .pruner = NopPruner(),
                                    .study_name = "s",
                                    .load_if_exists = true}));
  }
  std::vector<std::jthread> threads;
  for (auto& worker : workers) {
    threads.emplace_back(
        [&] { worker.optimize([](Trial& trial) { return sphere(trial, 3); }, {.n_trials = 150, .n_jobs = 2}); });
  }
  threads.clear();
  EXPECT_LT(workers[0].best_value(), 1e-2);
}

TEST(CmaEsSampler, RestartsWithMorePoints) {
  for (const auto strategy : {CmaRestart::ipop, CmaRestart::bipop}) {
    auto study = create_study(
        {.sampler = CmaEsSampler({.seed = 1, .restart_strategy = strategy}), .pruner = NopPruner(), .study_name = "r"});
    // A flat objective: every search stops once its values have not changed for a while.
    study.optimize(
        [](Trial& trial) {
          trial.suggest_float("x", 0, 1);
          trial.suggest_float("y", 0, 1);
          return 1.0;
        },
        {.n_trials = 1200});
    std::map<std::int64_t, int> sizes;
    for (const auto& trial : study.trials()) {
      if (const Value* attr = trial.system_attrs.find("levin:cma")) ++sizes[attr->as_map().at("generation").as_int()];
    }
    std::set<int> populations;
    for (const auto& [generation, size] : sizes) populations.insert(size);
    EXPECT_TRUE(populations.contains(6)) << "4 + 3 ln 2 points at first";
    EXPECT_TRUE(populations.contains(12)) << "then twice as many";
  }
}

TEST(CmaEsSampler, StartsFromSourceTrials) {
  auto source = create_study({.sampler = RandomSampler({.seed = 0}), .pruner = NopPruner()});
  source.optimize([](Trial& trial) { return sphere(trial, 3, 3.5); }, {.n_trials = 100});
  const auto first_steps = [&](CmaEsSamplerOptions options) {
    options.seed = 0;
    auto study = create_study({.sampler = CmaEsSampler(std::move(options)), .pruner = NopPruner()});
    study.optimize([](Trial& trial) { return sphere(trial, 3, 4); }, {.n_trials = 30});
    return study.best_value();
  };
  EXPECT_LT(first_steps({.source_trials = source.trials()}), first_steps({}));
  auto other = create_study({.sampler = CmaEsSampler({.source_trials = source.trials()}), .pruner = NopPruner()});
  other.optimize([](Trial& trial) { return trial.suggest_float("else", 0, 1); }, {.n_trials = 1});
  EXPECT_THROW(other.ask().suggest_float("else", 0, 1), Error);
}

TEST(CmaEsSampler, MarginSearchesInts) {
  int hits = 0;
  for (std::uint64_t seed = 0; seed < 10; ++seed) {
    auto study = create_study({.sampler = CmaEsSampler({.seed = seed, .with_margin = true}), .pruner = NopPruner()});
    study.optimize(
        [](Trial& trial) {
          const double x = trial.suggest_float("x", -5, 5);
          const auto k = static_cast<double>(trial.suggest_int("k", 0, 20));
          const double q = trial.suggest_float("q", 0, 2, {.step = 0.25});
          const auto l = static_cast<double>(trial.suggest_int("l", 1, 1024, {.log = true}));
          return x * x + std::pow(k - 13, 2) + std::pow(4 * (q - 1.75), 2) + std::pow(std::log2(l) - 5, 2);
        },
        {.n_trials = 300});
    const Map best = study.best_params();
    hits += best.at("k") == Value(13) && best.at("q") == Value(1.75);
  }
  EXPECT_GE(hits, 8);
}

TEST(CmaEsSampler, PrunedTrialsCountWhenAsked) {
  auto study =
      create_study({.sampler = CmaEsSampler({.seed = 0, .consider_pruned_trials = true}), .pruner = NopPruner()});
  double best = 1e9;
  study.optimize(
      [&](Trial& trial) -> double {
        const double loss = sphere(trial, 2);
        best = std::min(best, loss);
        trial.report(loss, 1);
        throw TrialPruned();
      },
      {.n_trials = 200});
  EXPECT_LT(best, 1e-3);
}

TEST(GPSampler, FindsTheMinimumOfBranin) {
  EXPECT_THROW(GPSampler({.n_startup_trials = -1}), Error);
  const auto branin = [](Trial& trial) {
    const double x = trial.suggest_float("x", -5, 10), y = trial.suggest_float("y", 0, 15), pi = std::acos(-1.0);
    const double a = y - 5.1 / (4 * pi * pi) * x * x + 5 / pi * x - 6;
    return a * a + 10 * (1 - 1 / (8 * pi)) * std::cos(x) + 10;
  };
  for (std::uint64_t seed = 0; seed < 3; ++seed) {
    for (const bool deterministic : {false, true}) {
      auto study = create_study(
          {.sampler = GPSampler({.seed = seed, .deterministic_objective = deterministic}), .pruner = NopPruner()});
      study.optimize(branin, {.n_trials = 40});
      EXPECT_LT(study.best_value(), 0.40) << seed;  // 0.3979 at best; random search: 1.2
      EXPECT_TRUE(study.trials().back().system_attrs.contains("gp:relative_params:0"));
    }
  }
}

TEST(GPSampler, KeepsConstraints) {
  // The unconstrained minimum (0, 0) is forbidden; the best allowed point has the value 0.5.
  auto study = create_study({.sampler = GPSampler({.seed = 0}), .pruner = NopPruner()});
  study.optimize(
      [](Trial& trial) {
        const double x = trial.suggest_float("x", -2, 2), y = trial.suggest_float("y", -2, 2);
        trial.set_constraint("far enough", 1 - x - y);
        return x * x + y * y;
      },
      {.n_trials = 40});
  EXPECT_NEAR(study.best_value(), 0.5, 0.02);
  EXPECT_GE(study.best_value(), 0.5);
}

TEST(GPSampler, SearchesSeveralObjectives) {
  const auto volume = [](const SamplerRef& sampler, bool constrained) {
    auto study = create_study({.sampler = sampler, .directions = {Direction::minimize, Direction::maximize}});
    study.optimize(
        [&](Trial& trial) {
          const double x = trial.suggest_float("x", -2, 2), y = trial.suggest_float("y", -2, 2);
          if (constrained) trial.set_constraint("c", x - 0.5);
          return std::vector<double>{x * x + y * y, -(x - 1) * (x - 1) - y * y};
        },
        {.n_trials = 40});
    std::vector<std::vector<double>> losses;
    for (const auto& trial : study.best_trials()) losses.push_back({trial.values[0], -trial.values[1]});
    return hypervolume(losses, {10, 10});
  };
  for (const bool constrained : {false, true}) {
    EXPECT_GT(volume(GPSampler({.seed = 1}), constrained), volume(RandomSampler({.seed = 1}), constrained));
  }
}

TEST(GPSampler, KeepsAwayFromWhatOthersTry) {
  for (const std::size_t n_objectives : {1u, 2u}) {
    for (const bool constrained : {false, true}) {
      auto study = create_study(
          {.sampler = GPSampler({.seed = 0}), .directions = std::vector<Direction>(n_objectives, Direction::minimize)});
      study.optimize(
          [&](Trial& trial) {
            const double x = trial.suggest_float("x", -10, 10);
            if (constrained) trial.set_constraint("c", x - 9);
            std::vector<double> out{std::pow(x - 3, 2)};
            if (n_objectives == 2) out.push_back(std::pow(x + 3, 2));
            return out;
          },
          {.n_trials = 15});
      std::vector<Trial> running;
      std::set<double> tried;
      for (int i = 0; i < 5; ++i) {
        running.push_back(study.ask());
        tried.insert(std::round(1e4 * running.back().suggest_float("x", -10, 10)));
      }
      EXPECT_EQ(tried.size(), 5u);
    }
  }
}

TEST(GPSampler, ChoosesAmongChoicesAndSteps) {
  int hits = 0;
  for (std::uint64_t seed = 0; seed < 5; ++seed) {
    auto study = create_study({.sampler = GPSampler({.seed = seed}), .pruner = NopPruner()});
    study.optimize(
        [](Trial& trial) {
          const std::string kind = trial.suggest_categorical("kind", {"a", "b", "c", "d"});
          const auto n = static_cast<double>(trial.suggest_int("n", 1, 100, {.log = true}));
          const double x = trial.suggest_float("x", 1e-5, 1, {.log = true});
          return (kind == "c" ? 0 : 1) + std::pow(std::log10(n) - 1, 2) + std::pow(std::log10(x) + 3, 2);
        },
        {.n_trials = 45});
    hits += study.best_value() < 0.02;
  }
  EXPECT_GE(hits, 4);
}

TEST(SamplerRegistry, MakesSamplersByName) {
  for (const auto& info : sampler_infos()) {
    const bool grid = info.name == "grid";
    Map options{{"seed", 3}};
    if (grid) options["values"] = Map{{"x", List{1, 2}}};
    auto study = create_study({.sampler = make_sampler(info.name, options), .pruner = NopPruner()});
    study.optimize([](Trial& trial) { return static_cast<double>(trial.suggest_int("x", 1, 2)); }, {.n_trials = 2});
    EXPECT_GE(study.trials().size(), 1u) << info.name;
    // Every option that is listed is read: a map in its place is refused, by its name.
    for (const auto& option : info.options) {
      if (option.name == "x0" || option.name == "values") continue;
      try {
        make_sampler(info.name, {{option.name, Map{{"a", 1}}}});
        FAIL() << info.name << " " << option.name;
      } catch (const Error& error) {
        EXPECT_NE(std::string(error.what()).find(option.name), std::string::npos) << error.what();
      }
    }
  }
  EXPECT_THROW(make_sampler("cma", {{"x0", 3}}), Error);
  EXPECT_THROW(make_sampler("grid"), Error);
  EXPECT_THROW(make_sampler("grid", {{"values", Map{{"x", 3}}}}), Error);
  try {
    make_sampler("tpee");
    FAIL();
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("tpe"), std::string::npos);
  }
  try {
    make_sampler("gp", {{"n_startup_trial", 3}});
    FAIL();
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("n_startup_trials"), std::string::npos) << error.what();
  }
  EXPECT_THROW(make_sampler("cma", {{"restart_strategy", "ipo"}}), Error);
}

}  // namespace
}  // namespace levin::tune
