// NSGAIISampler and NSGAIIISampler: genetic search for one or several objectives.
#pragma once

#include <levin/tune/samplers/crossover.h>
#include <levin/tune/samplers/elite_selection.h>
#include <levin/tune/samplers/sampler.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

namespace levin::tune {

/** Chooses the parents of the next generation from this one's individuals and their parents. */
using EliteSelection = std::function<std::vector<Individual>(const std::vector<Individual>& population, Rng& rng)>;
/** External values for parameters of `space` made of the parents; what it leaves out is drawn at random. */
using ChildGeneration =
    std::function<Map(StudyView& study, const SearchSpace& space, const std::vector<Individual>& parents, Rng& rng)>;
/** Called as `Sampler::after_trial`. */
using AfterTrial = std::function<void(StudyView& study, const FrozenTrial& trial, TrialState state,
                                      const std::vector<double>& values)>;

struct NSGAIISamplerOptions {
  std::int64_t population_size = 50;
  MutationRef mutation = {};                           ///< how a mutated number is made; by default it is drawn anew
  std::optional<double> mutation_prob = std::nullopt;  ///< of each parameter; by default one in their number
  CrossoverRef crossover = {};                         ///< of the numbers; by default UniformCrossover(swapping_prob)
  double crossover_prob = 0.9;                         ///< else a child is a copy of one parent
  double swapping_prob = 0.5;                          ///< of uniform crossover, which choices always take
  std::optional<std::uint64_t> seed = std::nullopt;    ///< drawn from the operating system by default
  EliteSelection elite_population_selection = {};
  ChildGeneration child_generation = {};
  AfterTrial after_trial = {};
};

struct NSGAIIISamplerOptions {
  std::int64_t population_size = 50;
  MutationRef mutation = {};
  std::optional<double> mutation_prob = std::nullopt;
  CrossoverRef crossover = {};
  double crossover_prob = 0.9;
  double swapping_prob = 0.5;
  std::optional<std::uint64_t> seed = std::nullopt;
  std::vector<std::vector<double>> reference_points = {};  ///< by default spread evenly by dividing_parameter
  std::int64_t dividing_parameter = 3;                     ///< parts that each objective's axis is divided into
  EliteSelection elite_population_selection = {};
  ChildGeneration child_generation = {};
  AfterTrial after_trial = {};
};

/** What the two samplers share: generations, parents and children. */
class LEVIN_API GeneticSampler : public Sampler {
 public:
  ~GeneticSampler() override;
  GeneticSampler(GeneticSampler&&) noexcept;
  GeneticSampler& operator=(GeneticSampler&&) noexcept;

  SearchSpace infer_relative_search_space(StudyView& study, const FrozenTrial& trial) override;
  Map sample_relative(StudyView& study, const FrozenTrial& trial, const SearchSpace& space) override;
  Value sample_independent(StudyView& study, const FrozenTrial& trial, const std::string& name,
                           const Distribution& distribution) override;
  void after_trial(StudyView& study, const FrozenTrial& trial, TrialState state,
                   const std::vector<double>& values) override;

 protected:
  GeneticSampler(NSGAIISamplerOptions options, const char* name);

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

/**
 * NSGA-II (Deb et al. 2002, "A fast and elitist multiobjective genetic algorithm"), as Optuna 5's NSGAIISampler.
 *
 * A generation ends when population_size of its trials are complete; the best of it and of its parents, by front and
 * crowding distance, are the parents of the next. Trials that end after their generation did compete with the next, so
 * that none is lost with many workers. A trial's generation stands in its attribute `NSGAIISampler:generation`, which
 * Optuna's sampler shares. Infeasible trials rank behind feasible ones, by the sum of what they violate. Parameters
 * that not all complete trials have are drawn at random.
 *
 * Throws Error for probabilities outside [0, 1] and populations of less than two or less than the crossover's parents.
 */
class LEVIN_API NSGAIISampler : public GeneticSampler {
 public:
  NSGAIISampler(NSGAIISamplerOptions options = {});
};

/**
 * NSGA-III (Deb and Jain 2014, "An evolutionary many-objective optimization algorithm using reference-point-based
 * nondominated sorting approach"): as NSGA-II, but the last front is thinned so that the parents spread evenly among
 * reference lines, which also works for many objectives. As Optuna 5's NSGAIIISampler.
 *
 * Throws Error as NSGAIISampler does, and, when sampling, where reference points and objectives differ in number.
 */
class LEVIN_API NSGAIIISampler : public GeneticSampler {
 public:
  NSGAIIISampler(NSGAIIISamplerOptions options = {});
};

}  // namespace levin::tune
