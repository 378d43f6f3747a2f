#include <levin/tune/samplers/nsga.h>

#include <levin/tune/samplers/per_study.h>
#include <levin/tune/samplers/random.h>
#include <levin/tune/samplers/scale.h>

#include <algorithm>
#include <mutex>
#include <string>
#include <utility>

namespace levin::tune {
namespace {

constexpr int max_attempts = 100;  // children that leave their range, before they are clipped

// The generations of one study, carried on as trials finish.
struct Generations {
  std::size_t n_seen = 0;
  std::optional<SearchSpace> common;  // what all complete trials have with equal distributions
  SearchSpace relative;               // the same by name, without parameters of a single value
  std::int64_t current = 0;           // the generation whose children are being made
  std::int64_t n_complete = 0;        // its complete trials
  std::vector<Individual> parents;    // of its children; none in generation 0
  std::vector<Individual> finished;   // since the parents were chosen

  // The parents' genes on the scales of `space`: numbers, and indices of choices.
  SearchSpace space;
  std::vector<Scale> scales;  // of the numeric parameters, in order
  std::vector<GeneRange> ranges;
  std::vector<Genes> numbers;
  std::vector<std::vector<std::size_t>> choices;
  bool coded = false;
};

void intersect(Generations& g, const SearchSpace& next) {
  if (g.common && *g.common == next) return;
  if (g.common) {
    std::vector<std::string> gone;
    for (const auto& [name, distribution] : *g.common) {
      const Distribution* other = next.find(name);
      if (other == nullptr || !(*other == distribution)) gone.push_back(name);
    }
    for (const auto& name : gone) g.common->erase(name);
  } else {
    g.common = next;
  }
  std::vector<SearchSpace::value_type> entries(g.common->begin(), g.common->end());
  std::sort(entries.begin(), entries.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
  g.relative = {};
  for (const auto& [name, distribution] : entries) {
    if (!distribution.single()) g.relative.set(name, distribution);
  }
}

SearchSpace shared(const SearchSpace& a, const SearchSpace& b) {
  SearchSpace out;
  for (const auto& [name, distribution] : a) {
    const Distribution* other = b.find(name);
    if (other != nullptr && *other == distribution) out.set(name, distribution);
  }
  return out;
}

void encode(Generations& g, const SearchSpace& space) {
  if (g.coded && g.space == space) return;
  g.space = space;
  g.scales.clear();
  g.ranges.clear();
  g.numbers.assign(g.parents.size(), {});
  g.choices.assign(g.parents.size(), {});
  for (const auto& [name, distribution] : space) {
    const bool categorical = distribution.is_categorical();
    if (!categorical) {
      g.scales.emplace_back(distribution);
      g.ranges.push_back({g.scales.back().low(), g.scales.back().high()});
    }
    for (std::size_t i = 0; i < g.parents.size(); ++i) {
      const double internal = distribution.to_internal(g.parents[i].trial->params.at(name));
      if (categorical) {
        g.choices[i].push_back(static_cast<std::size_t>(internal));
      } else {
        g.numbers[i].push_back(g.scales.back().to_scale(internal));
      }
    }
  }
  g.coded = true;
}

}  // namespace

class GeneticSampler::Impl {
 public:
  Impl(NSGAIISamplerOptions options, const char* name)
      : options_(std::move(options)),
        generation_key_(std::string(name) + ":generation"),
        seed_(seed_or_random(options_.seed)),
        random_({.seed = seed_}) {}

  SearchSpace relative_space(StudyView& study) {
    const std::lock_guard lock(mutex_);
    return update(study).relative;
  }

  Map sample(StudyView& study, const FrozenTrial& trial, const SearchSpace& space) {
    const std::lock_guard lock(mutex_);
    Generations& g = update(study);
    if (!trial.system_attrs.contains(generation_key_)) study.set_system_attr(generation_key_, g.current);
    if (g.parents.empty() || space.empty()) return {};
    Rng rng(seed_, "tune.genetic:child", static_cast<std::uint64_t>(trial.number));
    if (options_.child_generation) return options_.child_generation(study, space, g.parents, rng);
    // Since the space was inferred, a trial without one of its parameters may have become a parent.
    encode(g, space == g.relative ? space : shared(space, g.relative));
    return child(study, g, rng);
  }

  Value draw(StudyView& study, const FrozenTrial& trial, const std::string& name, const Distribution& distribution) {
    return random_.sample_independent(study, trial, name, distribution);
  }

  void finish(StudyView& study, const FrozenTrial& trial, TrialState state, const std::vector<double>& values) {
    // A trial whose parameters were all given was never sampled.
    if (state == TrialState::complete && !trial.system_attrs.contains(generation_key_)) {
      const std::lock_guard lock(mutex_);
      study.set_system_attr(generation_key_, update(study).current);
    }
    if (options_.after_trial) options_.after_trial(study, trial, state, values);
  }

