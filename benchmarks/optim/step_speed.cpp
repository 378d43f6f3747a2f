// Processor time in microseconds of a whole training step (zero_grad, forward, backward, optimizer) on one thread, by
// how gradients are held: torch::optim's loop over parameters; Levin with gradients that backward hands over, updated
// by one call over lists; Levin with gradients bound to a flat buffer, updated by one call over all. Decides the
// default of levin::optim. Runs take turns within a repetition; the table shows medians and quartiles.
//
// Usage: step_speed [repetitions] [milliseconds a run]
#include <levin/optim/adam.h>
#include <levin/optim/clip_grad.h>
#include <levin/optim/sgd.h>

#include <torch/torch.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <functional>
#include <string>
#include <vector>

namespace {

namespace nn = torch::nn;

// Time of this thread on its core, in microseconds: what others do on the machine meanwhile does not count.
double now() {
  timespec time{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) * 1e6 + static_cast<double>(time.tv_nsec) / 1e3;
}

struct Net {
  std::string name;
  std::function<nn::Sequential()> make;
  at::Tensor x, y;
};

nn::Sequential deep() {
  nn::Sequential net;
  for (int i = 0; i < 50; ++i) {
    net->push_back(nn::Linear(16, 16));
    net->push_back(nn::Tanh());
  }
  return net;
}

// One training on its way: returns the microseconds a step of a run of about `milliseconds`.
std::function<double(double)> training(const Net& net, const std::string& how) {
  torch::manual_seed(1);
  auto model = net.make();
  std::function<void()> zero, step, clip = [] {};
  const auto params = model->parameters();
  if (how == "torch::optim::Adam") {
    auto adam = std::make_shared<torch::optim::Adam>(params, torch::optim::AdamOptions(1e-3));
    zero = [adam] { adam->zero_grad(); };
    step = [adam] { adam->step(); };
  } else if (how == "torch::optim::SGD") {
    auto sgd = std::make_shared<torch::optim::SGD>(params, torch::optim::SGDOptions(1e-3).momentum(0.9));
    zero = [sgd] { sgd->zero_grad(); };
    step = [sgd] { sgd->step(); };
  } else {
    levin::optim::Optimizer optimizer;
    if (how.find("Adam") != std::string::npos) {
      optimizer = levin::optim::Adam(params, {.lr = 1e-3});
    } else {
      optimizer = levin::optim::SGD(params, {.lr = 1e-3, .momentum = 0.9});
    }
    if (how.find("bound") != std::string::npos) optimizer.bind_gradients();
    zero = [optimizer]() mutable { optimizer.zero_grad(); };
    step = [optimizer]() mutable { optimizer.step(); };
    if (how.find("clip") != std::string::npos) clip = [optimizer] { levin::optim::clip_grad_norm_(optimizer, 1.0); };
  }
  return [=](double milliseconds) mutable {
    int64_t steps = 0;
    const double begin = now();
    double elapsed = 0;
    do {
      for (int i = 0; i < 10; ++i) {
        zero();
        torch::mse_loss(model->forward(net.x), net.y).backward();
        clip();
        step();
      }
      steps += 10;
      elapsed = now() - begin;
    } while (elapsed < milliseconds * 1000);
    return elapsed / static_cast<double>(steps);
  };
}

}  // namespace

int main(int argc, char** argv) {
  const int repetitions = argc > 1 ? std::atoi(argv[1]) : 15;
  const double milliseconds = argc > 2 ? std::atof(argv[2]) : 200;
  at::set_num_threads(1);
  torch::manual_seed(1);
  const std::vector<Net> nets = {
      {"1-16-1, batch 100", [] { return nn::Sequential(nn::Linear(1, 16), nn::ReLU(), nn::Linear(16, 1)); },
       torch::randn({100, 1}), torch::randn({100, 1})},
      {"784-128-10, batch 64", [] { return nn::Sequential(nn::Linear(784, 128), nn::ReLU(), nn::Linear(128, 10)); },
       torch::randn({64, 784}), torch::randn({64, 10})},
      {"50 x Linear(16, 16), batch 16", deep, torch::randn({16, 16}), torch::randn({16, 16})}};
  const std::vector<std::string> ways = {"torch::optim::Adam", "Adam, lists", "Adam, bound",       "torch::optim::SGD",
                                         "SGD, lists",         "SGD, bound",  "Adam, lists, clip", "Adam, bound, clip"};
  std::printf("| network | optimizer | us a step: median (quartiles) |\n|---|---|---|\n");
  for (const auto& net : nets) {
    std::vector<std::function<double(double)>> runs;
    for (const auto& way : ways) runs.push_back(training(net, way));
    for (auto& run : runs) run(50);  // warm
    std::vector<std::vector<double>> times(ways.size());
    for (int r = 0; r < repetitions; ++r) {
      for (size_t i = 0; i < runs.size(); ++i) times[i].push_back(runs[i](milliseconds));
    }
    for (size_t i = 0; i < ways.size(); ++i) {
      auto& t = times[i];
      std::sort(t.begin(), t.end());
      std::printf("| %s | %s | %.1f (%.1f-%.1f) |\n", net.name.c_str(), ways[i].c_str(), t[t.size() / 2],
                  t[t.size() / 4], t[t.size() * 3 / 4]);
    }
  }
}
