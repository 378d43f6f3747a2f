// Trainable: what a Tuner steps, saves, restores and gives new hyperparameters.
#pragma once

#include <levin/core/export.h>
#include <levin/tune/space.h>

#include <concepts>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <type_traits>

namespace levin::tune {

/** What a trial must remember to go on later or elsewhere: names to values, lists, maps, opaque handles (tensors). */
using State = Map;

/**
 * What one step found: names to numbers (and notes). A Tuner adds `training_iteration` (steps done) and `time_total_s`
 * (seconds spent in steps) where they are missing. `{"done", true}` ends the trial; alone, it ends it without a result.
 */
using Metrics = Map;

/** Where a trainable is running. */
struct TrialContext {
  std::int64_t number = 0;  ///< of the trial in its study
  std::uint64_t seed = 0;   ///< of this trial, for what it draws by itself
};

/**
 * One trial's work. A Tuner makes an object, calls `setup` with the trial's config, `load` if it goes on from a state,
 * and then `step` until the trial is ended or paused. One thread at a time works with it, though not always the same.
 */
class LEVIN_API Trainable {
 public:
  virtual ~Trainable();

  virtual void setup(const Config& config);
  /** Trains a little (an epoch, say) and reports. */
  virtual Metrics step() = 0;
  /** The state after the last step. By default throws Error: such trials cannot be paused, cloned or restored. */
  virtual State save() const;
  /** Goes on from a state that this or another trial saved; called after `setup`. */
  virtual void load(const State& state);
  /** Takes another config in place, as if set up anew; returns false (the default) where a new object is needed. */
  virtual bool reset(const Config& config);

  /** Writes `save()` to a file; JSON by default, which throws Error for opaque handles. */
  virtual void save_file(const std::filesystem::path& path) const;
  /** Loads what `save_file` wrote. */
  virtual void load_file(const std::filesystem::path& path);

  const TrialContext& context() const noexcept { return context_; }
  void set_context(const TrialContext& context) { context_ = context; }

 private:
  TrialContext context_;
};

/** Makes the trainable of each trial; called from several threads. */
using TrainableFactory = std::function<std::unique_ptr<Trainable>()>;

/** Trainables of a class, made with copies of `args`. */
template <class T, class... Args>
requires std::derived_from<T, Trainable> TrainableFactory trainable(Args... args) {
  return [args...] { return std::make_unique<T>(args...); };
}

/** What a function that trains by its own loop talks to. */
class LEVIN_API Session {
 public:
  virtual ~Session();
  /**
   * Reports a step's metrics and, with `state`, what it takes to go on from here; returns once the trial may go on.
   * Does not return when the trial ends here: the function is left by an exception, which must not be caught for good.
   */
  virtual void report(Metrics metrics, std::optional<State> state = std::nullopt) = 0;
  /** The state to go on from, or null at a fresh start. */
  virtual const State* checkpoint() const = 0;
  virtual const TrialContext& context() const = 0;
};

/** A trainable from a function with a loop of its own; it runs in a thread of its own between its reports. */
LEVIN_API TrainableFactory trainable(std::function<void(const Config&, Session&)> function);

/** A trainable from a function that is a whole trial and returns its metrics. */
LEVIN_API TrainableFactory trainable(std::function<Metrics(const Config&)> function);

}  // namespace levin::tune