 private:
  Generations& update(StudyView& study) {
    const TrialsSnapshot& snapshot = study.trials();
    Generations& g = per_study_.of(study.trials());
    std::vector<TrialPtr> fresh;
    for (; g.n_seen < snapshot.finished().size(); ++g.n_seen) {
      const TrialPtr& trial = snapshot.finished()[g.n_seen];
      if (trial->state == TrialState::complete) fresh.push_back(trial);
    }
    // In the order in which they ended, so that all workers see the same generations.
    std::sort(fresh.begin(), fresh.end(), [](const TrialPtr& a, const TrialPtr& b) {
      return std::pair(a->datetime_complete, a->number) < std::pair(b->datetime_complete, b->number);
    });
    for (const auto& trial : fresh) {
      intersect(g, trial->distributions);
      g.finished.push_back(to_individual(trial, study.directions()));
      const Value* stored = trial->system_attrs.find(generation_key_);
      const std::int64_t generation = stored != nullptr && stored->is_int() ? stored->as_int() : -1;
      if (generation < g.current) continue;
      if (generation > g.current) {  // another worker was ahead
        g.current = generation;
        g.n_complete = 0;
      }
      if (++g.n_complete == options_.population_size) next_generation(g);
    }
    return g;
  }

  void next_generation(Generations& g) {
    std::vector<Individual> population = std::move(g.finished);
    population.insert(population.end(), g.parents.begin(), g.parents.end());
    Rng rng(seed_, "tune.genetic:selection", static_cast<std::uint64_t>(g.current));
    g.parents = options_.elite_population_selection(population, rng);
    g.finished.clear();
    ++g.current;
    g.n_complete = 0;
    g.coded = false;
  }

  // A binary tournament among those that are no parent of the child yet.
  std::size_t tournament(const Generations& g, const std::vector<std::size_t>& chosen, Rng& rng) const {
    const auto draw = [&] {
      std::size_t i = rng.below(g.parents.size() - chosen.size());
      for (const auto taken : chosen) i += i >= taken;  // `chosen` ascends
      return i;
    };
    const std::size_t a = draw(), b = draw();
    return constrained_dominates(g.parents[a], g.parents[b]) ? a : b;
  }

  Map child(const StudyView& study, const Generations& g, Rng& rng) const {
    Genes numbers;
    std::vector<std::size_t> choices;
    const std::size_t n_parents = options_.crossover->n_parents();
    if (rng.uniform() < options_.crossover_prob && g.parents.size() >= n_parents) {
      for (int attempt = 0;; ++attempt) {
        std::vector<std::size_t> order, ascending;
        while (order.size() < n_parents) {
          order.push_back(tournament(g, ascending, rng));
          ascending.insert(std::upper_bound(ascending.begin(), ascending.end(), order.back()), order.back());
        }
        std::vector<Genes> genes;
        for (const auto i : order) genes.push_back(g.numbers[i]);
        choices = g.choices[order.front()];
        for (std::size_t i = 0; i < choices.size(); ++i) {
          if (rng.uniform() >= options_.swapping_prob) choices[i] = g.choices[order.back()][i];
        }
        if (g.scales.empty()) break;
        numbers = options_.crossover->cross(genes, g.ranges, rng, study.is_multi_objective());
        bool inside = true;
        for (std::size_t i = 0; i < numbers.size(); ++i) inside = inside && g.scales[i].contains(numbers[i]);
        if (inside || attempt == max_attempts) break;
      }
    } else {
      const std::size_t i = rng.below(g.parents.size());
      numbers = g.numbers[i];
      choices = g.choices[i];
    }

    const double n = static_cast<double>(g.space.size());
    const double mutation_prob = options_.mutation_prob.value_or(1 / std::max(1.0, n));
    Map out;
    out.reserve(g.space.size());
    std::size_t number = 0, choice = 0;
    for (const auto& [name, distribution] : g.space) {
      const bool mutate = rng.uniform() < mutation_prob;
      if (distribution.is_categorical()) {
        const std::size_t index = choices[choice++];
        if (!mutate) out.append(name, distribution.choices()[index]);
        continue;
      }
      const std::size_t i = number++;
      const Scale& scale = g.scales[i];
      double x = std::clamp(numbers[i], scale.low(), scale.high());
      if (mutate) {
        if (!options_.mutation) continue;
        x = std::clamp(options_.mutation->mutate(x, g.ranges[i], rng), scale.low(), scale.high());
      }
      out.append(name, distribution.to_external(scale.from_scale(x)));
    }
    return out;
  }

