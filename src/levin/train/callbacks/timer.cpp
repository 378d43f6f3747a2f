#include <levin/train/callbacks/timer.h>

#include <levin/core/console.h>
#include <levin/core/error.h>
#include <levin/train/trainer.h>

#include <utility>

namespace levin {
namespace {

// Lightning's names of what is measured.
constexpr std::pair<Stage, const char*> kNames[] = {
    {Stage::fit, "train"}, {Stage::validate, "validate"}, {Stage::test, "test"}};

}  // namespace

TimerImpl::TimerImpl(TimerOptions options) : options_(options) {
  if (options_.duration && options_.duration->count() <= 0) {
    throw Error({.what = "Timer: duration must be positive",
                 .value = std::to_string(options_.duration->count()) + " ms",
                 .where = {},
                 .hint = "for instance std::chrono::hours(12)"});
  }
}

void TimerImpl::stop(Stage stage) {
  Watch& watch = watches_[static_cast<std::size_t>(stage)];
  watch.before = time_elapsed(stage);
  watch.since.reset();
}

void TimerImpl::check(Trainer& trainer) const {
  if (trainer.should_stop() || !options_.duration || time_elapsed() < *options_.duration) return;
  trainer.stop();
  if (options_.verbose) console::info("Timer: the time for training is up");
}

// A resumed run may find its time spent already.
void TimerImpl::on_train_start(Trainer& trainer, Module&) {
  start(Stage::fit);
  check(trainer);
}
void TimerImpl::on_train_batch_end(Trainer& trainer, Module&, const Batch&, std::int64_t) {
  if (options_.interval == Interval::step) check(trainer);
}
std::int64_t TimerImpl::batches_to_skip(const Trainer& trainer, Stage) const {
  const bool waits = !trainer.should_stop() && options_.duration && options_.interval == Interval::step;
  return waits && time_elapsed() >= *options_.duration ? 0 : kAllBatches;
}
void TimerImpl::on_train_epoch_end(Trainer& trainer, Module&) {
  if (options_.interval == Interval::epoch) check(trainer);
}
void TimerImpl::on_train_end(Trainer&, Module&) { stop(Stage::fit); }
void TimerImpl::on_validation_start(Trainer&, Module&) { start(Stage::validate); }
void TimerImpl::on_validation_end(Trainer&, Module&) { stop(Stage::validate); }
void TimerImpl::on_test_start(Trainer&, Module&) { start(Stage::test); }
void TimerImpl::on_test_end(Trainer&, Module&) { stop(Stage::test); }

TimerImpl::Seconds TimerImpl::time_elapsed(Stage stage) const {
  const Watch& watch = watches_[static_cast<std::size_t>(stage)];
  return watch.before + (watch.since ? Seconds(Clock::now() - *watch.since) : Seconds(0));
}

std::optional<TimerImpl::Seconds> TimerImpl::time_remaining() const {
  if (!options_.duration) return std::nullopt;
  return Seconds(*options_.duration) - time_elapsed();
}

std::string TimerImpl::state_key() const { return "Timer"; }

Map TimerImpl::state_dict() const {
  Map elapsed;
  for (const auto& [stage, name] : kNames) elapsed[name] = time_elapsed(stage).count();
  return {{"time_elapsed", elapsed}};
}

void TimerImpl::load_state_dict(const Map& state) {
  const Map& elapsed = state.at("time_elapsed").as_map();
  for (const auto& [stage, name] : kNames)
    watches_[static_cast<std::size_t>(stage)].before = Seconds(elapsed.get<double>(name, 0.0));
}

}  // namespace levin
