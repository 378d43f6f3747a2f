#include <levin/tune/samplers/grid.h>

#include <levin/core/console.h>
#include <levin/core/rng.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <numeric>
#include <random>

namespace levin::tune {
namespace {

constexpr std::size_t most_combinations = 10'000'000;

bool same_value(const Value& a, const Value& b) {
  const bool both_nan = a.is_float() && b.is_float() && std::isnan(a.as_double()) && std::isnan(b.as_double());
  return both_nan || a == b;
}

// 0..n-1 in the order into which numpy's RandomState(seed).shuffle brings a list, which is the order Optuna tries.
std::vector<std::uint32_t> shuffled(std::size_t n, std::uint64_t seed) {
  std::mt19937 random(static_cast<std::mt19937::result_type>(seed));
  std::vector<std::uint32_t> order(n);
  std::iota(order.begin(), order.end(), std::uint32_t{0});
  for (std::size_t i = n; i-- > 1;) {
    const auto mask = static_cast<std::uint32_t>(std::bit_ceil(i + 1) - 1);
    std::uint32_t j = 0;
    do {
      j = static_cast<std::uint32_t>(random()) & mask;
    } while (j > i);
    std::swap(order[i], order[j]);
  }
  return order;
}

}  // namespace

Grid grid_of(const SearchSpace& space) {
  Grid grid;
  for (const auto& [name, distribution] : space) {
    if (distribution.is_categorical()) {
      grid[name] = distribution.choices();
      continue;
    }
    const double points =
        distribution.step() == 0 ? 0 : (distribution.high() - distribution.low()) / distribution.step() + 1;
    if (distribution.step() == 0 || points > 1e6) {
      throw Error({.what = distribution.step() == 0 ? "a continuous range has no grid"
                                                    : "this range has too many points for a grid",
                   .value = distribution.to_text(),
                   .where = "parameter \"" + name + "\"",
                   .hint = "use choice(...) or quniform(low, high, q)"});
    }
    for (std::int64_t i = 0; i < std::llround(points); ++i) {
      const double point = distribution.low() + static_cast<double>(i) * distribution.step();
      grid[name].push_back(distribution.to_external(std::min(point, distribution.high())));
    }
  }
  return grid;
}

GridSampler::GridSampler(Grid grid, GridSamplerOptions options) : grid_(std::move(grid)), seed_(options.seed) {
  const auto fail = [](const std::string& what, const std::string& value) {
    throw Error({.what = what, .value = value, .where = "GridSampler", .hint = {}});
  };
  if (grid_.empty()) fail("a grid needs at least one parameter", "none");
  if (seed_ > 0xffffffffU) fail("the seed of a grid has 32 bits", std::to_string(seed_));
  std::size_t n = 1;
  for (const auto& [name, values] : grid_) {
    if (values.empty()) fail("a parameter of a grid needs at least one value", "\"" + name + "\"");
    n *= values.size();
    if (n > most_combinations)
      fail("this grid is too large", "more than " + std::to_string(most_combinations) + " combinations");
  }
  order_ = shuffled(n, seed_);
}

bool GridSampler::same_grid(const Value& stored) const {
  if (!stored.is_map() || stored.as_map().size() != grid_.size()) return false;
  for (const auto& [name, values] : grid_) {
    const Value* other = stored.as_map().find(name);
    if (other == nullptr || !other->is_list()) return false;
    if (!std::equal(values.begin(), values.end(), other->as_list().begin(), other->as_list().end(), same_value))
      return false;
  }
  return true;
}

// The combinations that nobody runs or has run; if there are none, those that are still running.
std::vector<std::int64_t> GridSampler::open_ids(StudyView& study) const {
  std::vector<bool> done(size(), false), running(size(), false);
  const auto mark = [&](const TrialPtr& trial, std::vector<bool>& marks) {
    const Value* id = trial->system_attrs.find("grid_id");
    const Value* grid = trial->system_attrs.find("search_space");
    if (id == nullptr || !id->is_int() || grid == nullptr || !same_grid(*grid)) return;
    if (id->as_int() >= 0 && std::cmp_less(id->as_int(), size())) marks[static_cast<std::size_t>(id->as_int())] = true;
  };
  for (const auto& trial : study.trials().finished()) mark(trial, done);
  for (const auto& trial : study.trials().unfinished()) {
    if (trial->state == TrialState::running) mark(trial, running);
  }
  std::vector<std::int64_t> untouched, unfinished;
  for (std::size_t i = 0; i < size(); ++i) {
    if (done[i]) continue;
    unfinished.push_back(static_cast<std::int64_t>(i));
    if (!running[i]) untouched.push_back(static_cast<std::int64_t>(i));
  }
  return untouched.empty() ? unfinished : untouched;
}

void GridSampler::before_trial(StudyView& study, const FrozenTrial& trial) {
  if (trial.system_attrs.contains("grid_id") || trial.system_attrs.contains("fixed_params")) return;
  std::int64_t id = trial.number;
  if (!std::cmp_less(id, size())) {
    auto open = open_ids(study);
    if (open.empty()) {
      console::warning("the grid is exhausted: a combination runs once more");
      open.resize(size());
      std::iota(open.begin(), open.end(), std::int64_t{0});
    }
    Rng rng(seed_, "tune.grid", static_cast<std::uint64_t>(trial.number));
    id = open[rng.below(open.size())];
  }
  Map grid;
  for (const auto& [name, values] : grid_) grid[name] = values;
  study.set_system_attr("search_space", std::move(grid));
  study.set_system_attr("grid_id", id);
}

Value GridSampler::sample_independent(StudyView&, const FrozenTrial& trial, const std::string& name,
                                      const Distribution& distribution) {
  const Value* id = trial.system_attrs.find("grid_id");
  if (id == nullptr || !id->is_int() || id->as_int() < 0 || !std::cmp_less(id->as_int(), size())) {
    throw Error({.what = "an enqueued trial must give all parameters when a grid is searched",
                 .value = "trial " + std::to_string(trial.number),
                 .where = "parameter \"" + name + "\"",
                 .hint = {}});
  }
  if (!grid_.contains(name)) {
    std::vector<std::string> names;
    for (const auto& entry : grid_) names.push_back(entry.first);
    throw Error({.what = "the grid has no such parameter",
                 .value = "\"" + name + "\"",
                 .where = "GridSampler",
                 .hint = did_you_mean(name, names)});
  }
  std::size_t rest = order_[static_cast<std::size_t>(id->as_int())];
  for (auto it = grid_.rbegin(); it != grid_.rend(); ++it) {
    const std::size_t index = rest % it->second.size();
    rest /= it->second.size();
    if (it->first != name) continue;
    const Value& value = it->second[index];
    if (!distribution.contains(distribution.to_internal(value))) {
      console::warn_once("parameter \"" + name + "\": the grid's " + value.to_string() + " lies outside " +
                         distribution.to_text() + "; it is used all the same");
    }
    return value;
  }
  return {};
}

void GridSampler::after_trial(StudyView& study, const FrozenTrial& trial, TrialState, const std::vector<double>&) {
  const auto open = open_ids(study);
  const Value* id = trial.system_attrs.find("grid_id");
  // This trial itself is still running as far as the study shows.
  if (open.empty() || (open.size() == 1 && id != nullptr && *id == Value(open.front()))) study.stop();
}

}  // namespace levin::tune
