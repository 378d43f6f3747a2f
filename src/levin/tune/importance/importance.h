// Parameter importances: how much each parameter decides about what a study reaches.
#pragma once

#include <levin/core/export.h>
#include <levin/tune/study.h>

#include <concepts>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace levin::tune {

/** Names and importances, the most important first. */
using Importances = std::vector<std::pair<std::string, double>>;

/** What an importance is of: some number that a complete trial has. */
using ImportanceTarget = std::function<double(const FrozenTrial&)>;

/** What an evaluator computes from. */
struct ImportanceProblem {
  std::vector<FrozenTrial> trials;    ///< the complete trials
  std::vector<Direction> directions;  ///< of the study
  std::vector<std::string> params;    ///< what is asked for; all where empty
  ImportanceTarget target;            ///< may be empty: the objective, or all of them
};

class LEVIN_API ImportanceEvaluator {
 public:
  virtual ~ImportanceEvaluator();
  /** Importances of at least 0 of each parameter, in any order. */
  virtual Importances evaluate(const ImportanceProblem& problem) const = 0;
};

/** An evaluator held by value in options; may be empty. */
class ImportanceEvaluatorRef {
 public:
  ImportanceEvaluatorRef() = default;
  template <class E>
  requires std::derived_from<E, ImportanceEvaluator> ImportanceEvaluatorRef(E evaluator)
      : evaluator_(std::make_shared<const E>(std::move(evaluator))) {}

  explicit operator bool() const noexcept { return evaluator_ != nullptr; }
  const ImportanceEvaluator& operator*() const { return *evaluator_; }

 private:
  std::shared_ptr<const ImportanceEvaluator> evaluator_;
};

struct PedAnovaOptions {
  double target_quantile = 0.1;   ///< the share of trials that counts as good
  double region_quantile = 1.0;   ///< the share that they are compared with
  bool evaluate_on_local = true;  ///< compare with the trials of the region, else with the whole range
};

/**
 * How far the distribution of a parameter among good trials lies from that among all (Watanabe et al. 2023,
 * "PED-ANOVA: efficiently quantifying hyperparameter importance in arbitrary subspaces"), as Optuna 5's default. Works
 * for conditional parameters and changing ranges, which are summed over, and for several objectives, where the good
 * trials are those of the first nondominated fronts. Fast.
 *
 * A target counts as good where it is low. Throws Error unless 0 < target_quantile < region_quantile <= 1.
 */
class LEVIN_API PedAnovaImportanceEvaluator : public ImportanceEvaluator {
 public:
  PedAnovaImportanceEvaluator(PedAnovaOptions options = {});
  Importances evaluate(const ImportanceProblem& problem) const override;

 private:
  PedAnovaOptions options_;
};

struct ForestImportanceOptions {
  std::int64_t n_trees = 64;
  std::int64_t max_depth = 64;
  std::optional<std::uint64_t> seed = std::nullopt;  ///< drawn from the operating system by default
};

/**
 * The share of the variance over the whole space that a parameter explains alone, computed on a random forest (Hutter,
 * Hoos and Leyton-Brown 2014, "An efficient approach for assessing hyperparameter importance"). For parameters that
 * all trials have; needs a target with several objectives. As Optuna's FanovaImportanceEvaluator.
 */
class LEVIN_API FanovaImportanceEvaluator : public ImportanceEvaluator {
 public:
  FanovaImportanceEvaluator(ForestImportanceOptions options = {});
  Importances evaluate(const ImportanceProblem& problem) const override;

 private:
  ForestImportanceOptions options_;
};

/** How much the splits by a parameter reduce the variance within the nodes of a random forest. */
class LEVIN_API MeanDecreaseImpurityImportanceEvaluator : public ImportanceEvaluator {
 public:
  MeanDecreaseImpurityImportanceEvaluator(ForestImportanceOptions options = {});
  Importances evaluate(const ImportanceProblem& problem) const override;

 private:
  ForestImportanceOptions options_;
};

struct ParamImportancesOptions {
  ImportanceEvaluatorRef evaluator = {};  ///< PedAnovaImportanceEvaluator by default
  std::vector<std::string> params = {};   ///< all by default
  ImportanceTarget target = {};           ///< by default the objective
  bool normalize = true;                  ///< divide by the sum; where all are 0, all become equal
};

/**
 * The importances of a study's parameters, as Optuna's `get_param_importances`.
 * Throws Error for a parameter that no complete trial has.
 */
LEVIN_API Importances param_importances(const Study& study, const ParamImportancesOptions& options = {});

}  // namespace levin::tune
