// Running statistics of batch normalisation for weights that were not trained with them, such as averages.
#include <levin/train/trainer_impl.h>

#include <levin/core/error.h>

#include <torch/nn/modules/batchnorm.h>

namespace levin {
namespace {

/** Begins the statistics of one layer anew, as plain means over all batches; gives the momentum back at the end. */
template <class BatchNorm>
class Restart {
 public:
  static void add(torch::nn::Module& module, std::vector<Restart>& all) {
    if (auto* layer = dynamic_cast<BatchNorm*>(&module); layer && layer->running_mean.defined()) all.emplace_back(*layer);
  }
  explicit Restart(BatchNorm& layer) : layer_(&layer), momentum_(layer.options.momentum()) {
    layer.running_mean.zero_();
    layer.running_var.fill_(1);
    layer.num_batches_tracked.zero_();
    layer.options.momentum(std::nullopt);
  }
  void put_back() { layer_->options.momentum(momentum_); }

 private:
  BatchNorm* layer_;
  std::optional<double> momentum_;
};

template <class... BatchNorm>
struct Restarts {
  std::tuple<std::vector<Restart<BatchNorm>>...> all;

  explicit Restarts(torch::nn::Module& root) {
    (Restart<BatchNorm>::add(root, list<BatchNorm>()), ...);
    for (const auto& module : root.modules(/*include_self=*/false))
      (Restart<BatchNorm>::add(*module, list<BatchNorm>()), ...);
  }
  ~Restarts() {
    const auto put_back = [](auto& layers) {
      for (auto& layer : layers) layer.put_back();
    };
    (put_back(list<BatchNorm>()), ...);
  }
  Restarts(const Restarts&) = delete;
  Restarts& operator=(const Restarts&) = delete;
  bool empty() { return (list<BatchNorm>().empty() && ...); }
  template <class T>
  std::vector<Restart<T>>& list() {
    return std::get<std::vector<Restart<T>>>(all);
  }
};

}  // namespace

void Trainer::Impl::update_batch_norm() {
  const auto fail = [](const char* what, const char* hint) {
    throw Error({.what = what, .value = {}, .where = "update_batch_norm", .hint = hint});
  };
  if (!running || !fitting || !train_loader.defined()) fail("no fit is under way", "call it from a hook of a fit");
  if (!model->automatic_optimization()) {
    fail("in manual optimization a training step would train", "update the statistics in the module");
  }
  const torch::NoGradGuard no_grad;
  Restarts<torch::nn::BatchNorm1dImpl, torch::nn::BatchNorm2dImpl, torch::nn::BatchNorm3dImpl> restarts(*model);
  if (restarts.empty()) return;

  LogClock clock = 0;
  MetricLog dropped{clock, /*training=*/true};
  struct PutBack {
    Impl& run;
    Hook context = run.context;
    MetricLog* log = run.active_log;
    ~PutBack() { run.context = context, run.active_log = log; }
  } put_back{*this};
  active_log = &dropped;
  train_loader.begin_epoch(progress.epoch.current.completed);
  Batch batch;
  for (std::int64_t batch_idx = 0; batch_idx < num_training_batches && train_loader.next(batch); ++batch_idx) {
    receive(batch);
    dropped.begin_batch(batch);
    context = Hook::training_step;
    const Precision::Context forward(options.precision, device.type());
    model->training_step(batch, batch_idx, 0);
  }
}

}  // namespace levin
