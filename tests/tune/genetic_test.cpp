// Genetic samplers and what they stand on: fronts, crowding, niches, hypervolume, crossovers.
#include <levin/tune/pareto.h>
#include <levin/tune/samplers/elite_selection.h>
#include <levin/tune/samplers/nsga.h>
#include <levin/tune/samplers/random.h>
#include <levin/tune/samplers/scale.h>
#include <levin/tune/space.h>
#include <levin/tune/study.h>

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <set>

#include <tune/golden.h>

namespace levin::tune {
namespace {

std::vector<Direction> directions_of(const Value& words) {
  std::vector<Direction> out;
  for (const auto& word : words.as_list()) {
    out.push_back(word == Value("maximize") ? Direction::maximize : Direction::minimize);
  }
  return out;
}

TEST(GeneticGolden, FrontsCrowdingAndHypervolume) {
  const Map file = golden("fronts");
  for (const auto& item : file.at("cases").as_list()) {
    const Map& test = item.as_map();
    const auto directions = directions_of(test.at("directions"));
    const auto values = rows(test.at("values"));
    std::vector<FrozenTrial> trials;
    std::vector<Individual> population;
    for (std::size_t i = 0; i < values.size(); ++i) {
      FrozenTrial trial;
      trial.number = static_cast<std::int64_t>(i);
      trial.state = TrialState::complete;
      trial.values = values[i];
      trial.system_attrs = test.at("attrs").as_list()[i].as_map();
      trials.push_back(trial);
      population.push_back(to_individual(std::make_shared<const FrozenTrial>(trial), directions));
    }
    const auto fronts = constrained_fronts(population);
    const List& expected = test.at("fronts").as_list();
    ASSERT_EQ(fronts.size(), expected.size());
    for (std::size_t r = 0; r < fronts.size(); ++r) {
      std::map<double, double> distance;
      for (const auto& entry : rows(expected[r])) distance[entry[0]] = entry[1];
      ASSERT_EQ(fronts[r].size(), distance.size()) << directions.size() << " objectives, front " << r;
      std::vector<std::vector<double>> losses;
      for (const auto i : fronts[r]) losses.push_back(population[i].losses);
      const auto actual = crowding_distances(losses);
      // Which of equal points counts as the outer one is arbitrary: their distances are compared as a set.
      std::vector<double> mine, theirs;
      for (std::size_t k = 0; k < fronts[r].size(); ++k) {
        ASSERT_TRUE(distance.contains(static_cast<double>(fronts[r][k])));
        mine.push_back(std::isinf(actual[k]) ? 1e300 : actual[k]);
        const double other = distance[static_cast<double>(fronts[r][k])];
        theirs.push_back(std::isinf(other) ? 1e300 : other);
      }
      std::set<std::vector<double>> coordinates;
      std::size_t n_coordinates = 0;
      for (const auto& point : losses) {
        for (std::size_t j = 0; j < point.size(); ++j, ++n_coordinates) {
          coordinates.insert({static_cast<double>(j), point[j]});
        }
      }
      if (coordinates.size() < n_coordinates) continue;  // ties in a coordinate
      for (std::size_t k = 0; k < mine.size(); ++k) EXPECT_NEAR(mine[k], theirs[k], 1e-12 * theirs[k]);
    }
    if (!test.contains("hypervolume")) continue;
    const double volume = test.at("hypervolume").as_double();
    std::vector<std::vector<double>> losses;
    for (const auto& individual : population) losses.push_back(individual.losses);
    const auto reference = numbers(test.at("reference"));
    EXPECT_NEAR(hypervolume(losses, reference), volume, 1e-12 * volume) << directions.size() << " objectives";
    std::vector<double> bound = reference;
    for (std::size_t j = 0; j < bound.size(); ++j) {
      if (directions[j] == Direction::maximize) bound[j] = -bound[j];
    }
    EXPECT_NEAR(hypervolume(trials, directions, bound), volume, 1e-12 * volume);
  }
}

TEST(GeneticGolden, Niches) {
  const Map file = golden("niches");
  for (const auto& item : file.at("cases").as_list()) {
    const Map& test = item.as_map();
    const auto values = rows(test.at("values")), points = rows(test.at("points")), expected = rows(test.at("normal"));
    const auto divisions = static_cast<std::size_t>(test.at("dividing_parameter").as_int());
    auto mine = reference_points(values.front().size(), divisions), theirs = points;
    std::sort(mine.begin(), mine.end());
    std::sort(theirs.begin(), theirs.end());
    EXPECT_EQ(mine, theirs);
    const auto normal = normalise_losses(values);
    const auto niches = nearest_lines(normal, points);
    const auto closest = numbers(test.at("closest")), distance = numbers(test.at("distance"));
    for (std::size_t i = 0; i < values.size(); ++i) {
      for (std::size_t j = 0; j < values[i].size(); ++j) {
        EXPECT_NEAR(normal[i][j], expected[i][j], 1e-7 * std::max(1.0, std::abs(expected[i][j])));
      }
      EXPECT_NEAR(niches[i].distance, distance[i], 1e-6 * std::max(1.0, distance[i]));
      // Where two lines are equally near, either may be named.
      if (static_cast<double>(niches[i].line) == closest[i]) continue;
      const auto other = nearest_lines({normal[i]}, {points[static_cast<std::size_t>(closest[i])]});
      EXPECT_NEAR(other.front().distance, niches[i].distance, 1e-9);
    }
  }
}

std::vector<Individual> individuals(const std::vector<std::vector<double>>& losses) {
  std::vector<Individual> out;
  for (const auto& point : losses) {
    auto trial = std::make_shared<FrozenTrial>();
    trial->number = static_cast<std::int64_t>(out.size());
    trial->values = point;
    out.push_back({trial, point, 0});
  }
  return out;
}

std::set<std::int64_t> numbers_of(const std::vector<Individual>& population) {
  std::set<std::int64_t> out;
  for (const auto& individual : population) out.insert(individual.trial->number);
  return out;
}

TEST(EliteSelection, CrowdingKeepsTheEndsAndTheLonely) {
  const auto population = individuals({{0, 10}, {1, 9}, {1.1, 8.9}, {5, 5}, {10, 0}, {11, 11}});
  EXPECT_EQ(numbers_of(select_by_crowding(population, 4)), (std::set<std::int64_t>{0, 2, 3, 4}));
  EXPECT_EQ(numbers_of(select_by_crowding(population, 6)).size(), 6u);
}

TEST(EliteSelection, NichesAreFilledEvenly) {
  std::vector<std::vector<double>> losses;
  for (int i = 0; i < 30; ++i) losses.push_back({0.001 * i, 1 - 0.001 * i});  // crowded at one end
  losses.push_back({0.5, 0.5});
  losses.push_back({1, 0});
  Rng rng(0);
  const auto kept = numbers_of(select_by_niche(individuals(losses), 4, reference_points(2, 2), rng));
  EXPECT_EQ(kept.size(), 4u);
  EXPECT_TRUE(kept.contains(30));
  EXPECT_TRUE(kept.contains(31));
}

TEST(Scale, GoesThereAndBack) {
  for (const auto& d : {uniform(-3, 7), loguniform(1e-5, 0.1), quniform(0, 1, 0.1), randint(-3, 9), lograndint(1, 1001),
                        qrandint(3, 19, 4)}) {
    const Scale scale(d);
    for (const double u : {0.0, 0.1, 0.5, 0.77, 1.0}) {
      const double internal = scale.from_unit(u);
      EXPECT_TRUE(d.contains(internal)) << d.to_text() << " at " << u;
      EXPECT_EQ(scale.from_unit(scale.to_unit(internal)), scale.from_scale(scale.to_scale(internal))) << d.to_text();
      EXPECT_NEAR(scale.from_scale(scale.to_scale(internal)), internal, 1e-12 * std::max(1.0, std::abs(internal)));
    }
    EXPECT_TRUE(d.contains(scale.from_scale(scale.low() - 1)));
    EXPECT_TRUE(d.contains(scale.from_scale(scale.high() + 1)));
  }
}

// Mean and variance of a child's genes, against what follows from the definition; bands of five standard errors, which
// a right crossover with another seed would leave once in a million.
TEST(Crossover, ChildrenAreSpreadAsDefined) {
  const std::vector<Genes> two{{2, 6}, {4, 6}}, three{{2, 6}, {4, 6}, {3, 9}};
  const std::vector<GeneRange> ranges{{0, 10}, {0, 10}};
  constexpr int n = 20000;
  const auto moments = [&](const Crossover& crossover, std::size_t gene) {
    Rng rng(1);
    double sum = 0, squares = 0;
    for (int i = 0; i < n; ++i) {
      const double x = crossover.cross(crossover.n_parents() == 2 ? two : three, ranges, rng, true)[gene];
      sum += x;
      squares += x * x;
    }
    const double mean = sum / n;
    return std::pair(mean, squares / n - mean * mean);
  };
  const auto expect = [&](const Crossover& crossover, std::size_t gene, double mean, double variance) {
    const auto [m, v] = moments(crossover, gene);
    EXPECT_NEAR(m, mean, 5 * std::sqrt(variance / n));
    EXPECT_NEAR(v, variance, 5 * variance * std::sqrt(3.0 / n));
  };
  expect(UniformCrossover(0.5), 0, 3, 1);
  expect(UniformCrossover(0.9), 0, 2.2, 0.36);
  expect(BLXAlphaCrossover(0.5), 0, 3, 16.0 / 12);
  // Uniform in a triangle with the centre of the parents: a variance of (sum of squares of the corners) / 12.
  const double e2 = 4;  // sqrt(2 + 2) squared
  expect(SPXCrossover(), 0, 3, e2 * 2 / 12);
  expect(SPXCrossover(), 1, 7, e2 * 6 / 12);
  expect(UNDXCrossover(), 0, 3, 0.0625 * 4);
  expect(UNDXCrossover(), 1, 6, 9 * std::pow(0.35 * 0.35 / 2, 2));
  // SBX is symmetric around the parents and stays inside.
  EXPECT_NEAR(moments(SBXCrossover(), 0).first, 3, 0.05);
  EXPECT_NEAR(moments(SBXCrossover({.eta = 2}), 0).first, 3, 0.1);
  Rng rng(2);
  for (int i = 0; i < 2000; ++i) {
    const double x = SBXCrossover({.eta = 0.5}).cross({{0.1}, {9.5}}, std::vector<GeneRange>{{0, 10}}, rng, false)[0];
    EXPECT_TRUE(x >= 0 && x <= 10) << x;
  }
  for (int i = 0; i < 2000; ++i) {
    const double x = PolynomialMutation(5).mutate(9.0, {0, 10}, rng);
    EXPECT_TRUE(x >= 0 && x <= 10) << x;
  }
  EXPECT_EQ(PolynomialMutation().mutate(1, {1, 1}, rng), 1);
}

TEST(Genetic, RefuseBadOptions) {
  EXPECT_THROW(NSGAIISampler({.population_size = 1}), Error);
  EXPECT_THROW(NSGAIISampler({.population_size = 2, .crossover = SPXCrossover()}), Error);
  EXPECT_THROW(NSGAIISampler({.mutation_prob = 1.5}), Error);
  EXPECT_THROW(NSGAIISampler({.crossover_prob = -0.1}), Error);
  EXPECT_THROW(NSGAIISampler({.swapping_prob = std::nan("")}), Error);
  EXPECT_THROW(NSGAIIISampler({.dividing_parameter = 0}), Error);
  EXPECT_THROW(SBXCrossover({.eta = -1}), Error);
  EXPECT_THROW(VSBXCrossover({.use_child_gene_prob = 0}), Error);
  EXPECT_THROW(UniformCrossover(2), Error);
  EXPECT_THROW(PolynomialMutation(-1), Error);
  auto study = create_study({.sampler = NSGAIIISampler({.population_size = 4, .reference_points = {{1, 0, 0}}}),
                             .directions = {Direction::minimize, Direction::minimize}});
  const auto objective = [](Trial& trial) {
    const double x = trial.suggest_float("x", 0, 1);
    return std::vector<double>{x, 1 - x};
  };
  EXPECT_THROW(study.optimize(objective, {.n_trials = 10}), Error);
}

TEST(NSGAIISampler, GenerationsFollowOneAnother) {
  auto study = create_study({.sampler = NSGAIISampler({.population_size = 10, .seed = 0})});
  study.optimize(
      [](Trial& trial) {
        if (trial.number() % 7 == 3) throw TrialPruned();
        return trial.suggest_float("x", 0, 1);
      },
      {.n_trials = 60});
  std::map<std::int64_t, int> complete;
  std::int64_t last = 0;
  for (const auto& trial : study.trials({TrialState::complete})) {
    const std::int64_t generation = trial.system_attrs.at("NSGAIISampler:generation").as_int();
    EXPECT_GE(generation, last);
    last = generation;
    ++complete[generation];
  }
  for (const auto& [generation, count] : complete) {
    if (generation < last) {
      EXPECT_EQ(count, 10) << generation;
    }
  }
  EXPECT_EQ(last, 5);
}

TEST(NSGAIISampler, ChildrenTakeTheirGenesFromTheParents) {
  // Without mutation every choice of a later generation occurs among the parents.
  auto study = create_study({.sampler = NSGAIISampler({.population_size = 6, .mutation_prob = 0.0, .seed = 1})});
  study.optimize(
      [](Trial& trial) {
        return trial.suggest_float("x", 0, 1) + (trial.suggest_categorical("c", {"a", "b", "d"}) == "a" ? 0.0 : 1.0);
      },
      {.n_trials = 60});
  std::set<double> first;
  for (const auto& trial : study.trials()) {
    const double x = trial.params.at("x").as_double();
    if (trial.number < 6) {
      first.insert(x);
    } else {
      EXPECT_TRUE(first.contains(x)) << trial.number;
    }
  }
}

TEST(NSGAIISampler, KeepsToConstraints) {
  const auto feasible_share = [](const SamplerRef& sampler) {
    auto study = create_study({.sampler = sampler, .directions = {Direction::minimize, Direction::minimize}});
    study.optimize(
        [](Trial& trial) {
          const double x = trial.suggest_float("x", 0, 5), y = trial.suggest_float("y", 0, 5);
          trial.set_constraint("far", 1 - x - y + (x > 1 ? 10 * (x - 1) : 0));  // a narrow strip
          return std::vector<double>{x, y};
        },
        {.n_trials = 300});
    const auto trials = study.trials();
    return static_cast<double>(std::count_if(trials.begin() + 150, trials.end(),
                                             [](const auto& trial) { return trial.infeasibility() == 0; })) /
           static_cast<double>(trials.size() - 150);
  };
  const double random = feasible_share(RandomSampler({.seed = 0}));
  EXPECT_GT(feasible_share(NSGAIISampler({.population_size = 20, .seed = 0})), 1.8 * random);
  EXPECT_GT(feasible_share(NSGAIIISampler({.population_size = 20, .seed = 0})), 1.8 * random);
}

TEST(NSGAIISampler, BeatsRandomSearchOnTheFront) {
  // ZDT1 with 6 variables: hypervolume up to (1.1, 7), mean of 3 seeds; random search stays far from the front.
  const auto volume = [](const std::function<SamplerRef(std::uint64_t)>& make) {
    double sum = 0;
    for (std::uint64_t seed = 0; seed < 3; ++seed) {
      auto study = create_study({.sampler = make(seed), .directions = {Direction::minimize, Direction::minimize}});
      study.optimize(
          [](Trial& trial) {
            double g = 1;
            const double x = trial.suggest_float("x0", 0, 1);
            for (const char* name : {"x1", "x2", "x3", "x4", "x5"}) g += 9.0 / 5 * trial.suggest_float(name, 0, 1);
            return std::vector<double>{x, g * (1 - std::sqrt(x / g))};
          },
          {.n_trials = 600});
      sum += hypervolume(study.trials(), study.directions(), {1.1, 7});
    }
    return sum / 3;
  };
  const double random = volume([](auto seed) -> SamplerRef { return RandomSampler({.seed = seed}); });
  const std::vector<CrossoverRef> crossovers{
      {}, BLXAlphaCrossover(), SPXCrossover(), SBXCrossover(), VSBXCrossover(), UNDXCrossover()};
  for (const auto& crossover : crossovers) {
    const double mine = volume([&](auto seed) -> SamplerRef {
      return NSGAIISampler({.population_size = 20, .crossover = crossover, .seed = seed});
    });
    EXPECT_GT(mine, random + 0.3);
  }
  EXPECT_GT(volume([](auto seed) -> SamplerRef { return NSGAIIISampler({.population_size = 20, .seed = seed}); }),
            random + 0.3);
}

TEST(NSGAIISampler, StrategiesCanBeReplaced) {
  int selected = 0, made = 0, ended = 0;
  auto study = create_study(
      {.sampler = NSGAIISampler(
           {.population_size = 4,
            .seed = 0,
            .elite_population_selection =
                [&](const std::vector<Individual>& population, Rng&) {
                  ++selected;
                  return std::vector<Individual>(population.begin(), population.begin() + 4);
                },
            .child_generation =
                [&](StudyView&, const SearchSpace&, const std::vector<Individual>& parents, Rng&) {
                  ++made;
                  return Map{{"x", parents.front().trial->params.at("x")}};
                },
            .after_trial = [&](StudyView&, const FrozenTrial&, TrialState, const std::vector<double>&) { ++ended; }})});
  study.optimize([](Trial& trial) { return trial.suggest_float("x", 0, 1); }, {.n_trials = 12});
  EXPECT_EQ(selected, 2);
  EXPECT_EQ(made, 8);
  EXPECT_EQ(ended, 12);
}

TEST(Pareto, FrontOfTrials) {
  std::vector<FrozenTrial> trials(3);
  const std::vector<std::vector<double>> values{{1, 1}, {2, 2}, {2, 0.5}};
  for (std::size_t i = 0; i < 3; ++i) {
    trials[i].number = static_cast<std::int64_t>(i);
    trials[i].state = TrialState::complete;
    trials[i].values = values[i];
  }
  const std::vector<Direction> directions{Direction::minimize, Direction::maximize};
  EXPECT_EQ(pareto_front(trials, directions).size(), 2u);
  EXPECT_EQ(hypervolume(trials, directions, {3, 0}), 1 * 2 + 1 * 1);
  EXPECT_THROW(hypervolume(trials, directions, {3}), Error);
  EXPECT_TRUE(std::isinf(hypervolume(trials, directions, {std::numeric_limits<double>::infinity(), 0})));
  trials[1].values.pop_back();
  EXPECT_THROW(pareto_front(trials, directions), Error);
}

}  // namespace
}  // namespace levin::tune
