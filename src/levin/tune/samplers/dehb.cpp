#include <levin/tune/samplers/dehb.h>

#include <levin/tune/samplers/unit_cube.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <string>
#include <vector>

namespace levin::tune {
namespace {

constexpr const char* budget_key = "dehb:budget";  // in steps
constexpr const char* place_key = "dehb:place";    // [budget's index, place in its subpopulation]
constexpr const char* last_key = "dehb:last";      // whether the budget is the whole trial

using Point = std::vector<double>;

// Where a trial stands in the sequence of brackets.
struct Job {
  bool first_bracket = false;
  std::size_t rung = 0;    // of its bracket
  std::size_t budget = 0;  // index, from the smallest
  std::size_t place = 0;   // within the rung
  std::size_t rung_size = 0;
};

struct Schedule {
  std::vector<std::int64_t> budgets;               // steps
  std::vector<std::vector<std::size_t>> brackets;  // sizes of the rungs

  explicit Schedule(const DEHBSamplerOptions& o) {
    const double eta = static_cast<double>(o.reduction_factor);
    std::size_t n = 1;
    for (double r = static_cast<double>(o.min_resource) * eta; r <= static_cast<double>(o.max_resource); r *= eta) ++n;
    for (std::size_t k = 0; k < n; ++k) {
      const double r = static_cast<double>(o.max_resource) / std::pow(eta, static_cast<double>(n - 1 - k));
      budgets.push_back(std::max<std::int64_t>(1, std::llround(r)));
    }
    for (std::size_t s = n; s-- > 0;) {
      const double start =
          std::floor(static_cast<double>(n) / static_cast<double>(s + 1)) * std::pow(eta, static_cast<double>(s));
      std::vector<std::size_t> rungs;
      for (std::size_t j = 0; j <= s; ++j) {
        rungs.push_back(
            static_cast<std::size_t>(std::max(1.0, std::floor(start / std::pow(eta, static_cast<double>(j))))));
      }
      brackets.push_back(std::move(rungs));
    }
  }

