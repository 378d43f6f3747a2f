// Callback: code that runs at the hooks of a Trainer, apart from the model.
#pragma once

#include <levin/core/export.h>
#include <levin/core/value.h>
#include <levin/data/batch.h>
#include <levin/data/data_module.h>
#include <levin/train/hooks.h>

#include <ATen/core/Tensor.h>

#include <concepts>
#include <exception>
#include <limits>
#include <memory>
#include <utility>

namespace levin {

class Module;
class Trainer;
class PickleDict;
/** The content of a checkpoint file. */
using Checkpoint = PickleDict;
namespace optim {
class Optimizer;
}

/**
 * Base of callbacks: override the hooks you need; the others are never called.
 *
 * Hooks run in PyTorch Lightning's order: all callbacks in the order given (checkpoint callbacks last), then the
 * module. The trainer and module references stay valid for the whole run.
 */
class LEVIN_API CallbackImpl {
 public:
  static constexpr std::int64_t kAllBatches = std::numeric_limits<std::int64_t>::max();

  virtual ~CallbackImpl();

  virtual void setup(Trainer&, Module&, Stage) {}
  virtual void teardown(Trainer&, Module&, Stage) {}
#define LEVIN_HOOK(name) \
  virtual void name(Trainer&, Module&) {}
  LEVIN_PLAIN_HOOKS(LEVIN_HOOK)
#undef LEVIN_HOOK
#define LEVIN_HOOK(name) \
  virtual void name(Trainer&, Module&, const Batch&, std::int64_t /*batch_idx*/) {}
  LEVIN_BATCH_HOOKS(LEVIN_HOOK)
#undef LEVIN_HOOK
  virtual void on_before_zero_grad(Trainer&, Module&, optim::Optimizer&) {}
  virtual void on_before_backward(Trainer&, Module&, const at::Tensor& /*loss*/) {}
  virtual void on_before_optimizer_step(Trainer&, Module&, optim::Optimizer&) {}
  virtual void on_exception(Trainer&, Module&, std::exception_ptr) {}
  /** The checkpoint as it will be written: change it or add to it. */
  virtual void on_save_checkpoint(Trainer&, Module&, Checkpoint&) {}
  /** The checkpoint that a fit resumes from, before `load_state_dict`. */
  virtual void on_load_checkpoint(Trainer&, Module&, const Checkpoint&) {}

  /**
   * How many of the batches to come can do without this callback's on_train_batch_start and on_train_batch_end, or
   * those of validation and test: by default none. Where no hook needs them, compiled steps run in blocks, without a
   * call from step to step. Asked again every few milliseconds: a callback that waits for a time says kAllBatches until
   * it has come.
   */
  virtual std::int64_t batches_to_skip(const Trainer&, Stage) const { return 0; }

  /** Names the callback's entry in a checkpoint; must differ between the stateful callbacks of a trainer. */
  virtual std::string state_key() const { return {}; }
  virtual Map state_dict() const { return {}; }
  virtual void load_state_dict(const Map&) {}

  /** Checkpoint callbacks run after all others, so that they save what the others have done. */
  virtual bool is_checkpoint() const { return false; }
  /** Callbacks that act on logged metrics see on_train_epoch_end after the module, so that they know its last values.
   */
  virtual bool monitors() const { return is_checkpoint(); }
  virtual bool is_progress_bar() const { return false; }
  virtual bool is_model_summary() const { return false; }
};

/** Handle of a callback; copies share the object. */
class LEVIN_API Callback {
 public:
  template <std::derived_from<CallbackImpl> Impl>
  Callback(std::shared_ptr<Impl> impl) : impl_(std::move(impl)), hooks_(overridden_hooks<Impl, CallbackImpl>()) {}

  /** For an implementation that knows only when it is made which hooks it needs. */
  Callback(std::shared_ptr<CallbackImpl> impl, HookSet hooks) : impl_(std::move(impl)), hooks_(hooks) {}

  CallbackImpl* operator->() const { return impl_.get(); }
  CallbackImpl& operator*() const { return *impl_; }
  HookSet hooks() const { return hooks_; }

 private:
  std::shared_ptr<CallbackImpl> impl_;
  HookSet hooks_;
};

/** Handle of a callback of known type: constructed from what `Impl` is constructed from, reached with `->`. */
template <std::derived_from<CallbackImpl> Impl>
class CallbackHolder : public Callback {
 public:
  template <class... Args>
  requires std::constructible_from<Impl, Args...>
  explicit CallbackHolder(Args&&... args) : CallbackHolder(std::make_shared<Impl>(std::forward<Args>(args)...)) {}

  Impl* operator->() const { return static_cast<Impl*>(Callback::operator->()); }
  Impl& operator*() const { return static_cast<Impl&>(Callback::operator*()); }

 protected:
  CallbackHolder(std::shared_ptr<Impl> impl) : Callback(std::move(impl)) {}
};

}  // namespace levin
