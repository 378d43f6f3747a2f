// Metrics that accumulate over an epoch without a device synchronisation.
#pragma once

#include <levin/core/export.h>

#include <ATen/core/Tensor.h>

#include <concepts>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

namespace levin::metrics {

/** Base of metrics: state in tensors on the data's device, reduced to one number by `compute`. */
class LEVIN_API MetricImpl {
 public:
  virtual ~MetricImpl();
  /** The metric over everything since the last reset: a tensor with one element; NaN before any update. */
  virtual at::Tensor compute() const = 0;
  /** The metric over the last update alone, for step values; undefined where a metric has no such thing. */
  virtual at::Tensor batch_value() const { return {}; }
  /**
   * What the last update added, for a compiled step: its tensors are computed by the program, and `add_batch` is called
   * with them at each step in the place of update. `updates` counts the updates so far. Empty tensors: this metric
   * cannot be compiled.
   */
  struct BatchState {
    std::vector<at::Tensor> tensors;
    std::vector<std::int64_t> counts;
    std::int64_t updates = 0;
  };
  virtual BatchState batch_state() const { return {}; }
  virtual void add_batch(const BatchState& /*batch*/) {}
  virtual void reset() = 0;
  /** The tensors that make up the state, for checkpoints; `load_state` takes what `state` returned. */
  virtual std::vector<at::Tensor> state() const = 0;
  virtual void load_state(const std::vector<at::Tensor>& state) = 0;
};

/** Handle of a metric; copies share the state. */
class LEVIN_API Metric {
 public:
  Metric(std::nullptr_t = nullptr) {}
  template <std::derived_from<MetricImpl> Impl>
  Metric(std::shared_ptr<Impl> impl) : impl_(std::move(impl)) {}

  MetricImpl* operator->() const { return impl_.get(); }
  explicit operator bool() const { return impl_ != nullptr; }
  const std::shared_ptr<MetricImpl>& impl() const { return impl_; }

 private:
  std::shared_ptr<MetricImpl> impl_;
};

/** Sums of per-batch statistics: what most metrics need. */
class LEVIN_API SumMetricImpl : public MetricImpl {
 public:
  at::Tensor compute() const override;
  at::Tensor batch_value() const override;
  BatchState batch_state() const override;
  void add_batch(const BatchState& batch) override;
  void reset() override;
  std::vector<at::Tensor> state() const override;
  void load_state(const std::vector<at::Tensor>& state) override;

 protected:
  /** Adds a batch: `sum` of the statistic over `count` samples. */
  void add(const at::Tensor& sum, std::int64_t count);
  /** The metric's value from the mean of the statistic: by default the mean itself. */
  virtual at::Tensor from_mean(const at::Tensor& mean) const { return mean; }

 private:
  at::Tensor value(const at::Tensor& sum, std::int64_t count) const;

  at::Tensor sum_, batch_sum_;
  std::int64_t count_ = 0, batch_count_ = 0, updates_ = 0;
};

struct AccuracyOptions {
  std::int64_t num_classes = 0;  ///< of the scores' second dimension; 0 takes what comes
};

/**
 * Share of samples whose class is predicted rightly (micro average).
 *
 * `update(preds, target)`: preds are scores [N, C] (the largest wins), class indices [N], or for two classes
 * logits [N] or [N, 1] (above 0 is class 1); target holds N class indices.
 */
class LEVIN_API AccuracyImpl : public SumMetricImpl {
 public:
  explicit AccuracyImpl(AccuracyOptions options = {}) : options_(options) {}
  void update(const at::Tensor& preds, const at::Tensor& target);

 private:
  AccuracyOptions options_;
};

/** Mean of squared differences over all elements. `update(preds, target)`: shapes must be equal. */
class LEVIN_API MeanSquaredErrorImpl : public SumMetricImpl {
 public:
  void update(const at::Tensor& preds, const at::Tensor& target);
};

/** Root of the mean squared difference over all elements. `update(preds, target)`: shapes must be equal. */
class LEVIN_API RootMeanSquaredErrorImpl : public MeanSquaredErrorImpl {
 protected:
  at::Tensor from_mean(const at::Tensor& mean) const override;
};

/** Mean of absolute differences over all elements. `update(preds, target)`: shapes must be equal. */
class LEVIN_API MeanAbsoluteErrorImpl : public SumMetricImpl {
 public:
  void update(const at::Tensor& preds, const at::Tensor& target);
};

/** Coefficient of determination, 1 - SS_res / SS_tot, accumulated in float64. `update(preds, target)`: equal shapes. */
class LEVIN_API R2ScoreImpl : public MetricImpl {
 public:
  void update(const at::Tensor& preds, const at::Tensor& target);
  at::Tensor compute() const override;
  at::Tensor batch_value() const override;
  BatchState batch_state() const override;
  void add_batch(const BatchState& batch) override;
  void reset() override;
  std::vector<at::Tensor> state() const override;
  void load_state(const std::vector<at::Tensor>& state) override;

 private:
  void add(const at::Tensor& sums);

  std::int64_t updates_ = 0;
  at::Tensor sums_, batch_sums_;  // [4]: count, sum of y, sum of y^2, sum of squared residuals
};

/** Typed handle: constructed from the metric's options, reached with `->`. */
template <std::derived_from<MetricImpl> Impl>
class MetricHolder : public Metric {
 public:
  MetricHolder(std::nullptr_t) {}
  template <class... Args>
  requires std::constructible_from<Impl, Args...>
  explicit MetricHolder(Args&&... args) : Metric(std::make_shared<Impl>(std::forward<Args>(args)...)) {}
  MetricHolder(std::shared_ptr<Impl> impl) : Metric(std::move(impl)) {}

  Impl* operator->() const { return static_cast<Impl*>(impl().get()); }
};

/** See AccuracyImpl. */
class Accuracy : public MetricHolder<AccuracyImpl> {
 public:
  using MetricHolder::MetricHolder;
  explicit Accuracy(AccuracyOptions options = {}) : MetricHolder(std::make_shared<AccuracyImpl>(options)) {}
};

using MeanSquaredError = MetricHolder<MeanSquaredErrorImpl>;
using RootMeanSquaredError = MetricHolder<RootMeanSquaredErrorImpl>;
using MeanAbsoluteError = MetricHolder<MeanAbsoluteErrorImpl>;
using R2Score = MetricHolder<R2ScoreImpl>;

}  // namespace levin::metrics
