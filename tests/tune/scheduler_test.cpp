// Schedulers and stoppers: the conformance suite, and decisions beside Ray Tune's on recorded losses.
#include <levin/core/atomic_file.h>
#include <levin/core/file.h>
#include <levin/core/json.h>
#include <levin/tune/schedulers/async_hyperband.h>
#include <levin/tune/schedulers/hyperband.h>
#include <levin/tune/schedulers/median_stopping.h>
#include <levin/tune/schedulers/pb2.h>
#include <levin/tune/schedulers/pbt.h>
#include <levin/tune/schedulers/time_varying_process.h>
#include <levin/tune/testing/scheduler_conformance.h>

#include <tune/scratch.h>

namespace levin::tune::testing {
namespace {

INSTANTIATE_TEST_SUITE_P(
    Schedulers, SchedulerConformance,
    ::testing::Values(
        SchedulerFactory{"fifo", []() -> SchedulerRef { return FIFOScheduler(); }},
        SchedulerFactory{"asha", []() -> SchedulerRef { return ASHAScheduler({.max_t = 27, .reduction_factor = 3}); }},
        SchedulerFactory{
            "asha_brackets",
            []() -> SchedulerRef { return ASHAScheduler({.max_t = 27, .reduction_factor = 3, .brackets = 3}); }},
        SchedulerFactory{"asha_promotion",
                         []() -> SchedulerRef { return PromotionASHAScheduler({.max_t = 27, .reduction_factor = 3}); }},
        SchedulerFactory{"hyperband", []() -> SchedulerRef { return HyperBandScheduler({.max_t = 27}); }},
        SchedulerFactory{"bohb", []() -> SchedulerRef { return HyperBandForBOHB({.max_t = 27}); }},
        SchedulerFactory{"median", []() -> SchedulerRef { return MedianStoppingRule({.grace_period = 3}); }},
        SchedulerFactory{"median_pause",
                         []() -> SchedulerRef { return MedianStoppingRule({.grace_period = 3, .hard_stop = false}); }},
        SchedulerFactory{
            "pbt",
            []() -> SchedulerRef {
              return PopulationBasedTraining({.perturbation_interval = 4, .mutations = {{"x", uniform(0, 1)}}});
            }},
        SchedulerFactory{"pbt_synch",
                         []() -> SchedulerRef {
                           return PopulationBasedTraining(
                               {.perturbation_interval = 4, .mutations = {{"x", uniform(0, 1)}}, .synch = true});
                         }},
        SchedulerFactory{"pb2",
                         []() -> SchedulerRef {
                           return PB2({.perturbation_interval = 4, .hyperparam_bounds = {{"x", uniform(0, 1)}}});
                         }},
        SchedulerFactory{"pb2_synch",
                         []() -> SchedulerRef {
                           return PB2({.perturbation_interval = 4,
                                       .hyperparam_bounds = {{"x", uniform(0, 1)}},
                                       .synch = true});
                         }}),
    [](const auto& factory) { return factory.param.name; });

const Map& golden() {
  static const Value value =
      parse_json(read_file(std::string(LEVIN_SOURCE_DIR) + "/tests/golden/tune/schedulers.json"));
  return value.as_map();
}

// Drives a scheduler over recorded losses as tests/golden/scripts/ray_schedulers.py drives Ray Tune's.
class Simulation : public TunerControl {
 public:
  Simulation(Scheduler& scheduler, const List& losses) : scheduler_(scheduler), losses_(losses) {
    scheduler.begin({.metric = "loss", .mode = Mode::min, .seed = 0});
    for (std::size_t i = 0; i < losses.size(); ++i) {
      runs_.push_back(std::make_unique<Run>());
      runs_.back()->number = static_cast<std::int64_t>(i);
      live_.push_back(runs_.back().get());
    }
  }

  std::span<Run* const> live() const override { return live_; }
  bool more_to_come() const override { return false; }
  SnapshotPtr save(const Run& run) override {
    return std::make_shared<const Snapshot>(
        Snapshot{.state = {}, .iteration = run.iteration, .time_total_s = 0, .last_result = run.last_result});
  }
  void restart(const Run& run, SnapshotPtr snapshot, Config config) override {
    Run& own = *runs_[static_cast<std::size_t>(run.number)];
    own.iteration = snapshot->iteration;
    own.config = std::move(config);
  }
  void end(const Run& run, Decision) override {
    Run& own = *runs_[static_cast<std::size_t>(run.number)];
    log.push_back(List{own.number, own.iteration, "end"});
    finish(own);
    scheduler_.on_trial_remove(*this, own);
  }

