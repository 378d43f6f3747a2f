// Terminator: ends a study when going on is not worth it.
#pragma once

#include <levin/core/export.h>
#include <levin/tune/study.h>

#include <concepts>
#include <cstdint>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

namespace levin::tune {

/** Tells how much better the study's best value may still become. */
class LEVIN_API ImprovementEvaluator {
 public:
  virtual ~ImprovementEvaluator();
  /** `trials`: all of the study by number. Throws Error when no trial is complete. */
  virtual double evaluate(const std::vector<FrozenTrial>& trials, Direction direction) = 0;
};

/** Tells how exactly the best value is known: improvements below are not worth having. */
class LEVIN_API ErrorEvaluator {
 public:
  virtual ~ErrorEvaluator();
  virtual double evaluate(const std::vector<FrozenTrial>& trials, Direction direction) = 0;
};

/** An evaluator held by value in options, or a shared pointer to one; may be empty. */
template <class Base>
class EvaluatorRef {
 public:
  EvaluatorRef() = default;
  template <class E>
  requires std::derived_from<E, Base> EvaluatorRef(E evaluator)
      : evaluator_(std::make_shared<E>(std::move(evaluator))) {}
  template <class E>
  requires std::derived_from<E, Base> EvaluatorRef(std::shared_ptr<E> evaluator) : evaluator_(std::move(evaluator)) {}

  explicit operator bool() const noexcept { return evaluator_ != nullptr; }
  const std::shared_ptr<Base>& get() const noexcept { return evaluator_; }

 private:
  std::shared_ptr<Base> evaluator_;
};

using ImprovementEvaluatorRef = EvaluatorRef<ImprovementEvaluator>;
using ErrorEvaluatorRef = EvaluatorRef<ErrorEvaluator>;

/** The number of trials that the best value may still take to improve: from max_stagnation_trials down to below 0. */
class LEVIN_API BestValueStagnationEvaluator : public ImprovementEvaluator {
 public:
  explicit BestValueStagnationEvaluator(std::int64_t max_stagnation_trials = 30);
  double evaluate(const std::vector<FrozenTrial>& trials, Direction direction) override;

 private:
  std::int64_t max_stagnation_trials_;
};

/** Always the same error. */
class LEVIN_API StaticErrorEvaluator : public ErrorEvaluator {
 public:
  explicit StaticErrorEvaluator(double constant) : constant_(constant) {}
  double evaluate(const std::vector<FrozenTrial>&, Direction) override { return constant_; }

 private:
  double constant_;
};

/**
 * The standard error of the best trial's cross validation, of which the trial told the scores by
 * `report_cross_validation_scores`: sqrt((1/k + 1/(k-1)) var). Throws Error when it did not.
 */
class LEVIN_API CrossValidationErrorEvaluator : public ErrorEvaluator {
 public:
  double evaluate(const std::vector<FrozenTrial>& trials, Direction direction) override;
};

/** Keeps the scores of the folds with the trial. Throws Error for fewer than two. */
LEVIN_API void report_cross_validation_scores(Trial& trial, const std::vector<double>& scores);

struct MedianErrorEvaluatorOptions {
  std::int64_t warm_up_trials = 10;    ///< complete trials that are left out at the start
  std::int64_t n_initial_trials = 20;  ///< trials whose improvements are looked at
  double threshold_ratio = 0.01;       ///< of their median, that counts as error
};

/**
 * A share of the median improvement that `improvement` saw in the first trials, for studies without cross validation.
 * Before there are enough trials, a value that ends nothing.
 */
class LEVIN_API MedianErrorEvaluator : public ErrorEvaluator {
 public:
  explicit MedianErrorEvaluator(ImprovementEvaluatorRef improvement, MedianErrorEvaluatorOptions options = {});
  double evaluate(const std::vector<FrozenTrial>& trials, Direction direction) override;

 private:
  ImprovementEvaluatorRef improvement_;
  MedianErrorEvaluatorOptions options_;
  std::optional<double> threshold_;
};

struct TerminatorOptions {
  ImprovementEvaluatorRef improvement_evaluator = {};  ///< BestValueStagnationEvaluator by default
  /** For BestValueStagnationEvaluator 0 by default, else CrossValidationErrorEvaluator. */
  ErrorEvaluatorRef error_evaluator = {};
  std::int64_t min_n_trials = 20;  ///< complete trials before which nothing ends
};

/** Says that a study may end when the possible improvement falls below the error; as Optuna's Terminator. */
class LEVIN_API Terminator {
 public:
  explicit Terminator(TerminatorOptions options = {});
  /** For studies with one objective. */
  bool should_terminate(const Study& study);

 private:
  TerminatorOptions options_;
};

/** A callback for `Study::optimize` that stops the study when its terminator says so. */
LEVIN_API StudyCallback terminator_callback(Terminator terminator = Terminator());

/** A callback that stops the study once so many of its trials, of all workers, are in one of the states. */
LEVIN_API StudyCallback max_trials_callback(std::int64_t n_trials,
                                            std::vector<TrialState> states = {TrialState::complete});

}  // namespace levin::tune
