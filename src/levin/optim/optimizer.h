// Optimizer: the handle that a training loop holds; the concrete ones are in adam.h and sgd.h.
#pragma once

#include <levin/core/export.h>
#include <levin/optim/optimizer_state.h>
#include <levin/optim/param_group.h>

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace levin::optim {

class OptimizerImpl;

/**
 * Updates parameters from their gradients. A handle: copies share one optimizer.
 *
 * On construction the parameters of a group move into one flat buffer (see arena.h) where that is safe; they stay the
 * same tensors to everybody who holds them. A parameter whose gradient is undefined is skipped and its step count not
 * advanced, as in PyTorch. A default-constructed handle is empty; using it throws.
 */
class LEVIN_API Optimizer {
 public:
  Optimizer() = default;
  explicit Optimizer(std::shared_ptr<OptimizerImpl> impl) : impl_(std::move(impl)) {}

  bool defined() const noexcept { return impl_ != nullptr; }
  explicit operator bool() const noexcept { return defined(); }

  /** "SGD", "Adam", "AdamW", ... */
  std::string name() const;

  /**
   * Forgets the gradients: each becomes undefined, or zero with `set_to_none = false` (as PyTorch's).
   *
   * With bound gradients (bind_gradients) they stay defined and the buffer is zeroed; a parameter that gets no gradient
   * before the next step() is still skipped by it, unless `set_to_none = false` asked for zeros that count.
   */
  void zero_grad(bool set_to_none = true);

  /** One update of every parameter that has a gradient. Does not synchronise the device. */
  void step();
  /** Calls of step() so far. */
  int64_t step_count() const;

  /** The groups, in order; settings may be changed and are read at the next step. */
  std::span<Group> param_groups() const;
  /** The parameters of all groups, in order. */
  std::vector<at::Tensor> parameters() const;
  /** Adds a group; throws Error when a parameter is already there or cannot be optimized. */
  void add_param_group(ParamGroup group);

  /** The state in PyTorch's layout. */
  OptimizerState state_dict() const;
  /**
   * Restores a state, copying its tensors; group settings are replaced by the saved ones. Throws Error when groups,
   * sizes or names do not fit, and then changes nothing.
   */
  void load_state_dict(const OptimizerState& state);

  /**
   * Makes gradients live in flat buffers beside the parameters: backward adds into them in place, and one kernel call
   * or one collective serves them all. Gradients already there are kept.
   *
   * Not the default, by measurement (benchmarks/optim/step_speed.cpp): without it backward hands fresh gradients over
   * for nothing instead of adding them in, which outweighs the single call. It pays where gradients are clipped or
   * reduced as a whole, and is what a captured step needs.
   */
  void bind_gradients();
  /** Undoes bind_gradients: gradients are fresh tensors again (defined ones are kept). */
  void unbind_gradients();
  bool gradients_bound() const;

  const std::shared_ptr<OptimizerImpl>& impl() const noexcept { return impl_; }
  /** True when both handles are of one optimizer. */
  friend bool operator==(const Optimizer& a, const Optimizer& b) noexcept { return a.impl_ == b.impl_; }

 private:
  OptimizerImpl& get() const;

  std::shared_ptr<OptimizerImpl> impl_;
};

}  // namespace levin::optim