  Run& run(std::size_t i) { return *runs_[i]; }

  void drive(bool choose, std::int64_t max_t = 1000) {
    for (const auto& run : runs_) scheduler_.on_trial_add(*this, *run);
    for (const auto& run : runs_) run->status = RunStatus::running;
    while (std::any_of(live_.begin(), live_.end(), [](const Run* r) { return r->status == RunStatus::running; })) {
      for (const auto& run : runs_) {
        if (run->status == RunStatus::running) step(*run, max_t);
      }
      while (choose) {
        const Run* chosen = scheduler_.choose(*this, false);
        if (chosen == nullptr) break;
        Run& own = *runs_[static_cast<std::size_t>(chosen->number)];
        own.status = RunStatus::running;
        if (own.iteration >= std::ssize(losses_[0].as_list())) finish(own);
      }
    }
  }

  List log;

 private:
  void finish(Run& run) {
    run.status = RunStatus::finished;
    std::erase(live_, &run);
  }
  void step(Run& run, std::int64_t max_t) {
    const auto i = static_cast<std::size_t>(run.number);
    const std::int64_t t = ++run.iteration;
    run.last_result = {{"training_iteration", t}, {"loss", losses_[i].as_list().at(static_cast<std::size_t>(t - 1))}};
    if (t >= max_t) {
      scheduler_.on_trial_complete(*this, run, run.last_result);
      return finish(run);
    }
    const Decision decision = scheduler_.on_trial_result(*this, run, run.last_result);
    const char* text = decision == Decision::proceed ? "CONTINUE" : decision == Decision::pause ? "PAUSE" : "STOP";
    log.push_back(List{run.number, t, text});
    if (decision == Decision::pause) run.status = RunStatus::paused;
    if (decision == Decision::stop || decision == Decision::complete) finish(run);
  }

