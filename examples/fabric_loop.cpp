// A training loop written by hand on Fabric: device, precision, logging and checkpoints without a Trainer.
#include <levin/levin.h>

#include <iostream>

namespace nn = torch::nn;

int main() {
  levin::seed_everything(0);
  auto x = torch::linspace(-3, 3, 600).unsqueeze(1);
  levin::DataLoader data(levin::TensorDataset({x, torch::sin(x)}), {.batch_size = 50, .shuffle = true});
  nn::Sequential model(nn::Linear(1, 32), nn::Tanh(), nn::Linear(32, 1));

  levin::Fabric fabric({.precision = "bf16-mixed", .loggers = {levin::CSVLogger({.name = "fabric"})}});
  auto optimizer = fabric.setup(model, levin::optim::Adam(model->parameters(), {.lr = 0.01}));
  auto train = fabric.setup_dataloader(data);

  int64_t epoch = 0, step = 0;
  torch::Tensor loss;
  for (; epoch < 40; ++epoch) {
    for (const auto& batch : train) {
      optimizer.zero_grad();
      loss = fabric.autocast([&] { return torch::mse_loss(model->forward(batch[0]), batch[1]); });
      fabric.backward(loss);
      fabric.clip_gradients(optimizer, {.max_norm = 1.0});
      optimizer.step();
      ++step;
    }
    fabric.log("loss", loss, step);
    fabric.save("fabric.ckpt", {{"model", model}, {"optimizer", optimizer}, {"data", data}, {"epoch", epoch}});
  }
  std::cout << "loss " << loss.item<float>() << '\n';
}
