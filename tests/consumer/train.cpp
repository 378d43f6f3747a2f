// The whole library, from its umbrella header.
#include <levin/levin.h>

#include <iostream>

struct Line : levin::Module {
  torch::nn::Linear layer{1, 1};
  Line() { register_module("layer", layer); }
  torch::Tensor training_step(const levin::Batch& batch, int64_t) override {
    auto loss = torch::mse_loss(layer->forward(batch[0]), batch[1]);
    log("loss", loss);
    return loss;
  }
  levin::Optimizers configure_optimizers() override { return levin::optim::SGD(parameters(), {.lr = 0.1}); }
};

int main() {
  levin::seed_everything(1);
  auto x = torch::linspace(-1, 1, 100).unsqueeze(1);
  Line model;
  levin::Trainer trainer(
      {.logger = false, .max_epochs = 20, .enable_checkpointing = false, .enable_progress_bar = false});
  trainer.fit(model, levin::DataLoader(levin::TensorDataset({x, 2 * x + 1}), {.batch_size = 10, .shuffle = true}));
  std::cout << "loss " << trainer.metric("loss") << '\n';
  return trainer.metric("loss") < 1e-3 ? 0 : 1;
}
