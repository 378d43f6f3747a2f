// Fabric: a Trainer's parts (device, precision, loggers, checkpoints) for a loop written by hand.
#pragma once

#include <levin/core/export.h>
#include <levin/core/value.h>
#include <levin/data/loader.h>
#include <levin/optim/clip_grad.h>
#include <levin/optim/lr_scheduler.h>
#include <levin/train/checkpoint_io/pickle_value.h>
#include <levin/train/loggers/logger.h>
#include <levin/train/precision/precision.h>

#include <concepts>
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace levin {

class Fabric;

/** Base of what `Fabric::call` calls: derive, with whatever member functions your loop has hooks for. */
class LEVIN_API FabricCallback {
 public:
  virtual ~FabricCallback();
};

/** Options of a Fabric, in the order of Lightning's. */
struct FabricOptions {
  std::string accelerator = "auto";  ///< "cpu", "cuda" (also "gpu"), "mps", or "auto": a GPU where there is one
  std::int64_t device = 0;           ///< the index of the GPU
  Precision precision = "32-true";
  std::vector<std::shared_ptr<FabricCallback>> callbacks = {};
  std::vector<Logger> loggers = {};
};

/** An optimizer whose step goes through the precision: in "16-mixed" it unscales and may leave a step out. */
class LEVIN_API FabricOptimizer {
 public:
  void zero_grad(bool set_to_none = true) { optimizer_.zero_grad(set_to_none); }
  /** Returns whether it stepped: false when float16 gradients overflowed. */
  bool step();
  optim::Optimizer& optimizer() { return optimizer_; }
  const optim::Optimizer& optimizer() const { return optimizer_; }
  operator const optim::Optimizer&() const { return optimizer_; }

 private:
  friend class Fabric;
  FabricOptimizer(Fabric& fabric, optim::Optimizer optimizer) : fabric_(&fabric), optimizer_(std::move(optimizer)) {}

  Fabric* fabric_;
  optim::Optimizer optimizer_;
};

/** A loader whose batches come on the Fabric's device, floating tensors in its precision. */
class LEVIN_API FabricLoader {
 public:
  class Iterator {
   public:
    const Batch& operator*() const { return batch_; }
    const Batch* operator->() const { return &batch_; }
    Iterator& operator++() {
      ++inner_;
      fetch();
      return *this;
    }
    void operator++(int) { ++*this; }
    bool operator==(std::default_sentinel_t end) const { return inner_ == end; }

   private:
    friend class FabricLoader;
    Iterator(const Fabric& fabric, DataLoader::Iterator inner) : fabric_(&fabric), inner_(std::move(inner)) { fetch(); }
    LEVIN_API void fetch();

    const Fabric* fabric_;
    DataLoader::Iterator inner_;
    Batch batch_;
  };

  Iterator begin() { return {*fabric_, loader_.begin()}; }
  std::default_sentinel_t end() const noexcept { return std::default_sentinel; }
  std::int64_t size() const { return loader_.size(); }
  /** The loader itself: its position is what a checkpoint keeps. */
  DataLoader& loader() { return loader_; }

 private:
  friend class Fabric;
  FabricLoader(const Fabric& fabric, DataLoader loader) : fabric_(&fabric), loader_(std::move(loader)) {}

  const Fabric* fabric_;
  DataLoader loader_;
};

/** Stands for torch's random generators (CPU and the Fabric's device) in a state to save. */
struct CurrentRng {};

/** Something that `save` writes and `load` puts back in place. Refers to the object given; values must outlive it. */
class LEVIN_API StateItem {
 public:
  StateItem(torch::nn::Module& module);
  /** From a module holder, such as torch::nn::Linear. */
  template <class Holder>
  requires requires(Holder& holder) {
    { *holder } -> std::convertible_to<torch::nn::Module&>;
  }
  StateItem(Holder& holder) : StateItem(static_cast<torch::nn::Module&>(*holder)) {}
  StateItem(optim::Optimizer& optimizer);
  StateItem(FabricOptimizer& optimizer) : StateItem(optimizer.optimizer()) {}
  template <std::derived_from<optim::Optimizer> T>
  requires(!std::same_as<T, optim::Optimizer>) StateItem(T& optimizer)
      : StateItem(static_cast<optim::Optimizer&>(optimizer)) {}
  template <std::derived_from<optim::LRScheduler> T>
  StateItem(T& scheduler) : StateItem(static_cast<const optim::LRScheduler&>(scheduler), 0) {}
  StateItem(DataLoader& loader);
  StateItem(FabricLoader& loader) : StateItem(loader.loader()) {}
  StateItem(at::Tensor& tensor);
  StateItem(std::int64_t& number);
  StateItem(double& number);
  StateItem(bool& flag);
  StateItem(std::string& text);
  StateItem(Map& map);
  StateItem(CurrentRng);

 private:
  friend class Fabric;
  StateItem(optim::LRScheduler scheduler, int);

  std::function<PickleValue(const Fabric&)> save_;
  std::function<void(const PickleValue&, const Fabric&)> load_;
};

/** The parts of a training by name. */
using FabricState = std::initializer_list<std::pair<std::string_view, StateItem>>;

struct ClipGradientsOptions {
  double clip_val = 0;             ///< above 0: clamps each element to [-clip_val, clip_val]
  double max_norm = 0;             ///< above 0: scales all gradients so that their norm is at most this
  double norm_type = 2;            ///< p of that norm
  bool error_if_nonfinite = true;  ///< throw Error when the norm is NaN or infinite
};

/**
 * What the Trainer is built on, for loops of your own: the device, the precision, loggers and checkpoints.
 *
 *     levin::Fabric fabric({.precision = "bf16-mixed"});
 *     auto optimizer = fabric.setup(model, levin::optim::AdamW(model->parameters()));
 *     for (const auto& batch : fabric.setup_dataloader(loader)) {
 *       optimizer.zero_grad();
 *       fabric.backward(fabric.autocast([&] { return loss(model->forward(batch[0]), batch[1]); }));
 *       optimizer.step();
 *     }
 */
class LEVIN_API Fabric {
 public:
  explicit Fabric(FabricOptions options = {});
  Fabric(const Fabric&) = delete;
  Fabric& operator=(const Fabric&) = delete;

  c10::Device device() const { return device_; }
  Precision& precision() { return options_.precision; }
  const Precision& precision() const { return options_.precision; }

  /** Moves the module to the device and into the precision. */
  void setup_module(torch::nn::Module& module) const;
  template <class Holder>
  requires requires(Holder& holder) {
    { *holder } -> std::convertible_to<torch::nn::Module&>;
  }
  void setup_module(Holder& holder) const { setup_module(static_cast<torch::nn::Module&>(*holder)); }
  FabricOptimizer setup_optimizer(optim::Optimizer optimizer) { return {*this, std::move(optimizer)}; }
  /** Both at once. The optimizer may have been made before the module was moved. */
  template <class M>
  FabricOptimizer setup(M& module, optim::Optimizer optimizer) {
    setup_module(module);
    return setup_optimizer(std::move(optimizer));
  }
  FabricLoader setup_dataloader(DataLoader loader) const { return {*this, std::move(loader)}; }
  /** The batch on the device, floating tensors in the precision. */
  Batch to_device(const Batch& batch) const;
  at::Tensor to_device(const at::Tensor& tensor) const { return tensor.to(device_); }

  /** The precision's context, until it goes out of scope: `auto context = fabric.autocast();`. */
  Precision::Context autocast() const { return {options_.precision, device_.type()}; }
  /** `forward()` within that context. */
  template <std::invocable F>
  auto autocast(F&& forward) const {
    const Precision::Context context(options_.precision, device_.type());
    return std::forward<F>(forward)();
  }
  /** Back-propagates the loss, scaled where the precision asks for it. */
  void backward(const at::Tensor& loss);
  /** Clips by value or by norm, whichever is set; exactly one must be. Returns the norm before clipping, or nothing. */
  at::Tensor clip_gradients(FabricOptimizer& optimizer, ClipGradientsOptions options);

  /** Gives a value to all loggers. A tensor is read at once, which waits for its device. */
  void log(const std::string& name, double value, std::int64_t step) const {
    log_dict({{name, value}}, {.step = step});
  }
  void log(const std::string& name, const at::Tensor& value, std::int64_t step) const;
  void log_dict(const MetricValues& values, const LogPoint& point) const;
  void log_hyperparams(const Map& hparams) const;
  /** Writes what loggers hold back; also done when the Fabric is destroyed. */
  void finalize(std::string_view status = "success") const;
  ~Fabric();

  /** Writes the state to a PyTorch file, atomically; the precision's scaler is in it. */
  void save(const std::string& path, FabricState state) const;
  /**
   * Puts the state back in place and returns what else the file holds, of plain values. Throws Error for a name that
   * the file lacks, for parts that do not fit.
   */
  Map load(const std::string& path, FabricState state);
  /** Loads only the weights of a module, from a Lightning checkpoint or a plain state_dict. */
  void load_raw(const std::string& path, torch::nn::Module& module) const;

  /** Calls `method` on every callback that has it: `fabric.call(&Printer::on_epoch_end, epoch, loss)`. */
  template <class C, class... P, class... A>
  void call(void (C::*method)(P...), A&&... args) const {
    for (const auto& callback : options_.callbacks) {
      if (auto* own = dynamic_cast<C*>(callback.get())) (own->*method)(args...);
    }
  }

  /** A line for people on standard error, above progress bars. */
  void print(std::string_view text) const;

 private:
  FabricOptions options_;
  c10::Device device_;
};

}  // namespace levin
