#include <levin/train/module.h>

#include <levin/core/error.h>
#include <levin/train/compiled_stages.h>
#include <levin/train/trainer_impl.h>

namespace levin {
namespace {

[[noreturn]] void throw_missing(const char* function, const char* needed_by) {
  throw Error({.what = std::string("the module does not override ") + function,
               .value = {},
               .where = {},
               .hint = std::string(needed_by) + " needs it"});
}

}  // namespace

Module::~Module() = default;

torch::Tensor Module::training_step(const Batch&, std::int64_t) { throw_missing("training_step", "fit"); }
void Module::validation_step(const Batch&, std::int64_t) { throw_missing("validation_step", "a validation loader"); }
void Module::test_step(const Batch&, std::int64_t) { throw_missing("test_step", "test"); }
Batch Module::predict_step(const Batch&, std::int64_t) { throw_missing("predict_step", "predict"); }
Optimizers Module::configure_optimizers() { return {}; }

torch::Tensor Module::training_step(const Batch& batch, std::int64_t batch_idx, std::int64_t) {
  return training_step(batch, batch_idx);
}
void Module::validation_step(const Batch& batch, std::int64_t batch_idx, std::int64_t) {
  validation_step(batch, batch_idx);
}
void Module::test_step(const Batch& batch, std::int64_t batch_idx, std::int64_t) { test_step(batch, batch_idx); }
Batch Module::predict_step(const Batch& batch, std::int64_t batch_idx, std::int64_t) {
  return predict_step(batch, batch_idx);
}

Batch Module::on_before_batch_transfer(Batch batch, std::int64_t) { return batch; }
Batch Module::transfer_batch_to_device(Batch batch, torch::Device to, std::int64_t) {
  return batch.to(to, /*non_blocking=*/true);
}
Batch Module::on_after_batch_transfer(Batch batch, std::int64_t) { return batch; }

void Module::save_hyperparameters(const Map& hparams) {
  for (const auto& [key, value] : hparams) hparams_[key] = value;
}

Trainer& Module::trainer() const {
  if (trainer_) {
    if (const auto& compiled = trainer_->impl_->compiled; compiled && compiled->capturing()) {
      compiled->refuse_trainer();
    }
    return *trainer_;
  }
  throw Error({.what = "the module is not in a Trainer's run",
               .value = {},
               .where = {},
               .hint = "use trainer() in steps and hooks, or test has_trainer() first"});
}

std::int64_t Module::current_epoch() const { return trainer().current_epoch(); }
std::int64_t Module::global_step() const { return trainer().global_step(); }

torch::Device Module::device() const {
  const auto params = parameters();
  return params.empty() ? torch::Device(torch::kCPU) : params.front().device();
}

}  // namespace levin
