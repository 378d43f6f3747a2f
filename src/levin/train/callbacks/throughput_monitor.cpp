#include <levin/train/callbacks/throughput_monitor.h>

#include <levin/core/error.h>
#include <levin/train/trainer.h>

#include <c10/core/impl/VirtualGuardImpl.h>

namespace levin {
namespace {

constexpr const char* kStageNames[] = {"train", "validate", "test", "predict"};

// Work that was only handed over to the device takes no time yet.
void wait_for(torch::Device device) {
  if (!device.is_cpu()) c10::impl::VirtualGuardImpl(device.type()).synchronizeDevice(device.index());
}

}  // namespace

ThroughputMonitorImpl::ThroughputMonitorImpl(ThroughputMonitorOptions options) : options_(std::move(options)) {
  if (options_.window_size < 2) {
    throw Error({.what = "ThroughputMonitor: window_size must be at least 2",
                 .value = std::to_string(options_.window_size),
                 .where = {},
                 .hint = "a speed is measured between two batches"});
  }
  if (options_.available_flops && !options_.flops_per_batch) {
    throw Error({.what = "ThroughputMonitor: available_flops says nothing without flops_per_batch",
                 .value = format_double(*options_.available_flops),
                 .where = {},
                 .hint = "set both"});
  }
  if (!options_.batch_size_fn) options_.batch_size_fn = [](const Batch& batch) { return batch.batch_size(); };
}

void ThroughputMonitorImpl::start(Stage stage) {
  stretches_[static_cast<std::size_t>(stage)] = {.begin = Clock::now()};
}

void ThroughputMonitorImpl::measure(Trainer& trainer, Stage stage, const Batch& batch, std::int64_t step) {
  wait_for(trainer.device());
  Stretch& stretch = stretches_[static_cast<std::size_t>(stage)];
  ++stretch.batches;
  stretch.samples += options_.batch_size_fn(batch);
  if (options_.length_fn) stretch.items += options_.length_fn(batch);
  const double time = std::chrono::duration<double>(Clock::now() - stretch.begin).count();
  auto& window = stretch.window;
  window.push_back({time, stretch.batches, stretch.samples, stretch.items});
  if (static_cast<std::int64_t>(window.size()) > options_.window_size) window.pop_front();

  const std::int64_t every = trainer.options().log_every_n_steps;
  if (every == 0 || trainer.loggers().empty()) return;
  const std::int64_t counted = stage == Stage::fit ? trainer.log_point().step : step;
  const bool accumulates = stage == Stage::fit && !trainer.is_last_batch() &&
                           (trainer.batch_idx() + 1) % trainer.accumulate_grad_batches() != 0;
  if ((counted + 1) % every != 0 || accumulates) return;
  const std::string prefix = std::string(kStageNames[static_cast<std::size_t>(stage)]) + "/";
  MetricValues values{{prefix + "time", time},
                      {prefix + "batches", static_cast<double>(stretch.batches)},
                      {prefix + "samples", static_cast<double>(stretch.samples)}};
  if (options_.length_fn) values.emplace_back(prefix + "lengths", static_cast<double>(stretch.items));
  const double elapsed = time - window.front().time;
  if (static_cast<std::int64_t>(window.size()) == options_.window_size && elapsed > 0) {
    const auto add = [&](const char* name, double amount) {
      values.emplace_back(prefix + "device/" + name, amount / elapsed);
    };
    const auto batches = static_cast<double>(stretch.batches - window.front().batches);
    add("batches_per_sec", batches);
    add("samples_per_sec", static_cast<double>(stretch.samples - window.front().samples));
    if (options_.length_fn) add("items_per_sec", static_cast<double>(stretch.items - window.front().items));
    if (options_.flops_per_batch) add("flops_per_sec", *options_.flops_per_batch * batches);
    if (options_.available_flops) add("mfu", *options_.flops_per_batch * batches / *options_.available_flops);
  }
  LogPoint point = trainer.log_point();
  if (stage != Stage::fit) point.step = step;
  for (const Logger& logger : trainer.loggers()) logger->log_metrics(values, point);
}

void ThroughputMonitorImpl::on_train_start(Trainer&, Module&) {
  training_ = true;
  start(Stage::fit);
}
void ThroughputMonitorImpl::on_train_batch_end(Trainer& trainer, Module&, const Batch& batch, std::int64_t) {
  measure(trainer, Stage::fit, batch, 0);
}

void ThroughputMonitorImpl::on_validation_start(Trainer& trainer, Module&) {
  if (!trainer.sanity_checking()) start(Stage::validate);
}
void ThroughputMonitorImpl::on_validation_batch_end(Trainer& trainer, Module&, const Batch& batch,
                                                    std::int64_t batch_idx) {
  if (!trainer.sanity_checking()) measure(trainer, Stage::validate, batch, batch_idx);
}
// Time spent on a validation is none of the training's.
void ThroughputMonitorImpl::on_validation_end(Trainer& trainer, Module&) {
  if (trainer.sanity_checking() || !training_) return;
  Stretch& train = stretches_[static_cast<std::size_t>(Stage::fit)];
  const double trained = train.window.empty() ? 0.0 : train.window.back().time;
  train.begin = Clock::now() - std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(trained));
}

void ThroughputMonitorImpl::on_test_start(Trainer&, Module&) { start(Stage::test); }
void ThroughputMonitorImpl::on_test_batch_end(Trainer& trainer, Module&, const Batch& batch, std::int64_t batch_idx) {
  measure(trainer, Stage::test, batch, batch_idx);
}
void ThroughputMonitorImpl::on_predict_start(Trainer&, Module&) { start(Stage::predict); }
void ThroughputMonitorImpl::on_predict_batch_end(Trainer& trainer, Module&, const Batch& batch,
                                                 std::int64_t batch_idx) {
  measure(trainer, Stage::predict, batch, batch_idx);
}

}  // namespace levin
