#include <levin/app/engine/tabular_module.h>

#include <levin/train/checkpoint_io/pickle_value.h>
#include <levin/core/error.h>
#include <levin/optim/adam.h>
#include <levin/optim/lr_scheduler.h>
#include <levin/optim/sgd.h>
#include <levin/train/trainer.h>

#include <torch/types.h>

namespace levin::app {

TabularModule::TabularModule(const Settings& settings, TabularShape shape, Map card)
    : optimizer_(settings.optimizer),
      scheduler_(settings.scheduler),
      shape_(std::move(shape)),
      card_(std::move(card)),
      plateau_monitor_(settings.data.val_fraction > 0 ? "val_loss" : "train_loss") {
  std::vector<nn::EmbeddingSize> embeddings;
  for (const std::int64_t n : shape_.cardinalities) embeddings.push_back({.cardinality = n});
  net_ = register_module("net", nn::MLP(nn::MLPOptions{.in = shape_.features,
                                                       .widths = settings.model.widths,
                                                       .out = shape_.outputs,
                                                       .activation = settings.model.activation,
                                                       .dropout = settings.model.dropout,
                                                       .norm = settings.model.norm,
                                                       .skip = settings.model.skip,
                                                       .init = settings.model.init,
                                                       .embeddings = std::move(embeddings)}));
  if (settings.data.noise > 0) noise_.emplace(GaussianNoiseOptions{.std = settings.data.noise});
  if (settings.data.mixup > 0) {
    if (!shape_.cardinalities.empty()) {
      throw Error({.what = "mixup blends inputs, and codes of categories cannot be blended",
                   .value = "data.mixup " + format_double(settings.data.mixup) + " with data.categorical embedding",
                   .where = {},
                   .hint = "use --data.categorical onehot, or --data.mixup 0"});
    }
    mixup_.emplace(MixupOptions{.alpha = settings.data.mixup,
                                .num_classes = shape_.problem == Problem::classification ? shape_.outputs : 0});
  }
  val_ = make_metrics("val");
  test_ = make_metrics("test");
}

TabularModule::EvalMetrics TabularModule::make_metrics(const std::string& stage) {
  EvalMetrics metrics;
  if (shape_.problem == Problem::regression) {
    metrics.rmse = register_metric(stage + "_rmse", metrics::RootMeanSquaredError());
    metrics.r2 = register_metric(stage + "_r2", metrics::R2Score());
  } else {
    metrics.accuracy = register_metric(stage + "_acc", metrics::Accuracy());
  }
  return metrics;
}

torch::Tensor TabularModule::forward(const Batch& batch) {
  return shape_.cardinalities.empty() ? net_->forward(batch[0]) : net_->forward(batch[0], batch[1]);
}

torch::Tensor TabularModule::loss(const torch::Tensor& output, const torch::Tensor& target) const {
  switch (shape_.problem) {
    case Problem::classification: return torch::cross_entropy_loss(output, target);
    case Problem::binary:
      return torch::binary_cross_entropy_with_logits(output, target.to(output.scalar_type()).view_as(output));
    case Problem::regression: return torch::mse_loss(output, target);
  }
  return {};
}

torch::Tensor TabularModule::training_step(const Batch& batch, std::int64_t batch_idx) {
  torch::Tensor value;
  if (noise_ || mixup_) {
    // The streams are keyed by the place in the training: a resumed run draws what an uninterrupted one does.
    Batch changed = noise_ ? (*noise_)(batch, current_epoch(), batch_idx) : batch;
    if (mixup_) {
      if (shape_.problem == Problem::binary) {
        torch::Tensor& labels = changed[changed.size() - 1];
        labels = labels.to(torch::kFloat);
      }
      changed = (*mixup_)(changed, current_epoch(), batch_idx);
    }
    value = loss(forward(changed), target(changed));
  } else {
    value = loss(forward(batch), target(batch));
  }
  log("train_loss", value, {.prog_bar = true, .on_step = false, .on_epoch = true});
  return value;
}

void TabularModule::evaluate(const Batch& batch, const std::string& stage, EvalMetrics& metrics) {
  const torch::Tensor output = forward(batch);
  log(stage + "_loss", loss(output, target(batch)), {.prog_bar = true});
  if (shape_.problem == Problem::regression) {
    metrics.rmse->update(output * shape_.target_scale, target(batch) * shape_.target_scale);
    metrics.r2->update(output, target(batch));
    log(stage + "_rmse", metrics.rmse);
    log(stage + "_r2", metrics.r2, {.prog_bar = true});
  } else {
    metrics.accuracy->update(output, target(batch));
    log(stage + "_acc", metrics.accuracy, {.prog_bar = true});
  }
}

void TabularModule::validation_step(const Batch& batch, std::int64_t) { evaluate(batch, "val", val_); }
void TabularModule::test_step(const Batch& batch, std::int64_t) { evaluate(batch, "test", test_); }

Batch TabularModule::predict_step(const Batch& batch, std::int64_t) {
  const torch::Tensor output = forward(batch);
  if (shape_.problem == Problem::classification) return {output.softmax(1)};
  if (shape_.problem == Problem::binary) return {torch::cat({1 - output.sigmoid(), output.sigmoid()}, 1)};
  return {output};
}

void TabularModule::on_save_checkpoint(Checkpoint& checkpoint) { checkpoint.set(kModelCardKey, PickleValue(card_)); }

Optimizers TabularModule::configure_optimizers() {
  const OptimizerSettings& o = optimizer_;
  optim::Optimizer optimizer;
  if (o.name == "sgd") {
    optimizer = optim::SGD(
        parameters(), {.lr = o.lr, .momentum = o.momentum, .weight_decay = o.weight_decay, .nesterov = o.nesterov});
  } else if (o.name == "adam") {
    optimizer = optim::Adam(parameters(),
                            {.lr = o.lr, .betas = {o.beta1, o.beta2}, .eps = o.eps, .weight_decay = o.weight_decay});
  } else {
    optimizer = optim::AdamW(parameters(),
                             {.lr = o.lr, .betas = {o.beta1, o.beta2}, .eps = o.eps, .weight_decay = o.weight_decay});
  }
  const SchedulerSettings& s = scheduler_;
  if (s.name == "step")
    return {optimizer, {.scheduler = optim::StepLR(optimizer, {.step_size = s.step_size, .gamma = s.gamma})}};
  if (s.name == "cosine")
    return {optimizer, {.scheduler = optim::CosineAnnealingLR(optimizer, {.T_max = s.T_max, .eta_min = s.eta_min})}};
  if (s.name == "plateau") {
    return {optimizer,
            {.scheduler = optim::ReduceLROnPlateau(optimizer, {.factor = s.factor, .patience = s.patience}),
             .monitor = plateau_monitor_}};
  }
  return optimizer;
}

}  // namespace levin::app
