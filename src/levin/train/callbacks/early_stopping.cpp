#include <levin/train/callbacks/early_stopping.h>

#include <levin/core/console.h>
#include <levin/core/error.h>
#include <levin/train/trainer.h>

#include <cmath>
#include <limits>

namespace levin {

EarlyStoppingImpl::EarlyStoppingImpl(EarlyStoppingOptions options)
    : options_(std::move(options)),
      best_score_(options_.mode == Mode::min ? std::numeric_limits<double>::infinity()
                                             : -std::numeric_limits<double>::infinity()) {
  const auto fail = [](const char* what, const std::string& value, const char* hint) {
    throw Error({.what = what, .value = value, .where = "EarlyStopping", .hint = hint});
  };
  if (options_.monitor.empty())
    fail("monitor must name a logged metric", "\"\"", "for instance .monitor = \"val_loss\"");
  if (options_.patience < 0) fail("patience must be at least 0", std::to_string(options_.patience), "");
  if (!(options_.min_delta >= 0))
    fail("min_delta must be at least 0", format_double(options_.min_delta), "the direction comes from .mode");
}

bool EarlyStoppingImpl::checks_after_training(const Trainer& trainer) const {
  return options_.check_on_train_epoch_end.value_or(trainer.num_val_batches() == 0);
}

void EarlyStoppingImpl::on_validation_end(Trainer& trainer, Module&) {
  if (!trainer.sanity_checking() && trainer.num_training_batches() > 0 && !checks_after_training(trainer))
    check(trainer);
}

void EarlyStoppingImpl::on_train_epoch_end(Trainer& trainer, Module&) {
  if (checks_after_training(trainer)) check(trainer);
}

void EarlyStoppingImpl::check(Trainer& trainer) {
  if (!options_.strict && !trainer.find_metric(options_.monitor)) return;
  const double score = trainer.metric(options_.monitor, "EarlyStopping");
  const auto improved = [&] {
    return options_.mode == Mode::min ? score < best_score_ - options_.min_delta
                                      : score > best_score_ + options_.min_delta;
  };
  const std::string shown = options_.monitor + " = " + format_double(score);
  if (options_.check_finite && !std::isfinite(score)) {
    reason_ = shown + " is not finite";
  } else if (options_.stopping_threshold && better(score, *options_.stopping_threshold, options_.mode)) {
    reason_ = shown + " reached the stopping threshold " + format_double(*options_.stopping_threshold);
  } else if (options_.divergence_threshold && better(*options_.divergence_threshold, score, options_.mode)) {
    reason_ = shown + " is worse than the divergence threshold " + format_double(*options_.divergence_threshold);
  } else if (improved()) {
    if (options_.verbose) console::info("early stopping: " + shown + " is the best so far");
    best_score_ = score;
    wait_count_ = 0;
    return;
  } else if (++wait_count_ >= options_.patience) {
    reason_ = options_.monitor + " did not improve in " + std::to_string(wait_count_) + " checks; best " +
              format_double(best_score_);
  } else {
    return;
  }
  stopped_epoch_ = trainer.current_epoch();
  trainer.stop();
  (options_.verbose ? console::info : console::debug)("early stopping: " + reason_);
}

std::string EarlyStoppingImpl::state_key() const {
  // Lightning's key: class name and the options that make the callback unique.
  return "EarlyStopping{'monitor': '" + options_.monitor + "', 'mode': '" +
         (options_.mode == Mode::min ? "min" : "max") + "'}";
}

Map EarlyStoppingImpl::state_dict() const {
  return {{"wait_count", wait_count_},
          {"stopped_epoch", stopped_epoch_},
          {"best_score", best_score_},
          {"patience", options_.patience}};
}

void EarlyStoppingImpl::load_state_dict(const Map& state) {
  wait_count_ = state.get<std::int64_t>("wait_count");
  stopped_epoch_ = state.get<std::int64_t>("stopped_epoch");
  best_score_ = state.get<double>("best_score");
  options_.patience = state.get<std::int64_t>("patience");
}

}  // namespace levin