  Job job(std::int64_t number) const {
    std::size_t total = 0;
    for (const auto& rungs : brackets) {
      for (const auto size : rungs) total += size;
    }
    auto left = static_cast<std::size_t>(number);
    const bool first_round = left < total;
    left %= total;
    for (std::size_t b = 0; b < brackets.size(); ++b) {
      for (std::size_t j = 0; j < brackets[b].size(); ++j) {
        if (left < brackets[b][j]) return {first_round && b == 0, j, b + j, left, brackets[b][j]};
        left -= brackets[b][j];
      }
    }
    return {};  // not reached: left < total
  }
};

struct Member {
  double loss = 0;
  Point point;
  TrialPtr trial;
};

// The subpopulations as the trials so far have left them, by budget and place.
std::vector<std::map<std::size_t, Member>> populations(StudyView& study, const UnitCube& cube,
                                                       std::size_t n_budgets) {
  std::vector<std::map<std::size_t, Member>> out(n_budgets);
  const double sign = study.direction() == Direction::maximize ? -1 : 1;
  for (const auto& trial : study.trials().by_number()) {
    if (!is_finished(trial->state)) continue;
    const Value* place = trial->system_attrs.find(place_key);
    if (place == nullptr || !place->is_list() || place->as_list().size() != 2) continue;
    const auto k = static_cast<std::size_t>(place->as_list()[0].as_int());
    const auto i = static_cast<std::size_t>(place->as_list()[1].as_int());
    auto point = cube.to_unit(*trial);
    if (k >= n_budgets || !point) continue;
    double loss = std::numeric_limits<double>::infinity();
    if (trial->infeasibility() == 0) {
      if (trial->state == TrialState::complete) loss = sign * trial->values.front();
      if (trial->state == TrialState::pruned && !trial->intermediate_values.empty()) {
        loss = sign * trial->intermediate_values.back().second;
      }
    }
    if (std::isnan(loss)) loss = std::numeric_limits<double>::infinity();
    const auto it = out[k].find(i);
    if (it == out[k].end() || loss <= it->second.loss) out[k][i] = {loss, std::move(*point), trial};
  }
  return out;
}

std::vector<Member> ranked(const std::map<std::size_t, Member>& population) {
  std::vector<Member> out;
  for (const auto& entry : population) out.push_back(entry.second);
  std::stable_sort(out.begin(), out.end(), [](const Member& a, const Member& b) { return a.loss < b.loss; });
  return out;
}

}  // namespace

DEHBSampler::DEHBSampler(DEHBSamplerOptions options)
    : options_(options), seed_(seed_or_random(options.seed)), random_({.seed = seed_}) {
  const auto require = [](bool holds, const char* what, double value) {
    if (!holds) throw Error({.what = what, .value = format_double(value), .where = "DEHBSampler", .hint = {}});
  };
  require(options.min_resource >= 1, "min_resource must be at least 1", static_cast<double>(options.min_resource));
  require(options.max_resource >= options.min_resource, "max_resource must not be below min_resource",
          static_cast<double>(options.max_resource));
  require(options.reduction_factor >= 2, "reduction_factor must be at least 2",
          static_cast<double>(options.reduction_factor));
  require(options.mutation_factor > 0 && options.mutation_factor <= 2, "mutation_factor must lie between 0 and 2",
          options.mutation_factor);
  require(options.crossover_prob >= 0 && options.crossover_prob <= 1, "crossover_prob must lie between 0 and 1",
          options.crossover_prob);
}

SearchSpace DEHBSampler::infer_relative_search_space(StudyView& study, const FrozenTrial&) {
  study.direction();  // one objective
  std::vector<TrialPtr> trials;
  for (const auto& trial : study.trials().finished()) {
    if (trial->state != TrialState::fail && !trial->params.empty()) trials.push_back(trial);
  }
  return common_space(trials);
}

Map DEHBSampler::sample_relative(StudyView& study, const FrozenTrial& trial, const SearchSpace& relative) {
  const Schedule schedule(options_);
  const Job job = schedule.job(trial.number);
  study.set_system_attr(budget_key, schedule.budgets[job.budget]);
  study.set_system_attr(place_key, List{static_cast<std::int64_t>(job.budget), static_cast<std::int64_t>(job.place)});
  study.set_system_attr(last_key, job.budget + 1 == schedule.budgets.size());
  const UnitCube cube(relative);
  if (cube.size() == 0) return {};

  Rng rng(seed_, "tune.dehb", static_cast<std::uint64_t>(trial.number));
  const auto all = populations(study, cube, schedule.budgets.size());
  const auto& own = all[job.budget];
  std::vector<Member> below;  // the best of the budget below
  if (job.budget > 0) {
    below = ranked(all[job.budget - 1]);
    if (below.size() > job.rung_size) below.resize(job.rung_size);
  }
  const auto target = own.find(job.place);
  if (job.first_bracket || target == own.end()) {
    // Successive halving: the next best of the budget below goes on as it is, and the lowest budget begins at random.
    if (job.rung == 0 || below.empty()) return cube.to_params(cube.random(rng));
    Map params;
    for (std::size_t j = 0; j < cube.size(); ++j) {
      params[cube.name(j)] = below[job.place % below.size()].trial->params.at(cube.name(j));
    }
    return params;
  }

  std::vector<Point> parents;
  if (job.rung > 0) {
    for (const auto& member : below) parents.push_back(member.point);
  } else {
    for (const auto& entry : own) parents.push_back(entry.second.point);
  }
  for (std::size_t k = 0; k < all.size() && parents.size() < 3; ++k) {
    for (const auto& entry : all[k]) parents.push_back(entry.second.point);
  }
  while (parents.size() < 3) parents.push_back(cube.random(rng));
  for (std::size_t i = 0; i < 3; ++i) std::swap(parents[i], parents[i + rng.below(parents.size() - i)]);

  Point child = target->second.point;
  const std::size_t always = rng.below(child.size());
  for (std::size_t j = 0; j < child.size(); ++j) {
    double mutant = parents[0][j] + options_.mutation_factor * (parents[1][j] - parents[2][j]);
    if (mutant < 0 || mutant > 1) mutant = rng.uniform();
    if (rng.uniform() < options_.crossover_prob || j == always) child[j] = mutant;
  }
  return cube.to_params(child);
}

Value DEHBSampler::sample_independent(StudyView& study, const FrozenTrial& trial, const std::string& name,
                                      const Distribution& distribution) {
  return random_.sample_independent(study, trial, name, distribution);
}

bool BudgetPruner::prune(StudyView&, const FrozenTrial& trial) {
  const auto step = trial.last_step();
  const Value* budget = trial.system_attrs.find(budget_key);
  const Value* last = trial.system_attrs.find(last_key);
  if (!step || budget == nullptr || !budget->is_int()) return false;
  if (last != nullptr && last->is_bool() && last->as_bool()) return false;
  return *step >= budget->as_int();
}

}  // namespace levin::tune
