// The blog post's first program: full control, a loop written by hand. Levin is used only where it helps:
// the optimizer (fused, state_dict-compatible with PyTorch).
#include <levin/levin.h>

#include <iostream>

namespace nn = torch::nn;

int main() {
  levin::seed_everything(42);
  auto x = torch::linspace(-1, 1, 100).unsqueeze(1);
  auto y = 2 * x + 1;

  nn::Sequential model(nn::Linear(1, 16), nn::ReLU(), nn::Linear(16, 1));
  levin::optim::Adam optimizer(model->parameters(), {.lr = 0.01});
  nn::MSELoss loss_fn;

  torch::Tensor loss;
  for (int epoch = 0; epoch < 100; ++epoch) {
    optimizer.zero_grad();
    loss = loss_fn(model->forward(x), y);
    loss.backward();
    optimizer.step();
  }
  std::cout << "loss " << loss.item<float>() << '\n';
}