  const NSGAIISamplerOptions options_;
  const std::string generation_key_;
  const std::uint64_t seed_;
  RandomSampler random_;
  std::mutex mutex_;
  PerStudy<Generations> per_study_;
};

GeneticSampler::GeneticSampler(NSGAIISamplerOptions options, const char* name) {
  const auto require = [&](bool holds, const char* what, const std::string& value) {
    if (!holds) throw Error({.what = what, .value = value, .where = name, .hint = {}});
  };
  const auto probability = [&](double p, const char* what) { require(p >= 0 && p <= 1, what, format_double(p)); };
  probability(options.mutation_prob.value_or(0), "mutation_prob must lie between 0 and 1");
  probability(options.crossover_prob, "crossover_prob must lie between 0 and 1");
  probability(options.swapping_prob, "swapping_prob must lie between 0 and 1");
  require(options.population_size >= 2, "population_size must be at least 2", std::to_string(options.population_size));
  if (!options.crossover) options.crossover = UniformCrossover(options.swapping_prob);
  require(std::cmp_greater_equal(options.population_size, options.crossover->n_parents()),
          "population_size must not be below the number of parents that the crossover takes",
          std::to_string(options.population_size));
  impl_ = std::make_unique<Impl>(std::move(options), name);
}

GeneticSampler::~GeneticSampler() = default;
GeneticSampler::GeneticSampler(GeneticSampler&&) noexcept = default;
GeneticSampler& GeneticSampler::operator=(GeneticSampler&&) noexcept = default;

SearchSpace GeneticSampler::infer_relative_search_space(StudyView& study, const FrozenTrial&) {
  return impl_->relative_space(study);
}

Map GeneticSampler::sample_relative(StudyView& study, const FrozenTrial& trial, const SearchSpace& space) {
  return impl_->sample(study, trial, space);
}

Value GeneticSampler::sample_independent(StudyView& study, const FrozenTrial& trial, const std::string& name,
                                         const Distribution& distribution) {
  return impl_->draw(study, trial, name, distribution);
}

void GeneticSampler::after_trial(StudyView& study, const FrozenTrial& trial, TrialState state,
                                 const std::vector<double>& values) {
  impl_->finish(study, trial, state, values);
}

namespace {

NSGAIISamplerOptions with_crowding(NSGAIISamplerOptions options) {
  if (!options.elite_population_selection) {
    const auto n = static_cast<std::size_t>(std::max<std::int64_t>(options.population_size, 0));
    options.elite_population_selection = [n](const std::vector<Individual>& population, Rng&) {
      return select_by_crowding(population, n);
    };
  }
  return options;
}

NSGAIISamplerOptions with_niches(NSGAIIISamplerOptions o) {
  if (o.dividing_parameter < 1) {
    throw Error({.what = "dividing_parameter must be at least 1",
                 .value = std::to_string(o.dividing_parameter),
                 .where = "NSGAIIISampler",
                 .hint = {}});
  }
  if (!o.elite_population_selection) {
    const auto n = static_cast<std::size_t>(std::max<std::int64_t>(o.population_size, 0));
    const auto divisions = static_cast<std::size_t>(o.dividing_parameter);
    o.elite_population_selection = [n, divisions, given = o.reference_points](const std::vector<Individual>& population,
                                                                              Rng& rng) {
      const std::size_t m = population.front().losses.size();
      const auto points = given.empty() ? reference_points(m, divisions) : given;
      for (const auto& point : points) {
        if (point.size() == m) continue;
        throw Error({.what = "reference points have as many coordinates as the study has objectives",
                     .value = std::to_string(point.size()) + " for " + std::to_string(m) + " objectives",
                     .where = "NSGAIIISampler",
                     .hint = {}});
      }
      return select_by_niche(population, n, points, rng);
    };
  }
  return {.population_size = o.population_size,
          .mutation = std::move(o.mutation),
          .mutation_prob = o.mutation_prob,
          .crossover = std::move(o.crossover),
          .crossover_prob = o.crossover_prob,
          .swapping_prob = o.swapping_prob,
          .seed = o.seed,
          .elite_population_selection = std::move(o.elite_population_selection),
          .child_generation = std::move(o.child_generation),
          .after_trial = std::move(o.after_trial)};
}

}  // namespace

NSGAIISampler::NSGAIISampler(NSGAIISamplerOptions options)
    : GeneticSampler(with_crowding(std::move(options)), "NSGAIISampler") {}

NSGAIIISampler::NSGAIIISampler(NSGAIIISamplerOptions options)
    : GeneticSampler(with_niches(std::move(options)), "NSGAIIISampler") {}

}  // namespace levin::tune
