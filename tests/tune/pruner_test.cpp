// Pruners: their decisions next to Optuna's, and what only Levin has (several metrics, several objectives).
#include <levin/core/json.h>
#include <levin/tune/pareto.h>
#include <levin/tune/pruners/hyperband.h>
#include <levin/tune/pruners/metric.h>
#include <levin/tune/pruners/patient.h>
#include <levin/tune/pruners/percentile.h>
#include <levin/tune/pruners/registry.h>
#include <levin/tune/pruners/successive_halving.h>
#include <levin/tune/pruners/threshold.h>
#include <levin/tune/pruners/wilcoxon.h>
#include <levin/tune/samplers/random.h>
#include <levin/tune/study.h>

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <set>

#include <tune/golden.h>
#include <tune/scratch.h>

namespace levin::tune {
namespace {

PrunerRef golden_pruner(const std::string& kind, const Map& o) {
  const auto whole = [&](const char* key, std::int64_t fallback) { return o.get<std::int64_t>(key, fallback); };
  if (kind == "hyperband") {
    HyperbandPrunerOptions options{.min_resource = whole("min_resource", 1),
                                   .reduction_factor = whole("reduction_factor", 3),
                                   .bootstrap_count = whole("bootstrap_count", 0)};
    if (o.contains("max_resource")) options.max_resource = o.get<std::int64_t>("max_resource");
    return HyperbandPruner(options);
  }
  if (kind.starts_with("patient")) {
    PrunerRef wrapped;
    if (kind == "patient_median") wrapped = MedianPruner({.n_startup_trials = 2});
    if (kind == "patient_halving") wrapped = SuccessiveHalvingPruner({.min_resource = 1, .reduction_factor = 2});
    return PatientPruner(wrapped, {.patience = whole("patience", 0), .min_delta = o.get<double>("min_delta", 0.0)});
  }
  if (kind == "threshold") {
    ThresholdPrunerOptions options{.n_warmup_steps = whole("n_warmup_steps", 0),
                                   .interval_steps = whole("interval_steps", 1)};
    if (o.contains("lower")) options.lower = o.get<double>("lower");
    if (o.contains("upper")) options.upper = o.get<double>("upper");
    return ThresholdPruner(options);
  }
  EXPECT_EQ(kind, "wilcoxon");
  return WilcoxonPruner(
      {.p_threshold = o.get<double>("p_threshold", 0.1), .n_startup_steps = whole("n_startup_steps", 2)});
}

TEST(PrunerGolden, DecideAsOptunaDoes) {
  int decisions = 0, pruned = 0;
  const Map file = golden("verdicts");
  for (const auto& item : file.at("cases").as_list()) {
    const Map& test = item.as_map();
    const std::string what =
        test.at("pruner").as_string() + " " + test.at("options").to_string() + " " + test.at("direction").as_string();
    auto study = create_study(
        {.sampler = RandomSampler({.seed = 0}),
         .pruner = golden_pruner(test.at("pruner").as_string(), test.at("options").as_map()),
         .study_name = test.at("study").as_string(),
         .direction = test.at("direction") == Value("maximize") ? Direction::maximize : Direction::minimize});
    for (const auto& entry : test.at("runs").as_list()) {
      const Map& run = entry.as_map();
      const List& curve = run.at("curve").as_list();
      auto trial = study.ask();
      for (std::size_t i = 0; i < curve.size(); ++i) {
        const List& report = curve[i].as_list();
        trial.report(report[1].as_double(), report[0].as_int());
        // All but the last report were let pass: a trial ends where it is pruned.
        const bool expected = i + 1 == curve.size() && run.at("pruned").as_int() == 1;
        ASSERT_EQ(trial.should_prune(), expected) << what << ", trial " << trial.number() << ", report " << i;
        ++decisions;
        pruned += expected;
      }
      if (run.at("value").is_null()) {
        study.tell(trial, TrialState::pruned);
      } else {
        study.tell(trial, run.at("value").as_double());
      }
    }
  }
  EXPECT_GT(decisions, 5000);
  EXPECT_GT(pruned, 300);
}

TEST(PrunerGolden, WilcoxonPValues) {
  const Map file = golden("wilcoxon");
  for (const auto& item : file.at("cases").as_list()) {
    const auto d = numbers(item.as_map().at("differences"));
    for (const auto alternative : {Alternative::less, Alternative::greater}) {
      const double expected = item.as_map().at(alternative == Alternative::less ? "less" : "greater").as_double();
      EXPECT_NEAR(wilcoxon_p_value(d, alternative), expected, 1e-12) << d.size() << " values";
    }
  }
  EXPECT_TRUE(std::isnan(wilcoxon_p_value({}, Alternative::less)));
  EXPECT_EQ(wilcoxon_p_value(std::vector<double>(60, 0.0), Alternative::less), 0.5);
}

TEST(Pruners, RefuseBadOptions) {
  EXPECT_THROW(HyperbandPruner({.min_resource = 0}), Error);
  EXPECT_THROW(HyperbandPruner({.min_resource = 3, .max_resource = 2}), Error);
  EXPECT_THROW(HyperbandPruner({.max_resource = "Auto"}), Error);
  EXPECT_THROW(HyperbandPruner({.reduction_factor = 1}), Error);
  EXPECT_THROW(HyperbandPruner({.bootstrap_count = 1}), Error);
  EXPECT_THROW(PatientPruner({.patience = -1}), Error);
  EXPECT_THROW(PatientPruner({.min_delta = std::nan("")}), Error);
  EXPECT_THROW(ThresholdPruner({}), Error);
  EXPECT_THROW(ThresholdPruner({.lower = 1, .upper = 0}), Error);
  EXPECT_THROW(ThresholdPruner({.lower = 0, .interval_steps = 0}), Error);
  EXPECT_THROW(WilcoxonPruner({.p_threshold = 1.5}), Error);
  EXPECT_THROW(WilcoxonPruner({.n_startup_steps = -1}), Error);
  EXPECT_THROW(MetricPruner(PrunerRef(), {.metric = "acc"}), Error);
  EXPECT_THROW(MetricPruner(MedianPruner(), {.metric = ""}), Error);
  EXPECT_THROW(AnyPruner({}), Error);
}

// Notes which trials it is shown.
class Watcher : public Sampler {
 public:
  explicit Watcher(std::shared_ptr<std::vector<std::set<std::int64_t>>> seen) : seen_(std::move(seen)) {}
  Value sample_independent(StudyView& study, const FrozenTrial&, const std::string&,
                           const Distribution& distribution) override {
    std::set<std::int64_t> numbers;
    for (const auto& trial : study.trials().by_number()) numbers.insert(trial->number);
    seen_->push_back(numbers);
    return distribution.low();
  }

