// The model, data and fit of tests/golden/scripts/lightning_fit.py, which Lightning and Levin continue for each other.
#pragma once

#include <levin/levin.h>

#include <string>

namespace levin::testing {

struct InteropNet : Module {
  explicit InteropNet(const Map& hparams) {
    save_hyperparameters(hparams);
    optimizer = hparams.get<std::string>("optimizer");
    const auto width = hparams.get<std::int64_t>("width");
    net = register_module(
        "net", torch::nn::Sequential(torch::nn::Linear(3, width), torch::nn::Tanh(), torch::nn::Linear(width, 1)));
    // The same numbers everywhere, whatever the random generator.
    const torch::NoGradGuard no_grad;
    double phase = 1;
    for (auto& p : net->parameters()) {
      p.copy_((torch::arange(p.numel(), torch::kDouble) * phase).sin().mul(0.5).reshape(p.sizes()).to(torch::kFloat));
      phase += 1;
    }
  }
  torch::Tensor training_step(const Batch& batch, std::int64_t) override {
    auto loss = torch::mse_loss(net->forward(batch[0]), batch[1]);
    log("train_loss", loss);
    return loss;
  }
  Optimizers configure_optimizers() override {
    optim::Optimizer chosen =
        optimizer == "SGD"    ? optim::Optimizer(optim::SGD(parameters(), {.lr = 0.125, .momentum = 0.875}))
        : optimizer == "Adam" ? optim::Optimizer(optim::Adam(parameters(), {.lr = 0.0625}))
                              : optim::Optimizer(optim::AdamW(parameters(), {.lr = 0.0625, .weight_decay = 0.125}));
    return {chosen, {.scheduler = optim::StepLR(chosen, {.step_size = 4, .gamma = 0.5}), .interval = Interval::step}};
  }

  std::string optimizer;
  torch::nn::Sequential net{nullptr};
};

/** Five batches of four rows, in order. */
inline DataLoader interop_data() {
  auto x = torch::arange(60, torch::kDouble).cos().reshape({20, 3}).to(torch::kFloat);
  return DataLoader(TensorDataset({x, x.sum(1, true).sin()}), {.batch_size = 4});
}

inline constexpr std::int64_t kInteropEpochs = 3;

}  // namespace levin::testing
