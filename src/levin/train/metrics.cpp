#include <levin/train/metrics.h>

#include <levin/core/error.h>

#include <ATen/ATen.h>
#include <torch/types.h>

#include <limits>
#include <sstream>

namespace levin::metrics {
namespace {

std::string shape(const at::Tensor& tensor) {
  std::ostringstream out;
  out << tensor.sizes();
  return out.str();
}

void check_same_shape(const char* metric, const at::Tensor& preds, const at::Tensor& target) {
  if (preds.sizes() == target.sizes()) return;
  throw Error({.what = std::string(metric) + ": predictions and targets must have the same shape",
               .value = shape(preds) + " and " + shape(target),
               .where = {},
               .hint = "squeeze or reshape one of them first: broadcasting would compare the wrong pairs"});
}

at::Tensor not_a_number() { return torch::full({}, std::numeric_limits<double>::quiet_NaN(), torch::kDouble); }

// Double precision where the device has it.
at::ScalarType widest(const at::Tensor& tensor) { return tensor.is_mps() ? at::kFloat : at::kDouble; }

at::Tensor r2(const at::Tensor& sums) {
  if (!sums.defined()) return not_a_number();
  const at::Tensor total = sums[2] - sums[1].square() / sums[0];
  return 1 - sums[3] / total;
}

}  // namespace

MetricImpl::~MetricImpl() = default;

void SumMetricImpl::add(const at::Tensor& sum, std::int64_t count) {
  const at::Tensor detached = sum.detach();
  sum_ = sum_.defined() ? sum_ + detached : detached;
  count_ += count;
  batch_sum_ = detached;
  batch_count_ = count;
  ++updates_;
}

MetricImpl::BatchState SumMetricImpl::batch_state() const {
  return {.tensors = {batch_sum_}, .counts = {batch_count_}, .updates = updates_};
}

void SumMetricImpl::add_batch(const BatchState& batch) { add(batch.tensors.at(0), batch.counts.at(0)); }

at::Tensor SumMetricImpl::value(const at::Tensor& sum, std::int64_t count) const {
  if (count == 0) return not_a_number();
  return from_mean(sum.to(widest(sum)) / static_cast<double>(count));
}

at::Tensor SumMetricImpl::compute() const { return value(sum_, count_); }
at::Tensor SumMetricImpl::batch_value() const { return value(batch_sum_, batch_count_); }

void SumMetricImpl::reset() {
  sum_.reset();
  batch_sum_.reset();
  count_ = batch_count_ = 0;
}

std::vector<at::Tensor> SumMetricImpl::state() const {
  return {sum_.defined() ? sum_.clone() : torch::zeros({}), torch::full({}, count_, torch::kLong)};
}

void SumMetricImpl::load_state(const std::vector<at::Tensor>& state) {
  count_ = state.at(1).item<std::int64_t>();
  sum_ = count_ == 0 ? at::Tensor() : state.at(0).clone();
  batch_sum_ = sum_;
  batch_count_ = count_;
}

void AccuracyImpl::update(const at::Tensor& preds, const at::Tensor& target) {
  at::Tensor classes;
  if (preds.dim() == 2 && preds.size(1) > 1) {
    if (options_.num_classes > 0 && preds.size(1) != options_.num_classes) {
      throw Error({.what = "Accuracy: the scores' second dimension must be num_classes = " +
                           std::to_string(options_.num_classes),
                   .value = shape(preds),
                   .where = {},
                   .hint = "set .num_classes to the model's outputs, or leave it out"});
    }
    classes = preds.argmax(1);
  } else if (preds.is_floating_point()) {
    classes = preds.reshape({-1}).gt(0).to(torch::kLong);
  } else {
    classes = preds.reshape({-1});
  }
  const at::Tensor labels = target.reshape({-1});
  check_same_shape("Accuracy", classes, labels);
  add(classes.eq(labels).sum(), labels.numel());
}

void MeanSquaredErrorImpl::update(const at::Tensor& preds, const at::Tensor& target) {
  check_same_shape("MeanSquaredError", preds, target);
  add((preds - target).square().sum(torch::kDouble), target.numel());
}

at::Tensor RootMeanSquaredErrorImpl::from_mean(const at::Tensor& mean) const { return mean.sqrt(); }

void MeanAbsoluteErrorImpl::update(const at::Tensor& preds, const at::Tensor& target) {
  check_same_shape("MeanAbsoluteError", preds, target);
  add((preds - target).abs().sum(torch::kDouble), target.numel());
}

void R2ScoreImpl::update(const at::Tensor& preds, const at::Tensor& target) {
  check_same_shape("R2Score", preds, target);
  const at::Tensor y = target.detach().to(torch::kDouble), residual = preds.detach().to(torch::kDouble) - y;
  const at::Tensor sums = torch::stack(
      {torch::full_like(y.sum(), static_cast<double>(y.numel())), y.sum(), y.square().sum(), residual.square().sum()});
  add(sums);
}

void R2ScoreImpl::add(const at::Tensor& sums) {
  sums_ = sums_.defined() ? sums_ + sums : sums;
  batch_sums_ = sums;
  ++updates_;
}

MetricImpl::BatchState R2ScoreImpl::batch_state() const {
  return {.tensors = {batch_sums_}, .counts = {}, .updates = updates_};
}

void R2ScoreImpl::add_batch(const BatchState& batch) { add(batch.tensors.at(0)); }

at::Tensor R2ScoreImpl::compute() const { return r2(sums_); }
at::Tensor R2ScoreImpl::batch_value() const { return r2(batch_sums_); }

void R2ScoreImpl::reset() {
  sums_.reset();
  batch_sums_.reset();
}

std::vector<at::Tensor> R2ScoreImpl::state() const {
  return {sums_.defined() ? sums_.clone() : torch::zeros({0}, torch::kDouble)};
}

void R2ScoreImpl::load_state(const std::vector<at::Tensor>& state) {
  sums_ = state.at(0).numel() == 0 ? at::Tensor() : state.at(0).clone();
}

}  // namespace levin::metrics
