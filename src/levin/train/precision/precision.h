// Precision: the number formats of a training, by Lightning's names.
#pragma once

#include <levin/core/export.h>
#include <levin/core/value.h>
#include <levin/data/batch.h>
#include <levin/train/precision/grad_scaler.h>

#include <c10/core/Device.h>
#include <c10/core/ScalarType.h>

#include <optional>
#include <string>

namespace torch::nn {
class Module;
}

namespace levin {

/**
 * How numbers are held and computed with:
 *
 * - "32-true", "64-true", "bf16-true", "16-true": parameters, inputs and results in this format;
 * - "bf16-mixed": parameters in float32, autocast to bfloat16 where that is safe;
 * - "16-mixed": as that with float16, and losses scaled (GradScaler) so that small gradients do not vanish.
 *
 * Also "32", "64", "16" (16-mixed) and "bf16" (bf16-mixed), as Lightning has them.
 */
class LEVIN_API Precision {
 public:
  /** Throws Error for an unknown name. */
  Precision(std::string name = "32-true");
  Precision(const char* name) : Precision(std::string(name)) {}

  /** The full name, such as "bf16-mixed". */
  const std::string& name() const { return name_; }
  friend bool operator==(const Precision& a, const Precision& b) { return a.name_ == b.name_; }
  /** The format of parameters and inputs. */
  at::ScalarType dtype() const { return dtype_; }

  /** Puts floating parameters and buffers into the format; whole numbers stay. */
  void convert_module(torch::nn::Module& module) const;
  /** Whether `convert_input` and `convert_module` have anything to do. */
  bool converts() const { return converts_; }
  /** The batch with its floating tensors in the format. Nothing to do for "32-true" and the mixed ones. */
  Batch convert_input(Batch batch) const { return converts_ ? converted(std::move(batch)) : batch; }

  /**
   * Around the computation of a loss or a prediction, never around backward: autocast (mixed), or the format as
   * torch's default for new tensors, which is process-wide (64-true, bf16-true, 16-true). Costs nothing for 32-true.
   */
  class LEVIN_API Context {
   public:
    Context(const Precision& precision, c10::DeviceType device) {
      if (precision.changes_context_) enter(precision, device);
    }
    ~Context() {
      if (active_) leave();
    }
    Context(const Context&) = delete;
    Context& operator=(const Context&) = delete;

   private:
    void enter(const Precision& precision, c10::DeviceType device);
    void leave();

    bool active_ = false, autocast_ = false;
    c10::DeviceType device_ = c10::DeviceType::CPU;
    bool enabled_before_ = false, cache_before_ = false;
    at::ScalarType dtype_before_ = at::kFloat;
  };

  // --- the optimizer step; with a scaler in 16-mixed, plainly otherwise ---

  bool has_scaler() const { return scaler_.has_value(); }
  GradScaler* scaler() { return scaler_ ? &*scaler_ : nullptr; }
  /** What to call backward on. */
  at::Tensor scale(const at::Tensor& loss) { return scaler_ ? scaler_->scale(loss) : loss; }
  /** Before gradients are looked at or clipped. */
  void unscale(const optim::Optimizer& optimizer) {
    if (scaler_) scaler_->unscale_(optimizer);
  }
  /** Steps, unless a gradient overflowed; returns whether it stepped. Unscales if that was not done. */
  bool step(optim::Optimizer& optimizer);

  /** The scaler's state, empty without one; in checkpoints under `state_key`. */
  Map state_dict() const { return scaler_ ? scaler_->state_dict() : Map{}; }
  void load_state_dict(const Map& state) {
    if (scaler_ && !state.empty()) scaler_->load_state_dict(state);
  }
  /** The key of this state in a Lightning checkpoint. */
  static constexpr const char* state_key = "MixedPrecision";

 private:
  Batch converted(Batch batch) const;

  std::string name_;
  at::ScalarType dtype_ = at::kFloat;          // of parameters
  at::ScalarType compute_dtype_ = at::kFloat;  // of autocast, or the default of new tensors
  bool mixed_ = false, converts_ = false, changes_context_ = false;
  std::optional<GradScaler> scaler_;
};

}  // namespace levin
