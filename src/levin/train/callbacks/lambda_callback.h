// LambdaCallback: a callback of functions, for hooks that need no class.
#pragma once

#include <levin/train/callbacks/callback.h>

#include <functional>

namespace levin {

/** A function for each hook that matters; the hooks left out are never called. See CallbackImpl for their meaning. */
struct LambdaCallbackOptions {
  std::function<void(Trainer&, Module&, Stage)> setup = {};
  std::function<void(Trainer&, Module&, Stage)> teardown = {};
#define LEVIN_HOOK(name) std::function<void(Trainer&, Module&)> name = {};
  LEVIN_PLAIN_HOOKS(LEVIN_HOOK)
#undef LEVIN_HOOK
#define LEVIN_HOOK(name) std::function<void(Trainer&, Module&, const Batch&, std::int64_t batch_idx)> name = {};
  LEVIN_BATCH_HOOKS(LEVIN_HOOK)
#undef LEVIN_HOOK
  std::function<void(Trainer&, Module&, optim::Optimizer&)> on_before_zero_grad = {};
  std::function<void(Trainer&, Module&, const at::Tensor& loss)> on_before_backward = {};
  std::function<void(Trainer&, Module&, optim::Optimizer&)> on_before_optimizer_step = {};
  std::function<void(Trainer&, Module&, std::exception_ptr)> on_exception = {};
  std::function<void(Trainer&, Module&, Checkpoint&)> on_save_checkpoint = {};
  std::function<void(Trainer&, Module&, const Checkpoint&)> on_load_checkpoint = {};
};

/**
 * A callback made of functions (Lightning's LambdaCallback).
 *
 *     LambdaCallback({.on_train_epoch_end = [](Trainer& trainer, Module&) { ... }})
 */
class LEVIN_API LambdaCallback : public Callback {
 public:
  explicit LambdaCallback(LambdaCallbackOptions options);
};

}  // namespace levin