 private:
  std::shared_ptr<std::vector<std::set<std::int64_t>>> seen_;
};

TEST(HyperbandPruner, SamplersSeeTheirBracketAlone) {
  auto seen = std::make_shared<std::vector<std::set<std::int64_t>>>();
  auto study = create_study(
      {.sampler = Watcher(seen), .pruner = HyperbandPruner({.max_resource = 9}), .study_name = "brackets"});
  HyperbandPruner pruner({.max_resource = 9});
  StudyView view({Direction::minimize}, {}, "brackets");
  const auto bracket_of = pruner.grouping(view);
  const auto bracket = [&](std::int64_t number) {
    FrozenTrial trial;
    trial.number = number;
    return bracket_of(trial);
  };
  study.optimize([](Trial& trial) { return trial.suggest_float("x", 0, 1); }, {.n_trials = 40});
  std::set<std::int64_t> brackets;
  for (std::int64_t i = 0; i < 40; ++i) {
    brackets.insert(bracket(i));
    std::set<std::int64_t> same;
    for (std::int64_t j = 0; j <= i; ++j) {
      if (bracket(j) == bracket(i)) same.insert(j);
    }
    EXPECT_EQ((*seen)[static_cast<std::size_t>(i)], same) << i;
  }
  EXPECT_EQ(brackets.size(), 3u);
}

TEST(Reports, SeveralMetricsAreKeptWithTheTrial) {
  const std::string url = "sqlite:///" + scratch_file("metrics.db");
  {
    auto study = create_study({.storage = url, .sampler = RandomSampler({.seed = 0}), .study_name = "s"});
    auto trial = study.ask();
    trial.report(0.5, 0, {{"acc", 0.7}, {"seconds", 3}});
    trial.report(0.4, 1);
    EXPECT_THROW(trial.report(0.3, 2, {{"acc", "high"}}), Error);
    EXPECT_THROW(trial.report({0.3, 0.2}, 2), Error);
    study.tell(trial, 0.4);
  }
  const auto trial = load_study({.study_name = "s", .storage = url}).trials().at(0);
  EXPECT_EQ(trial.reported(0), std::vector<double>{0.5});
  EXPECT_EQ(trial.reported_metric(0, "acc"), 0.7);
  EXPECT_EQ(trial.reported_metric(0, "seconds"), 3.0);
  EXPECT_EQ(trial.reported_metric(1, "acc"), std::nullopt);
  EXPECT_EQ(trial.reported(2), std::vector<double>{});
}

TEST(Reports, SeveralObjectivesAreKeptWithTheTrial) {
  const std::string url = "sqlite:///" + scratch_file("objectives.db");
  const double nan = std::nan("");
  {
    auto study = create_study({.storage = url,
                               .sampler = RandomSampler({.seed = 0}),
                               .study_name = "s",
                               .directions = {Direction::minimize, Direction::maximize}});
    auto trial = study.ask();
    trial.report({1.5, 2.5}, 0, {{"loss", 7.0}});
    trial.report({1.25, 3.5}, 4);
    EXPECT_THROW(trial.report(1.0, 5), Error);
    EXPECT_THROW(trial.report({1.0, 2.0, 3.0}, 5), Error);
    EXPECT_EQ(study.tell(trial, TrialState::pruned).values, (std::vector<double>{1.25, 3.5}));
    auto broken = study.ask();
    broken.report({1.0, nan}, 0);
    EXPECT_TRUE(study.tell(broken, TrialState::pruned).values.empty());
  }
  const auto trials = load_study({.study_name = "s", .storage = url}).trials();
  EXPECT_EQ(trials[0].reported(0), (std::vector<double>{1.5, 2.5}));
  EXPECT_EQ(trials[0].intermediate_values.at(4), 1.25);  // what other tools see
  EXPECT_EQ(trials[0].reported_metric(0, "loss"), 7.0);
  EXPECT_TRUE(std::isnan(trials[1].reported(0).at(1)));
}

TEST(MetricPruner, JudgesByTheNamedMetric) {
  auto study = create_study({.sampler = RandomSampler({.seed = 0}),
                             .pruner = MetricPruner(MedianPruner({.n_startup_trials = 3}),
                                                    {.metric = "acc", .direction = Direction::maximize})});
  for (int i = 0; i < 5; ++i) {
    auto trial = study.ask();
    trial.report(1.0, 0, {{"acc", 0.5 + 0.1 * i}});
    study.tell(trial, 1.0);
  }
  auto low = study.ask(), high = study.ask(), none = study.ask();
  low.report(0.0, 0, {{"acc", 0.6}});    // the loss is best, the accuracy below the median
  high.report(9.0, 0, {{"acc", 0.75}});  // the other way round
  none.report(9.0, 0);
  EXPECT_TRUE(low.should_prune());
  EXPECT_FALSE(high.should_prune());
  EXPECT_FALSE(none.should_prune());
}

TEST(MetricPruner, RungsOfTwoMetricsDoNotMeet) {
  const auto halving = [](const std::string& metric) {
    return MetricPruner(SuccessiveHalvingPruner({.min_resource = 1, .reduction_factor = 2}), {.metric = metric});
  };
  auto study = create_study({.sampler = RandomSampler({.seed = 0}), .pruner = AnyPruner({halving("a"), halving("b")})});
  const auto run = [&](double a, double b) {
    auto trial = study.ask();
    trial.report(0.0, 1, {{"a", a}, {"b", b}});
    const bool pruned = trial.should_prune();
    pruned ? study.tell(trial, TrialState::pruned) : study.tell(trial, 0.0);
    return pruned;
  };
  EXPECT_FALSE(run(1, 1));
  EXPECT_FALSE(run(0.5, 0.5));
  EXPECT_TRUE(run(0.1, 2));     // good at a, bad at b
  EXPECT_FALSE(run(0.2, 0.1));  // of four: second at a, first at b
}

// Two objectives that fall along the curve; how far is decided by the trial's place.
std::vector<double> tradeoff(double angle, double badness, int step) {
  return {std::cos(angle) + badness + 1.0 / (step + 1), std::sin(angle) + badness + 1.0 / (step + 1)};
}

TEST(SeveralObjectives, HopelessTrialsArePrunedAndTheFrontIsKept) {
  const std::vector<std::pair<std::string, PrunerRef>> pruners{
      {"median", MedianPruner({.n_startup_trials = 5})},
      {"halving", SuccessiveHalvingPruner({.min_resource = 1, .reduction_factor = 2})},
      {"hyperband", HyperbandPruner({.max_resource = 16, .reduction_factor = 2})}};
  for (const auto& [name, pruner] : pruners) {
    auto study = create_study({.sampler = RandomSampler({.seed = 3}),
                               .pruner = pruner,
                               .study_name = "mo",
                               .directions = {Direction::minimize, Direction::minimize}});
    std::int64_t steps = 0;
    study.optimize(
        [&](Trial& trial) {
          const double angle = trial.suggest_float("angle", 0, 1.57), badness = trial.suggest_float("badness", 0, 1);
          for (int step = 0; step < 16; ++step, ++steps) {
            trial.report(tradeoff(angle, badness, step), step);
            if (trial.should_prune()) throw TrialPruned();
          }
          return tradeoff(angle, badness, 15);
        },
        {.n_trials = 120});
    const auto complete = study.trials({TrialState::complete}), pruned = study.trials({TrialState::pruned});
    EXPECT_GT(pruned.size(), 30u) << name;
    EXPECT_GT(complete.size(), 5u) << name;
    EXPECT_LT(steps, 120 * 16 * 7 / 10) << name;
    const auto mean_badness = [](const std::vector<FrozenTrial>& trials) {
      double sum = 0;
      for (const auto& trial : trials) sum += trial.params.at("badness").as_double();
      return sum / static_cast<double>(trials.size());
    };
    EXPECT_LT(mean_badness(complete), mean_badness(pruned) - 0.1) << name;
  }
}

TEST(SeveralObjectives, ATrialThatDominatesAllIsNeverPruned) {
  for (const auto& pruner :
       {PrunerRef(MedianPruner({.n_startup_trials = 1})), PrunerRef(SuccessiveHalvingPruner({.min_resource = 1})),
        PrunerRef(HyperbandPruner({.max_resource = 8}))}) {
    auto study = create_study({.sampler = RandomSampler({.seed = 0}),
                               .pruner = pruner,
                               .directions = {Direction::minimize, Direction::maximize}});
    for (int i = 0; i < 25; ++i) {
      auto trial = study.ask();
      for (int step = 0; step < 8; ++step) {
        trial.report({100.0 - i - step, i + 0.5 * step}, step);
        EXPECT_FALSE(trial.should_prune()) << i;
      }
      study.tell(trial, {100.0 - i, 1.0 * i});
    }
  }
}

TEST(SeveralObjectives, PatienceEndsWhenEveryLateReportIsDominated) {
  auto study = create_study({.sampler = RandomSampler({.seed = 0}),
                             .pruner = PatientPruner({.patience = 1}),
                             .directions = {Direction::minimize, Direction::minimize}});
  auto worse = study.ask(), traded = study.ask();
  worse.report({1, 1}, 0);
  traded.report({1, 1}, 0);
  for (int step = 1; step < 3; ++step) {
    worse.report({1.0 + step, 1}, step);
    traded.report({1.0 + step, 0.5}, step);
  }
  EXPECT_TRUE(worse.should_prune());
  EXPECT_FALSE(traded.should_prune());
}

// The pruners keep what was reported in order; here their definitions go through all trials instead.
bool has_nan(const std::vector<double>& values) {
  return std::any_of(values.begin(), values.end(), [](double v) { return std::isnan(v); });
}

bool halving_by_definition(const std::vector<FrozenTrial>& trials, const FrozenTrial& trial,
                           const std::vector<Direction>& directions, std::int64_t bracket, const Grouping& bracket_of) {
  const std::int64_t step = trial.intermediate_values.back().first;
  const auto own = trial.reported(step);
  const auto key = [](int rung) { return "completed_rung_" + std::to_string(rung); };
  int rung = 0;
  while (trial.system_attrs.contains(key(rung))) ++rung;
  for (;; ++rung) {
    if (static_cast<double>(step) < std::pow(2, bracket + rung)) return false;
    if (has_nan(own)) return true;
    std::vector<std::vector<double>> pool{to_losses(own, directions)};
    for (const auto& other : trials) {
      const Value* stored = other.system_attrs.find(key(rung));
      if (other.number == trial.number || stored == nullptr || (bracket_of && bracket_of(other) != bracket)) continue;
      std::vector<double> values;
      if (stored->is_list()) {
        for (const auto& v : stored->as_list()) values.push_back(v.as_double());
      } else {
        values.push_back(stored->as_double());
      }
      pool.push_back(to_losses(values, directions));
    }
    const std::size_t n = std::max<std::size_t>(pool.size() / 2, 1);
    const auto better = std::count_if(pool.begin(), pool.end(), [&](const auto& other) { return other < pool[0]; });
    if (directions.size() == 1 ? better >= static_cast<std::ptrdiff_t>(n) : best_by_dominance(pool, n).front() != 0) {
      return true;
    }
  }
}

bool rank_by_definition(const std::vector<FrozenTrial>& trials, const FrozenTrial& trial,
                        const std::vector<Direction>& directions, double percentile) {
  const std::int64_t step = trial.intermediate_values.back().first;
  std::vector<std::vector<double>> others;
  bool any_complete = false;
  for (const auto& other : trials) {
    if (other.state != TrialState::complete) continue;
    any_complete = true;
    const auto values = other.reported(step);
    if (values.size() == directions.size() && !has_nan(values)) others.push_back(to_losses(values, directions));
  }
  if (!any_complete) return false;
  const auto ranks = nondomination_ranks(others);
  std::optional<std::size_t> place;
  for (const auto& [s, first] : trial.intermediate_values) {
    const auto values = trial.reported(s);
    if (has_nan(values)) continue;
    const auto mine = to_losses(values, directions);
    std::size_t behind = 0;
    for (std::size_t i = 0; i < others.size(); ++i) {
      if (dominates(others[i], mine)) behind = std::max(behind, ranks[i] + 1);
    }
    place = std::min(place.value_or(behind), behind);
  }
  if (!place) return true;
  if (others.empty()) return false;
  const auto before = std::count_if(ranks.begin(), ranks.end(), [&](std::size_t rank) { return rank < *place; });
  return static_cast<double>(before) > percentile / 100 * static_cast<double>(others.size());
}

TEST(Pruners, DecideAsTheirDefinitionsOnRandomHistories) {
  std::mt19937_64 random(7);
  const auto below = [&](int n) { return static_cast<int>(random() % static_cast<unsigned>(n)); };
  constexpr auto lower = Direction::minimize, higher = Direction::maximize;
  for (const auto& directions :
       std::vector<std::vector<Direction>>{{lower}, {higher}, {lower, higher}, {lower, lower, lower}}) {
    for (const std::string kind : {"halving", "hyperband", "percentile"}) {
      if (kind == "percentile" && directions.size() == 1) continue;  // PrunerGolden has it
      PrunerRef pruner = PercentilePruner({.percentile = 40, .n_startup_trials = 0});
      if (kind == "halving") pruner = SuccessiveHalvingPruner({.min_resource = 1, .reduction_factor = 2});
      if (kind == "hyperband") pruner = HyperbandPruner({.max_resource = 8, .reduction_factor = 2});
      auto study = create_study(
          {.sampler = RandomSampler({.seed = 0}), .pruner = pruner, .study_name = "s", .directions = directions});
      // Grids of values make ties; several trials are open at a time and end in any order.
      const auto report = [&] {
        std::vector<double> values;
        for (std::size_t i = 0; i < directions.size(); ++i) values.push_back(0.25 * below(12));
        if (below(25) == 0) values.front() = std::nan("");
        return values;
      };
      std::vector<std::pair<Trial, int>> open;
      int n_pruned = 0, n_judged = 0;
      for (int n = 0; n < 150 || !open.empty();) {
        if (n < 150 && (open.size() < 5 || below(6) == 0)) {
          open.emplace_back(study.ask(), 0);
          ++n;
          continue;
        }
        const std::size_t at = static_cast<std::size_t>(below(static_cast<int>(open.size())));
        auto& [trial, step] = open[at];
        trial.report(report(), ++step);
        const auto trials = study.trials();
        const FrozenTrial& now = trials[static_cast<std::size_t>(trial.number())];
        Grouping bracket_of;
        if (kind == "hyperband") {
          StudyView view(directions, {}, "s");
          bracket_of = HyperbandPruner({.max_resource = 8, .reduction_factor = 2}).grouping(view);
        }
        const bool expected =
            kind == "percentile"
                ? rank_by_definition(trials, now, directions, 40)
                : halving_by_definition(trials, now, directions, bracket_of ? bracket_of(now) : 0, bracket_of);
        ASSERT_EQ(trial.should_prune(), expected) << kind << ", trial " << trial.number() << ", step " << step;
        ++n_judged;
        n_pruned += expected;
        if (!expected && step < 8) continue;
        if (expected) {
          study.tell(trial, TrialState::pruned);
        } else {
          study.tell(trial, std::vector<double>(directions.size(), 1.0));
        }
        open.erase(open.begin() + static_cast<std::ptrdiff_t>(at));
      }
      EXPECT_GT(n_pruned, 20) << kind;
      EXPECT_GT(n_judged - n_pruned, 100) << kind;
    }
  }
}

TEST(NondominatedFronts, AreThoseOfAllPointsAtOnce) {
  std::mt19937_64 random(3);
  for (const std::size_t n_objectives : {1u, 2u, 3u}) {
    std::vector<std::vector<double>> points;
    NondominatedFronts fronts;
    for (int n = 0; n < 200; ++n) {
      std::vector<double> point;
      for (std::size_t i = 0; i < n_objectives; ++i) point.push_back(static_cast<double>(random() % 15));
      auto with = points;
      with.push_back(point);
      const auto ranks = nondomination_ranks(with);
      ASSERT_EQ(fronts.rank(point), ranks.back());
      points.push_back(point);
      fronts.add(point);
      std::vector<std::vector<std::vector<double>>> expected(1 + *std::max_element(ranks.begin(), ranks.end()));
      for (std::size_t i = 0; i < ranks.size(); ++i) expected[ranks[i]].push_back(points[i]);
      ASSERT_EQ(fronts.n_fronts(), expected.size());
      std::size_t before = 0;
      for (std::size_t rank = 0; rank < expected.size(); ++rank) {
        auto front = fronts.front(rank);
        std::sort(front.begin(), front.end());
        std::sort(expected[rank].begin(), expected[rank].end());
        ASSERT_EQ(front, expected[rank]);
        ASSERT_EQ(fronts.n_before(rank), before);
        before += front.size();
      }
      ASSERT_EQ(fronts.size(), points.size());
    }
  }
}

TEST(SeveralObjectives, APrunerForOneObjectiveSaysSo) {
  auto study = create_study({.sampler = RandomSampler({.seed = 0}),
                             .pruner = WilcoxonPruner(),
                             .directions = {Direction::minimize, Direction::minimize}});
  auto trial = study.ask();
  trial.report({1, 1}, 0);
  EXPECT_THROW(trial.should_prune(), Error);
}

TEST(PrunersByName, TakeTheirOptionsFromAMap) {
  for (const auto& info : pruner_infos()) {
    const Map needed = info.name == "threshold" ? Map{{"upper", 1.0}} : Map{};
    EXPECT_TRUE(static_cast<bool>(make_pruner(info.name, needed))) << info.name;
    EXPECT_THROW(make_pruner(info.name, {{"no_such_option", 1}}), Error) << info.name;
  }
  // The options arrive: of four reports the second is judged, not the first.
  auto study = create_study({.sampler = RandomSampler({.seed = 0}),
                             .pruner = make_pruner("threshold", {{"upper", 2}, {"n_warmup_steps", 1}})});
  auto trial = study.ask();
  trial.report(3, 0);
  EXPECT_FALSE(trial.should_prune());
  trial.report(3, 1);
  EXPECT_TRUE(trial.should_prune());
  EXPECT_TRUE(static_cast<bool>(make_pruner("patient", {{"pruner", "halving"}, {"min_resource", "auto"}})));
  EXPECT_TRUE(static_cast<bool>(make_pruner("hyperband", {{"max_resource", 27}})));
  EXPECT_THROW(make_pruner("patient", {{"pruner", "halving"}, {"max_resource", 3}}), Error);
  EXPECT_THROW(make_pruner("hyperband", {{"max_resource", "most"}}), Error);
  EXPECT_THROW(make_pruner("hyperband", {{"reduction_factor", "three"}}), Error);
  try {
    make_pruner("hyperban");
    FAIL() << "an unknown pruner was made";
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("hyperband"), std::string::npos);
  }
}

}  // namespace
}  // namespace levin::tune
