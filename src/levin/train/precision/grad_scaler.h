// GradScaler: keeps small gradients of float16 training from vanishing, as torch.amp.GradScaler.
#pragma once

#include <levin/core/export.h>
#include <levin/core/value.h>
#include <levin/optim/optimizer.h>

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>
#include <vector>

namespace levin {

/** Options of a GradScaler, in PyTorch's order. */
struct GradScalerOptions {
  double init_scale = 65536;            ///< what the first losses are multiplied by
  double growth_factor = 2;             ///< above 1
  double backoff_factor = 0.5;          ///< in (0, 1)
  std::int64_t growth_interval = 2000;  ///< steps without an infinite gradient before the scale grows
};

/**
 * Multiplies losses by a scale and divides gradients by it again; a step whose gradients hold Inf or NaN is left out
 * and the scale lowered.
 *
 *     scaler.scale(loss).backward();
 *     scaler.unscale_(optimizer);      // only to look at or clip the gradients
 *     scaler.step(optimizer);
 *     scaler.update();
 *
 * The scale stays on the device. `step` has to know whether to leave the step out: on the CPU that costs nothing, on
 * an accelerator it waits for the gradients.
 */
class LEVIN_API GradScaler {
 public:
  explicit GradScaler(GradScalerOptions options = {});

  /** `loss` times the scale. */
  at::Tensor scale(const at::Tensor& loss);
  /** Divides the gradients of `optimizer` by the scale and looks for Inf and NaN; at most once before each step. */
  void unscale_(const optim::Optimizer& optimizer);
  /** Unscales if that is still to do, and steps unless a gradient is Inf or NaN. Returns whether it stepped. */
  bool step(optim::Optimizer& optimizer);
  /** Lowers or raises the scale by what the steps since the last update found; or sets it to `new_scale`. */
  void update(std::optional<double> new_scale = {});

  /** The scale now; waits for the device. */
  double get_scale() const;

  /** {scale, growth_factor, backoff_factor, growth_interval, _growth_tracker}, as in PyTorch. */
  Map state_dict() const;
  void load_state_dict(const Map& state);

 private:
  enum class Stage { ready, unscaled, stepped };
  struct PerOptimizer {
    optim::Optimizer optimizer;
    Stage stage = Stage::ready;
    at::Tensor found_inf;
  };
  PerOptimizer& state_of(const optim::Optimizer& optimizer);
  void require_scale(const char* function) const;
  static void check(const GradScalerOptions& options);

  GradScalerOptions options_;
  std::int64_t init_growth_tracker_ = 0;
  at::Tensor scale_, growth_tracker_;  // on the device of the first loss
  std::vector<PerOptimizer> optimizers_;
};

}  // namespace levin