  Scheduler& scheduler_;
  const List& losses_;
  std::vector<std::unique_ptr<Run>> runs_;
  std::vector<Run*> live_;
};

void expect_same(const List& seen, const List& expected) {
  ASSERT_EQ(seen.size(), expected.size());
  for (std::size_t i = 0; i < seen.size(); ++i) ASSERT_EQ(seen[i], expected[i]) << "decision " << i;
}

TEST(SchedulerGolden, AsyncHyperBandDecidesAsRay) {
  for (const auto& entry : golden().at("asha").as_list()) {
    const Map& c = entry.as_map();
    AsyncHyperBandScheduler scheduler({.max_t = c.get<double>("max_t"),
                                       .grace_period = c.get<double>("grace_period"),
                                       .reduction_factor = c.get<double>("reduction_factor"),
                                       .stop_last_trials = c.get<bool>("stop_last_trials")});
    Simulation simulation(scheduler, c.at("losses").as_list());
    simulation.drive(false, 30);
    expect_same(simulation.log, c.at("log").as_list());
  }
}

TEST(SchedulerGolden, HyperBandDecidesAsRay) {
  for (const auto& entry : golden().at("hyperband").as_list()) {
    const Map& c = entry.as_map();
    const HyperBandOptions options{.max_t = c.get<double>("max_t"),
                                   .reduction_factor = c.get<double>("reduction_factor")};
    HyperBandScheduler plain(options);
    HyperBandForBOHB bohb(options);
    Simulation simulation(c.get<bool>("bohb") ? static_cast<Scheduler&>(bohb) : plain, c.at("losses").as_list());
    simulation.drive(true);
    // Within one result, the order in which others end is free.
    const auto sorted = [](List log) {
      std::vector<std::string> texts;
      for (const auto& line : log) texts.push_back(line.to_string());
      std::sort(texts.begin(), texts.end());
      return texts;
    };
    EXPECT_EQ(sorted(simulation.log), sorted(c.at("log").as_list()));
  }
}

TEST(SchedulerGolden, MedianStoppingDecidesAsRay) {
  for (const auto& entry : golden().at("median").as_list()) {
    const Map& c = entry.as_map();
    MedianStoppingRule scheduler({.grace_period = c.get<double>("grace_period"),
                                  .min_samples_required = c.get<std::int64_t>("min_samples_required")});
    Simulation simulation(scheduler, c.at("losses").as_list());
    simulation.drive(false, 15);
    expect_same(simulation.log, c.at("log").as_list());
  }
}

TEST(SchedulerGolden, PopulationBasedTrainingExploitsAsRay) {
  for (const auto& entry : golden().at("pbt").as_list()) {
    const Map& c = entry.as_map();
    PopulationBasedTraining scheduler({.perturbation_interval = 3,
                                       .burn_in_period = c.get<double>("burn_in"),
                                       .mutations = {{"lr", std::function<Value()>([] { return Value(1.0); })}},
                                       .quantile_fraction = 0.16,
                                       .resample_probability = 0,
                                       .perturbation_factors = {1.5, 1.5},
                                       .synch = c.get<bool>("synch")});
    Simulation simulation(scheduler, c.at("losses").as_list());
    for (std::size_t i = 0; i < 6; ++i) simulation.run(i).config["lr"] = 0.1 * static_cast<double>(i + 1);
    simulation.drive(true, 20);
    expect_same(simulation.log, c.at("log").as_list());
    List exploits;
    for (const auto& exploit : scheduler.exploits()) {
      exploits.push_back(List{exploit.trial, exploit.source, exploit.config.at("lr")});
    }
    expect_same(exploits, c.at("exploits").as_list());
    EXPECT_GE(exploits.size(), 2u);
  }
}

Matrix matrix_of(const List& rows) {
  Matrix out(rows.size(), rows[0].as_list().size());
  for (std::size_t i = 0; i < out.rows; ++i) {
    for (std::size_t j = 0; j < out.cols; ++j) out.row(i)[j] = rows[i].as_list()[j].as_double();
  }
  return out;
}

std::vector<double> numbers_of(const List& list) {
  std::vector<double> out;
  for (const auto& value : list) out.push_back(value.as_double());
  return out;
}

const Map& pb2_golden() {
  static const Value value = parse_json(read_file(std::string(LEVIN_SOURCE_DIR) + "/tests/golden/tune/pb2.json"));
  return value.as_map();
}

TEST(SchedulerGolden, TimeVaryingProcessesAreRays) {
  for (const auto& entry : pb2_golden().at("processes").as_list()) {
    const Map& c = entry.as_map();
    const Matrix points = matrix_of(c.at("points").as_list());
    const auto values = numbers_of(c.at("values").as_list()), params = numbers_of(c.at("params").as_list());
    const TimeVaryingProcess process(points, values, {params[0], params[1], params[2]});
    EXPECT_NEAR(process.log_likelihood(), c.get<double>("log_likelihood"), 1e-6 * static_cast<double>(points.data.size()));
    const Matrix at = matrix_of(c.at("at").as_list());
    const auto mean = numbers_of(c.at("mean").as_list()), variance = numbers_of(c.at("variance").as_list());
    const auto bounds = numbers_of(c.at("bounds").as_list());
    for (std::size_t i = 0; i < at.rows; ++i) {
      const auto posterior = process.posterior(at[i], true);
      EXPECT_NEAR(posterior.mean, mean[i], 1e-6);
      EXPECT_NEAR(posterior.variance, variance[i], 1e-6);
      EXPECT_NEAR(detail::upper_bound(posterior.mean, posterior.variance, process.size()), bounds[i], 1e-6);
      // The derivatives are those of the values.
      for (std::size_t j = 1; j < at.cols; ++j) {
        std::vector<double> x(at[i].begin(), at[i].end());
        x[j] += 1e-5;
        const auto after = process.posterior(x);
        x[j] -= 2e-5;
        const auto before = process.posterior(x);
        EXPECT_NEAR(posterior.d_mean[j - 1], (after.mean - before.mean) / 2e-5, 1e-4 * (1 + std::abs(posterior.d_mean[j - 1])));
        EXPECT_NEAR(posterior.d_variance[j - 1], (after.variance - before.variance) / 2e-5, 1e-4 * (1 + std::abs(posterior.d_variance[j - 1])));
      }
    }
    EXPECT_GE(TimeVaryingProcess::fit(points, values).log_likelihood(), c.get<double>("fitted_log_likelihood") - 1e-3);
  }
}

TEST(SchedulerGolden, PB2LearnsFromWhatRayDoes) {
  for (const auto& entry : pb2_golden().at("gains").as_list()) {
    const Map& c = entry.as_map();
    std::vector<PB2::Look> looks;
    for (const auto& row : c.at("looks").as_list()) {
      const List& r = row.as_list();
      looks.push_back({std::stoll(r[0].as_string()), r[1].as_double(), {r[2].as_double(), r[3].as_double()}, r[4].as_double()});
    }
    const auto gains = detail::gains_of(looks, c.get<std::int64_t>("source"));
    const Matrix points = matrix_of(c.at("points").as_list());
    const auto values = numbers_of(c.at("values").as_list()), now = numbers_of(c.at("now").as_list());
    ASSERT_EQ(gains.points.rows, points.rows);
    for (std::size_t i = 0; i < points.data.size(); ++i) EXPECT_NEAR(gains.points.data[i], points.data[i], 1e-9);
    for (std::size_t i = 0; i < values.size(); ++i) EXPECT_NEAR(gains.values[i], values[i], 1e-9);
    EXPECT_NEAR(gains.now[0], now[0], 1e-9);
    EXPECT_NEAR(gains.now[1], now[1], 1e-9);
  }
}

TEST(SchedulerGolden, PlateausAreRays) {
  const Map& c = golden().at("plateau").as_map();
  TrialPlateauStopper trial;
  ExperimentPlateauStopper experiment({.std = 0.03, .top = 5, .patience = 2});
  trial.begin("loss", Mode::min);
  experiment.begin("loss", Mode::min);
  const List& values = c.at("values").as_list();
  for (std::size_t i = 0; i < values.size(); ++i) {
    EXPECT_EQ(trial.stop(0, {{"loss", values[i]}}), c.at("trial").as_list()[i].as_bool()) << i;
    EXPECT_EQ(experiment.stop(0, {{"loss", values[i]}}), c.at("experiment").as_list()[i].as_bool()) << i;
  }
}

TEST(PopulationBasedTraining, MutatesEveryKindOfParameter) {
  struct Idle : Trainable {
    Metrics step() override { return {{"loss", static_cast<double>(context().number)}}; }
    State save() const override { return {}; }
    void load(const State&) override {}
  };
  const auto pbt = std::make_shared<PopulationBasedTraining>(
      PopulationBasedTrainingOptions{.perturbation_interval = 1,
                                     .mutations = {{"lr", loguniform(1e-3, 1e-1)},
                                                   {"width", randint(8, 65)},
                                                   {"depth", ordinal({1, 2, 4, 8})},
                                                   {"optimizer", choice({"adam", "sgd"})},
                                                   {"batch", List{16, 32, 64}},
                                                   {"inner/dropout", quniform(0, 0.5, 0.1)}},
                                     .synch = true});
  const SearchSpace space{{"lr", loguniform(1e-3, 1e-1)},   {"width", randint(8, 65)},
                          {"depth", ordinal({1, 2, 4, 8})}, {"optimizer", choice({"adam", "sgd"})},
                          {"batch", choice({16, 32, 64})},  {"inner", SearchSpace{{"dropout", quniform(0, 0.5, 0.1)}}}};
  Tuner(trainable<Idle>(), space,
        {.metric = "loss", .num_samples = 8, .scheduler = pbt, .stop = {{"training_iteration", 60}}, .seed = 3})
      .fit();
  ASSERT_GE(pbt->exploits().size(), 100u);
  int resampled = 0, moved = 0;
  for (const auto& e : pbt->exploits()) {
    for (const auto& [name, mutation] :
         HyperparamMutations{{"lr", loguniform(1e-3, 1e-1)}, {"width", randint(8, 65)}}) {
      const auto& distribution = std::get<Distribution>(mutation);
      EXPECT_TRUE(distribution.contains(distribution.to_internal(e.config.at(name))));
    }
    const double ratio = e.config.get<double>("lr") / e.source_config.get<double>("lr");
    const bool at_end = e.config.get<double>("lr") == 1e-3 || e.config.get<double>("lr") == 1e-1;
    (std::abs(ratio - 1.2) < 1e-9 || std::abs(ratio - 0.8) < 1e-9 || at_end ? moved : resampled) += 1;
    EXPECT_TRUE(e.config.at("width").is_int());
    const auto place = [](const Value& depth) { return ordinal({1, 2, 4, 8}).to_internal(depth); };
    EXPECT_TRUE(place(e.config.at("depth")) >= 0);
    const double dropout = e.config.at("inner").as_map().get<double>("dropout");
    EXPECT_TRUE(quniform(0, 0.5, 0.1).contains(dropout)) << dropout;
    EXPECT_NE(e.trial, e.source);
  }
  // A quarter is drawn anew; another seed would miss this band once in 1,000 runs.
  const double n = static_cast<double>(pbt->exploits().size());
  EXPECT_NEAR(resampled / n, 0.25, 3.3 * std::sqrt(0.25 * 0.75 / n));
}

TEST(PB2, FindsTheHyperparameterThatGainsMost) {
  // The loss falls by how near x is to a place that moves with time: copies alone stay behind it.
  struct Chase : Trainable {
    void setup(const Config& config) override { x = config.get<double>("x"); }
    bool reset(const Config& config) override {
      setup(config);
      return true;
    }
    Metrics step() override {
      const double aim = 0.2 + 0.6 * static_cast<double>(++t) / 60;
      loss -= std::exp(-50 * (x - aim) * (x - aim));
      return {{"loss", loss}};
    }
    State save() const override { return {{"loss", loss}, {"t", t}}; }
    void load(const State& state) override {
      loss = state.get<double>("loss");
      t = state.get<std::int64_t>("t");
    }
    double x = 0, loss = 60;
    std::int64_t t = 0;
  };
  const auto best = [](SchedulerRef scheduler, std::uint64_t seed) {
    return Tuner(trainable<Chase>(), {{"x", uniform(0, 1)}},
                 {.metric = "loss", .num_samples = 6, .max_concurrent_trials = 1, .scheduler = scheduler,
                  .stop = {{"training_iteration", 60}}, .seed = seed})
        .fit()
        .best()
        .metrics.get<double>("loss");
  };
  double pb2 = 0, copies = 0;
  for (std::uint64_t seed = 0; seed < 5; ++seed) {
    const auto bandit = std::make_shared<PB2>(PB2Options{.perturbation_interval = 3, .hyperparam_bounds = {{"x", uniform(0, 1)}}, .synch = true});
    pb2 += best(bandit, seed) / 5;
    for (const auto& exploit : bandit->exploits()) {
      EXPECT_TRUE(uniform(0, 1).contains(exploit.config.get<double>("x")));
    }
    copies += best(PopulationBasedTraining({.perturbation_interval = 3,
                                            .resample_probability = 0,
                                            .custom_explore_fn = [](Config config) { return config; },
                                            .synch = true}),
                   seed) / 5;
  }
  EXPECT_LT(pb2, copies - 10);
}

TEST(PB2, KeepsIntsAndNestedNamesAndSaysWhatIsWrong) {
  const auto pb2 = std::make_shared<PB2>(PB2Options{.perturbation_interval = 2,
                                                    .hyperparam_bounds = {{"width", lograndint(8, 65)}, {"inner/lr", loguniform(1e-4, 1e-1)}}});
  struct Idle : Trainable {
    Metrics step() override { return {{"loss", -static_cast<double>(context().number)}}; }
    State save() const override { return {}; }
    void load(const State&) override {}
  };
  Tuner(trainable<Idle>(), {{"width", lograndint(8, 65)}, {"inner", SearchSpace{{"lr", loguniform(1e-4, 1e-1)}}}},
        {.metric = "loss", .num_samples = 4, .scheduler = pb2, .stop = {{"training_iteration", 20}}, .seed = 1})
      .fit();
  EXPECT_GE(pb2->exploits().size(), 3u);
  for (const auto& exploit : pb2->exploits()) {
    EXPECT_TRUE(exploit.config.at("width").is_int());
    EXPECT_TRUE(loguniform(1e-4, 1e-1).contains(exploit.config.get<Map>("inner").get<double>("lr")));
  }
  EXPECT_THROW(PB2({}), Error);
  EXPECT_THROW(PB2({.hyperparam_bounds = {{"c", choice({"a", "b"})}}}), Error);
  EXPECT_THROW(PB2({.hyperparam_bounds = {{"x", uniform(0, 1)}}, .quantile_fraction = 0.7}), Error);
}

TEST(PopulationBasedTraining, ReplaysASchedule) {
  // The loss falls by the learning rate, which must fall in turn: only mutation finds that.
  struct Toy : Trainable {
    void setup(const Config& config) override { lr = config.get<double>("lr"); }
    Metrics step() override {
      loss -= lr * (loss - lr);
      return {{"loss", loss}};
    }
    State save() const override { return {{"loss", loss}}; }
    void load(const State& state) override { loss = state.get<double>("loss"); }
    double lr = 0, loss = 1;
  };
  const std::filesystem::path folder = scratch_file("pbt");
  const auto pbt = std::make_shared<PopulationBasedTraining>(PopulationBasedTrainingOptions{
      .perturbation_interval = 3, .mutations = {{"lr", uniform(0.01, 1)}}, .log_folder = folder});
  const SearchSpace space{{"lr", uniform(0.01, 1)}};
  const auto results = Tuner(trainable<Toy>(), space,
                             {.metric = "loss",
                              .num_samples = 8,
                              .max_concurrent_trials = 2,
                              .scheduler = pbt,
                              .stop = {{"training_iteration", 40}},
                              .seed = 5})
                           .fit();
  // The trial that changed most often.
  const auto& changed = *std::max_element(results.begin(), results.end(), [&](const auto& a, const auto& b) {
    return pbt->lineage(a.number).size() < pbt->lineage(b.number).size();
  });
  const auto lineage = pbt->lineage(changed.number);
  ASSERT_GE(lineage.size(), 2u);
  EXPECT_EQ(changed.config, lineage.back().config);
  const auto file = folder / ("pbt_policy_" + std::to_string(changed.number) + ".txt");
  for (const bool from_file : {false, true}) {
    const auto replay = from_file ? PopulationBasedTrainingReplay(file) : PopulationBasedTrainingReplay(lineage);
    const auto again = Tuner(trainable<Toy>(), {{"lr", 0.5}},
                             {.metric = "loss", .scheduler = replay, .stop = {{"training_iteration", 40}}})
                           .fit();
    EXPECT_DOUBLE_EQ(again.best().metrics.get<double>("loss"), changed.metrics.get<double>("loss"));
  }
  const std::string all = read_file(folder / "pbt_global.txt");
  EXPECT_EQ(std::count(all.begin(), all.end(), '\n'), std::ssize(pbt->exploits()));
}

TEST(Schedulers, RefuseWhatCannotBe) {
  EXPECT_THROW(ASHAScheduler({.max_t = 1, .grace_period = 2}), Error);
  EXPECT_THROW(ASHAScheduler({.reduction_factor = 1}), Error);
  EXPECT_THROW(ASHAScheduler({.brackets = 9}), Error);
  EXPECT_THROW(PromotionASHAScheduler({.grace_period = 0}), Error);
  EXPECT_THROW(HyperBandScheduler({.max_t = 0}), Error);
  EXPECT_THROW(MedianStoppingRule({.grace_period = -1}), Error);
  EXPECT_THROW(PopulationBasedTraining({.perturbation_interval = 1}), Error);
  EXPECT_THROW(PopulationBasedTraining({.mutations = {{"x", uniform(0, 1)}}, .quantile_fraction = 0.6}), Error);
  EXPECT_THROW(PopulationBasedTrainingReplay(std::vector<Exploit>{}), Error);
  const auto file = scratch_file("policy.txt");
  write_file_atomically(file, "[1, 2, 3]\n");
  EXPECT_THROW(PopulationBasedTrainingReplay{std::filesystem::path(file)}, Error);
}

TEST(PromotionASHA, PromotesTheBestOfARung) {
  PromotionASHAScheduler scheduler({.max_t = 9, .reduction_factor = 3});
  List losses;
  for (int i = 0; i < 9; ++i) losses.push_back(List(10, static_cast<double>((i * 5) % 9)));
  Simulation simulation(scheduler, losses);
  simulation.drive(true);
  std::vector<std::int64_t> reached(9);
  for (const auto& line : simulation.log) {
    auto& at = reached[static_cast<std::size_t>(line.as_list()[0].as_int())];
    at = std::max(at, line.as_list()[1].as_int());
  }
  EXPECT_EQ(reached, (std::vector<std::int64_t>{9, 1, 3, 1, 3, 1, 1, 1, 1}));
}

}  // namespace
}  // namespace levin::tune::testing
