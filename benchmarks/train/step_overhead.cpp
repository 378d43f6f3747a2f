// Microseconds a step of the blog post's network (1-16-1, MSE, Adam, batches of 100) on one thread: a stock LibTorch
// loop, the same loop with Levin's optimizer, and the Trainer; and of a validation batch, by hand and by the Trainer.
// One JSON object a line on standard output.
//
// Usage: step_overhead [repetitions] [epochs]
#include <levin/levin.h>

#include <chrono>
#include <cmath>
#include <cstdlib>
#include <functional>
#include <iostream>
#include <map>
#include <string>
#include <vector>

namespace {

torch::nn::Sequential network() {
  return torch::nn::Sequential(torch::nn::Linear(1, 16), torch::nn::ReLU(), torch::nn::Linear(16, 1));
}

struct LitModel : levin::Module {
  explicit LitModel(int logs_per_step) : logs(logs_per_step) { net = register_module("net", network()); }
  torch::Tensor training_step(const levin::Batch& batch, int64_t) override {
    auto loss = torch::mse_loss(net->forward(batch[0]), batch[1]);
    static const char* const names[] = {"train_loss", "a", "b", "c", "d", "e", "f", "g", "h", "i", "j"};
    for (int i = 0; i < logs; ++i) log(names[i], loss);
    return loss;
  }
  void validation_step(const levin::Batch& batch, int64_t) override {
    log("val_loss", torch::mse_loss(net->forward(batch[0]), batch[1]));
  }
  levin::Optimizers configure_optimizers() override { return levin::optim::Adam(parameters(), {.lr = 0.01}); }
  torch::nn::Sequential net{nullptr};
  int logs;
};

struct NoOpCallbackImpl : levin::CallbackImpl {};
using NoOpCallback = levin::CallbackHolder<NoOpCallbackImpl>;

}  // namespace

int main(int argc, char** argv) {
  const int repetitions = argc > 1 ? std::atoi(argv[1]) : 9, epochs = argc > 2 ? std::atoi(argv[2]) : 200;
  torch::set_num_threads(1);
  levin::console::set_level(levin::console::Level::error);
  auto x = torch::linspace(-1, 1, 1000).unsqueeze(1);
  auto y = 2 * x + 1;
  levin::DataLoader loader(levin::TensorDataset({x, y}), {.batch_size = 100, .shuffle = true, .seed = 1});
  const int steps = epochs * 10;

  const auto hand_loop = [&](auto& optimizer, torch::nn::Sequential& net) {
    for (int epoch = 0; epoch < epochs; ++epoch) {
      loader.begin_epoch(epoch);
      for (levin::Batch batch; loader.next(batch);) {
        optimizer.zero_grad();
        auto loss = torch::mse_loss(net->forward(batch[0]), batch[1]);
        loss.backward();
        optimizer.step();
      }
    }
  };
  const auto trainer_run = [&](int logs, bool logger, int callbacks) {
    levin::seed_everything(1);
    LitModel model(logs);
    levin::TrainerOptions options{.max_epochs = epochs, .enable_checkpointing = false, .enable_progress_bar = false};
    options.logger = logger ? levin::Loggers(levin::CSVLogger({.save_dir = "/tmp/levin_bench", .version = "run"}))
                            : levin::Loggers(false);
    for (int i = 0; i < callbacks; ++i) options.callbacks.push_back(NoOpCallback());
    levin::Trainer trainer(options);
    trainer.fit(model, loader);
  };
  // One validation of as many batches as there are steps.
  const levin::TensorDataset many({x.repeat({epochs, 1}), y.repeat({epochs, 1})});
  LitModel trained(1);
  double val_loss = 0;
  const auto validation_loop = [&] {
    const torch::NoGradGuard no_grad;
    trained.eval();
    double sum = 0, samples = 0;
    levin::DataLoader val(many, {.batch_size = 100});
    for (levin::Batch batch; val.next(batch);) {
      const auto size = static_cast<double>(batch.batch_size());
      sum += torch::mse_loss(trained.net->forward(batch[0]), batch[1]).item<double>() * size;
      samples += size;
    }
    val_loss = sum / samples;
  };
  const auto validation_run = [&] {
    levin::Trainer trainer({.logger = false,
                            .max_epochs = 1,
                            .enable_checkpointing = false,
                            .enable_progress_bar = false,
                            .inference_mode = false});
    trainer.validate(trained, levin::DataLoader(many, {.batch_size = 100}), {.verbose = false});
    if (std::abs(trainer.metric("val_loss") - val_loss) > 1e-5) std::abort();  // the same work was done
  };
  const std::vector<std::pair<std::string, std::function<void()>>> runs{
      {"LibTorch loop, torch::optim::Adam",
       [&] {
         torch::manual_seed(1);
         auto net = network();
         torch::optim::Adam optimizer(net->parameters(), torch::optim::AdamOptions(0.01));
         hand_loop(optimizer, net);
       }},
      {"hand-written loop, levin::optim::Adam",
       [&] {
         torch::manual_seed(1);
         auto net = network();
         levin::optim::Adam optimizer(net->parameters(), {.lr = 0.01});
         hand_loop(optimizer, net);
       }},
      {"Trainer", [&] { trainer_run(0, false, 0); }},
      {"Trainer, one log", [&] { trainer_run(1, false, 0); }},
      {"Trainer, one log, CSVLogger", [&] { trainer_run(1, true, 0); }},
      {"Trainer, eleven logs, CSVLogger", [&] { trainer_run(11, true, 0); }},
      {"Trainer, one log, CSVLogger, ten idle callbacks", [&] { trainer_run(1, true, 10); }},
      {"validation, LibTorch loop", [&] { validation_loop(); }},
      {"validation, Trainer, one log", [&] { validation_run(); }},
  };

  // Interleaved, so that a slow moment of the machine hits all of them.
  std::map<std::string, std::vector<double>> times;
  for (int repetition = -1; repetition < repetitions; ++repetition) {
    for (const auto& [name, run] : runs) {
      const auto begin = std::chrono::steady_clock::now();
      run();
      const std::chrono::duration<double, std::micro> time = std::chrono::steady_clock::now() - begin;
      if (repetition >= 0) times[name].push_back(time.count() / steps);
    }
  }
  for (const auto& entry : runs) {
    std::cout << "{\"name\": \"" << entry.first << "\", \"us\": [";
    const auto& values = times[entry.first];
    for (std::size_t i = 0; i < values.size(); ++i) std::cout << (i ? ", " : "") << values[i];
    std::cout << "]}\n";
  }
}
