#include <levin/tune/samplers/space_sampler.h>

#include <levin/core/console.h>
#include <levin/core/json.h>
#include <levin/core/rng.h>
#include <levin/tune/samplers/random.h>
#include <levin/tune/samplers/tpe.h>

#include <algorithm>
#include <cmath>
#include <mutex>
#include <unordered_set>

namespace levin::tune {
namespace {

bool is_discrete(const Distribution& distribution) {
  return distribution.is_categorical() || distribution.step() > 0 || distribution.quantum() > 0 ||
         distribution.single();
}

Value settled(const Distribution& distribution, const Value& value) {
  return distribution.to_external(distribution.rounded(distribution.to_internal(value)));
}

Value random_value(const Distribution& distribution, Rng& rng) {
  return settled(distribution, draw(distribution, rng));
}

// A value near `from`: `width` is a share of the range.
Value near(const Distribution& distribution, const Value& from, double width, Rng& rng) {
  if (distribution.is_categorical() || distribution.single()) {
    return rng.uniform() < width ? random_value(distribution, rng) : from;
  }
  const bool log = distribution.log();
  const double low = log ? std::log(distribution.low()) : distribution.low();
  const double high = log ? std::log(distribution.high()) : distribution.high();
  const double at = distribution.to_internal(from);
  double moved = (log ? std::log(at) : at) + rng.normal() * width * (high - low);
  moved = std::clamp(moved, low, high);
  moved = std::clamp(log ? std::exp(moved) : moved, distribution.low(), distribution.high());
  if (const double step = distribution.step(); step > 0) {
    moved =
        std::min(distribution.low() + std::nearbyint((moved - distribution.low()) / step) * step, distribution.high());
  }
  return distribution.to_external(distribution.rounded(moved));
}

// Moves the continuous parameters onto the linear relations, one relation after the other, round by round.
void project(const SearchSpace& space, const Map& fixed, Map& params) {
  const auto movable = [&](const std::string& name) {
    const Distribution& distribution = space.at(name);
    return !fixed.contains(name) && distribution.kind() == Distribution::Kind::floating && !is_discrete(distribution);
  };
  for (int round = 0; round < 200; ++round) {
    bool moved = false;
    for (const auto& relation : space.relations()) {
      if (!relation.linear() || relation.holds(params)) continue;
      double sum = relation.linear()->constant(), weight = 0, size = std::abs(sum);
      for (const auto& [name, factor] : relation.linear()->terms()) {
        const double part = factor * params.at(name).as_double();
        sum += part;
        size += std::abs(part);
      }
      // Inequalities are kept with a little to spare, so that rounding does not break them again.
      if (!relation.is_equality()) sum += 1e-12 * size;
      const auto room = [&](const std::string& name, double factor) {
        const Distribution& distribution = space.at(name);
        const double at = params.at(name).as_double();
        return (factor * sum > 0 ? at - distribution.low() : distribution.high() - at) > 0;
      };
      for (const auto& [name, factor] : relation.linear()->terms()) {
        const Distribution& distribution = space.at(name);
        const double width = distribution.high() - distribution.low();
        if (movable(name) && room(name, factor)) weight += factor * factor * width * width;
      }
      if (weight == 0) continue;
      for (const auto& [name, factor] : relation.linear()->terms()) {
        if (!movable(name) || !room(name, factor)) continue;
        const Distribution& distribution = space.at(name);
        const double width = distribution.high() - distribution.low();
        const double to = params.at(name).as_double() - sum * factor * width * width / weight;
        params[name] = std::clamp(to, distribution.low(), distribution.high());
        moved = true;
      }
    }
    if (!moved) return;
  }
}

// All configs of a discrete space that keep its relations, or nothing where there are more than `limit` points.
std::optional<std::vector<Map>> enumerate(const SearchSpace& space, std::size_t limit) {
  std::vector<Map> out{Map()};
  for (const auto& [name, distribution] : space) {
    if (distribution.quantum() > 0) return std::nullopt;
    const double points =
        distribution.is_categorical()
            ? static_cast<double>(distribution.size())
            : (distribution.step() > 0
                   ? std::nearbyint((distribution.high() - distribution.low()) / distribution.step()) + 1
                   : 1);
    std::vector<Map> longer;
    for (const auto& before : out) {
      if (!space.active(name, before)) {
        longer.push_back(before);
        continue;
      }
      if (static_cast<double>(longer.size()) + points > static_cast<double>(limit)) return std::nullopt;
      for (double i = 0; i < points; ++i) {
        longer.push_back(before);
        longer.back()[name] =
            distribution.to_external(distribution.is_categorical()
                                         ? i
                                         : std::min(distribution.low() + i * distribution.step(), distribution.high()));
      }
    }
    out = std::move(longer);
  }
  std::erase_if(out, [&](const Map& params) {
    return std::any_of(space.relations().begin(), space.relations().end(),
                       [&](const Relation& relation) { return !relation.holds(params); });
  });
  return out;
}

}  // namespace

// The configs that finished trials had, followed as the study grows.
struct SpaceSampler::Seen {
  std::mutex mutex;
  std::uint64_t log = 0;
  std::size_t n_read = 0;
  std::unordered_set<std::string> configs;
};

SpaceSampler::SpaceSampler(SearchSpace space, SamplerRef inner, SpaceSamplerOptions options)
    : space_(std::move(space)),
      inner_(inner ? inner.get() : std::make_shared<TPESampler>(TPESamplerOptions{.seed = options.seed})),
      options_(std::move(options)),
      seed_(seed_or_random(options_.seed)),
      seen_(std::make_shared<Seen>()) {
  if (options_.max_attempts < 1) {
    throw Error({.what = "max_attempts must be positive",
                 .value = std::to_string(options_.max_attempts),
                 .where = "SpaceSampler",
                 .hint = {}});
  }
}

SearchSpace SpaceSampler::infer_relative_search_space(StudyView& study, const FrozenTrial& trial) {
  SearchSpace space = inner_->infer_relative_search_space(study, trial);
  for (const auto& [name, distribution] : space_) space.set(name, distribution);
  return space;
}

// The config as a text, the same for the same config.
std::string SpaceSampler::key(const Map& params) const {
  Map own;
  for (const auto& [name, distribution] : space_) {
    if (const Value* value = params.find(name)) own[name] = *value;
  }
  return to_json(own);
}

bool SpaceSampler::feasible(const Map& params) const {
  return std::all_of(space_.relations().begin(), space_.relations().end(),
                     [&](const Relation& relation) { return relation.holds(params); });
}

Map SpaceSampler::sample_relative(StudyView& study, const FrozenTrial& trial, const SearchSpace&) {
  Map fixed;
  if (const Value* given = trial.system_attrs.find("fixed_params"); given != nullptr && given->is_map()) {
    for (const auto& [name, value] : given->as_map()) {
      if (space_.contains(name)) fixed[name] = value;
    }
  }
  const bool discrete = std::all_of(space_.begin(), space_.end(), [&](const auto& entry) {
    return fixed.contains(entry.first) || is_discrete(entry.second);
  });
  const bool unique = options_.duplicates != Duplicates::allow && discrete && fixed.size() < space_.size();
  std::unordered_set<std::string> running;
  if (unique) {
    const TrialsSnapshot& trials = study.trials();
    for (const auto& other : trials.unfinished()) {
      if (other->trial_id != trial.trial_id) running.insert(key(other->params));
    }
    const std::lock_guard lock(seen_->mutex);
    if (seen_->log != trials.log()) {
      seen_->log = trials.log();
      seen_->n_read = 0;
      seen_->configs.clear();
    }
    for (; seen_->n_read < trials.finished().size(); ++seen_->n_read) {
      const FrozenTrial& other = *trials.finished()[seen_->n_read];
      if (other.state != TrialState::fail) seen_->configs.insert(key(other.params));
    }
  }
  const auto is_new = [&](const Map& params) {
    if (!unique) return true;
    const std::string text = key(params);
    if (running.contains(text)) return false;
    const std::lock_guard lock(seen_->mutex);
    return !seen_->configs.contains(text);
  };

  Map first, others;
  for (std::int64_t attempt = 0; attempt < options_.max_attempts; ++attempt) {
    // Samplers draw by trial number: under another number, another proposal.
    FrozenTrial asked = trial;
    asked.number += attempt << 32;
    const SearchSpace joint = inner_->infer_relative_search_space(study, asked);
    const Map chosen = inner_->sample_relative(study, asked, joint);
    Map params;
    for (const auto& [name, distribution] : space_) {
      if (!space_.active(name, params)) continue;
      const Value* value = fixed.contains(name) ? fixed.find(name) : chosen.find(name);
      if (value != nullptr && distribution.contains(distribution.to_internal(*value))) {
        params[name] = settled(distribution, *value);
      } else if (distribution.single()) {
        params[name] = distribution.single_value();
      } else {
        asked.params = params;
        params[name] = settled(distribution, inner_->sample_independent(study, asked, name, distribution));
      }
    }
    if (attempt == 0) {
      first = params;
      for (const auto& [name, value] : chosen) {
        if (!space_.contains(name)) others[name] = value;
      }
    }
    if (feasible(params) && is_new(params)) {
      for (const auto& [name, value] : others) params[name] = value;
      return params;
    }
  }
  std::optional<Map> mended = mend(trial, first, fixed, is_new, unique);
  for (const auto& [name, value] : others) (*mended)[name] = value;
  return *mended;
}

// The first proposal, changed until it is feasible and new.
std::optional<Map> SpaceSampler::mend(const FrozenTrial& trial, const Map& start, const Map& fixed,
                                      const std::function<bool(const Map&)>& is_new, bool unique) const {
  if (fixed.size() == start.size() &&
      std::all_of(start.begin(), start.end(), [&](const auto& entry) { return fixed.contains(entry.first); })) {
    return start;  // all of it was enqueued; whoever suggests it says what is wrong
  }
  Rng rng(seed_, "tune.space", static_cast<std::uint64_t>(trial.number));
  std::optional<Map> repeated;
  constexpr int tries = 10'000;
  for (int i = 0; i < tries; ++i) {
    const double width = i == 0 ? 0 : i < tries / 2 ? 0.01 + static_cast<double>(i) / tries : 1;
    Map params;
    for (const auto& [name, distribution] : space_) {
      if (!space_.active(name, params)) continue;
      const Value* before = fixed.contains(name) ? fixed.find(name) : start.find(name);
      if (fixed.contains(name))
        params[name] = *before;
      else if (before == nullptr || i >= tries / 2)
        params[name] = random_value(distribution, rng);
      else
        params[name] = i == 0 ? *before : near(distribution, *before, width, rng);
    }
    if (!feasible(params)) project(space_, fixed, params);
    if (!feasible(params)) continue;
    if (is_new(params)) return params;
    repeated = params;
    // Where most is taken, what is left is looked up.
    if (i > 200 && unique) break;
  }
  if (unique || !repeated) {
    // A few points in a large space are not found by chance.
    const bool discrete =
        std::all_of(space_.begin(), space_.end(), [](const auto& e) { return is_discrete(e.second); });
    if (const auto all = discrete ? enumerate(space_, 200'000) : std::nullopt) {
      std::vector<const Map*> left;
      for (const auto& params : *all) {
        const bool fits = std::all_of(fixed.begin(), fixed.end(), [&](const auto& entry) {
          const Value* value = params.find(entry.first);
          return value == nullptr || *value == entry.second;
        });
        if (fits && !repeated) repeated = params;
        if (fits && is_new(params)) left.push_back(&params);
      }
      if (!left.empty()) return *left[rng.below(left.size())];
    }
  }
  if (repeated && options_.duplicates != Duplicates::forbid) return repeated;
  if (repeated) {
    throw Error({.what = "every config of the space was tried",
                 .value = key(*repeated) + " among them",
                 .where = "SpaceSampler",
                 .hint = "widen the space, or use Duplicates::avoid"});
  }
  std::vector<std::string> broken;
  for (const auto& relation : space_.relations()) {
    if (!relation.holds(start)) broken.push_back(relation.description());
  }
  throw Error({.what = "no parameters were found that keep the relations of the space",
               .value = start.to_string() + " breaks " + join_words(broken),
               .where = "SpaceSampler",
               .hint = "widen the ranges, or loosen the relations"});
}

Value SpaceSampler::sample_independent(StudyView& study, const FrozenTrial& trial, const std::string& name,
                                       const Distribution& distribution) {
  for (const auto& relation : space_.relations()) {
    if (std::find(relation.names().begin(), relation.names().end(), name) == relation.names().end()) continue;
    throw Error({.what = "a parameter with relations is suggested otherwise than its space has it",
                 .value = distribution.to_text() + ", the space has " + space_.at(name).to_text(),
                 .where = "parameter \"" + name + "\"",
                 .hint = "suggest it under the space's range and conditions"});
  }
  return inner_->sample_independent(study, trial, name, distribution);
}

void SpaceSampler::before_trial(StudyView& study, const FrozenTrial& trial) { inner_->before_trial(study, trial); }

void SpaceSampler::after_trial(StudyView& study, const FrozenTrial& trial, TrialState state,
                               const std::vector<double>& values) {
  inner_->after_trial(study, trial, state, values);
}

}  // namespace levin::tune
