// Timer: how long the stages of a run take, and an end after so much training.
#pragma once

#include <levin/train/callbacks/callback.h>
#include <levin/train/optimizers.h>

#include <array>
#include <chrono>
#include <optional>

namespace levin {

struct TimerOptions {
  std::optional<std::chrono::milliseconds> duration = {};  ///< of training, resumed runs included; none: only measure
  Interval interval = Interval::step;                      ///< when to look: after each batch or each epoch
  bool verbose = true;                                     ///< say that the time is up
};

/**
 * Measures training, validation and test, and stops a fit whose time is up as `Trainer::stop` does, so not before
 * min_epochs and min_steps (Lightning's Timer). `max_time` of the Trainer waits for neither.
 */
class LEVIN_API TimerImpl : public CallbackImpl {
 public:
  using Seconds = std::chrono::duration<double>;

  explicit TimerImpl(TimerOptions options = {});

  void on_train_start(Trainer& trainer, Module& module) override;
  void on_train_batch_end(Trainer& trainer, Module& module, const Batch& batch, std::int64_t batch_idx) override;
  std::int64_t batches_to_skip(const Trainer& trainer, Stage stage) const override;
  void on_train_epoch_end(Trainer& trainer, Module& module) override;
  void on_train_end(Trainer& trainer, Module& module) override;
  void on_validation_start(Trainer& trainer, Module& module) override;
  void on_validation_end(Trainer& trainer, Module& module) override;
  void on_test_start(Trainer& trainer, Module& module) override;
  void on_test_end(Trainer& trainer, Module& module) override;
  std::string state_key() const override;
  Map state_dict() const override;
  void load_state_dict(const Map& state) override;

  /** Of Stage::fit (validations within it included), validate or test, over all runs. */
  Seconds time_elapsed(Stage stage = Stage::fit) const;
  /** Of training; none without a duration. */
  std::optional<Seconds> time_remaining() const;

 private:
  using Clock = std::chrono::steady_clock;
  struct Watch {
    Seconds before{0};
    std::optional<Clock::time_point> since;
  };

  void start(Stage stage) { watches_[static_cast<std::size_t>(stage)].since = Clock::now(); }
  void stop(Stage stage);
  void check(Trainer& trainer) const;

  TimerOptions options_;
  std::array<Watch, 4> watches_;
};

/** See TimerImpl. */
class Timer : public CallbackHolder<TimerImpl> {
 public:
  explicit Timer(TimerOptions options = {}) : CallbackHolder(std::make_shared<TimerImpl>(options)) {}
};

}  // namespace levin
