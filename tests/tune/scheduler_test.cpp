// Schedulers and stoppers: the conformance suite, and decisions beside Ray Tune's on recorded losses.
#include <levin/core/atomic_file.h>
#include <levin/core/file.h>
#include <levin/core/json.h>
#include <levin/tune/schedulers/async_hyperband.h>
#include <levin/tune/schedulers/hyperband.h>
#include <levin/tune/schedulers/median_stopping.h>
#include <levin/tune/schedulers/pbt.h>
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
