// Runs training and validation loops of two lengths under callgrind, which counts the instructions of each; see
// step_budget.py. The network is that of the benchmarks: 1-16-1, MSE, Adam, epochs of 10 batches of 100.
#include <levin/levin.h>

#include <cstdio>
#include <functional>
#include <initializer_list>
#include <string>
#include <vector>

#if __has_include(<valgrind/callgrind.h>)
#include <valgrind/callgrind.h>
#else
#define CALLGRIND_START_INSTRUMENTATION
#define CALLGRIND_STOP_INSTRUMENTATION
#define CALLGRIND_ZERO_STATS
#define CALLGRIND_DUMP_STATS
#define RUNNING_ON_VALGRIND 0
#endif

namespace {

torch::nn::Sequential network() {
  return torch::nn::Sequential(torch::nn::Linear(1, 16), torch::nn::ReLU(), torch::nn::Linear(16, 1));
}

struct Net : levin::Module {
  Net() { net = register_module("net", network()); }
  torch::Tensor training_step(const levin::Batch& batch, int64_t) override {
    auto loss = torch::mse_loss(net->forward(batch[0]), batch[1]);
    log("train_loss", loss);
    return loss;
  }
  void validation_step(const levin::Batch& batch, int64_t) override {
    log("val_loss", torch::mse_loss(net->forward(batch[0]), batch[1]));
  }
  levin::Optimizers configure_optimizers() override { return levin::optim::Adam(parameters(), {.lr = 0.01}); }
  torch::nn::Sequential net{nullptr};
};

// A step that costs nothing itself, so that single instructions of the Trainer's show.
struct Light : levin::Module {
  explicit Light(int logs_per_step) : logs(logs_per_step) { loss = register_parameter("w", torch::zeros({})); }
  torch::Tensor training_step(const levin::Batch&, int64_t) override {
    static const char* const names[] = {"a", "b", "c", "d", "e", "f", "g", "h", "i", "j"};
    for (int i = 0; i < logs; ++i) log(names[i], loss);
    return loss;
  }
  torch::Tensor loss;
  int logs;
};

struct IdleImpl : levin::CallbackImpl {};
using Idle = levin::CallbackHolder<IdleImpl>;

struct CountingImpl : levin::CallbackImpl {
  void on_train_batch_end(levin::Trainer&, levin::Module&, const levin::Batch&, int64_t) override { ++batches; }
  int64_t batches = 0;
};
using Counting = levin::CallbackHolder<CountingImpl>;

// `run(n)` does n epochs of 10 batches. One dump of callgrind's a length, in this order.
void count(const char* name, const std::function<void(int)>& run, std::initializer_list<int> lengths = {4, 12}) {
  run(2);
  for (const int epochs : lengths) {
    CALLGRIND_ZERO_STATS;
    CALLGRIND_START_INSTRUMENTATION;
    run(epochs);
    CALLGRIND_STOP_INSTRUMENTATION;
    CALLGRIND_DUMP_STATS;
    std::printf("%s %d\n", name, epochs * 10);
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (!RUNNING_ON_VALGRIND || argc != 2) {
    std::puts("step_budget: run by step_budget.py, under callgrind");
    return 77;
  }
  const std::string folder = argv[1];
  torch::set_num_threads(1);
  levin::console::set_level(levin::console::Level::error);
  auto x = torch::linspace(-1, 1, 1000).unsqueeze(1);
  auto y = 2 * x + 1;
  levin::DataLoader loader(levin::TensorDataset({x, y}), {.batch_size = 100, .shuffle = true, .seed = 1});

  count("hand", [&](int epochs) {
    torch::manual_seed(1);
    auto net = network();
    levin::optim::Adam optimizer(net->parameters(), {.lr = 0.01});
    for (int epoch = 0; epoch < epochs; ++epoch) {
      loader.begin_epoch(epoch);
      for (levin::Batch batch; loader.next(batch);) {
        optimizer.zero_grad();
        auto loss = torch::mse_loss(net->forward(batch[0]), batch[1]);
        loss.backward();
        optimizer.step();
      }
    }
  });
  const auto fit = [&](auto model, int epochs, const std::vector<levin::Callback>& callbacks) {
    levin::Trainer trainer({.logger = levin::CSVLogger({.save_dir = folder, .version = "run"}),
                            .callbacks = callbacks,
                            .max_epochs = epochs,
                            .enable_checkpointing = false,
                            .enable_progress_bar = false});
    trainer.fit(model, loader);
  };
  count("fit", [&](int epochs) {
    torch::manual_seed(1);
    fit(Net(), epochs, {});
  });
  // The compiled step by itself and in the Trainer; longer, since a capture takes as many instructions as 500 steps.
  const levin::DataLoader in_order(levin::TensorDataset({x, y}), {.batch_size = 100});
  count("compiled_step",
        [&](int epochs) {
          torch::manual_seed(1);
          auto net = network();
          levin::optim::Adam optimizer(net->parameters(), {.lr = 0.01});
          auto step = levin::compile_step(net, optimizer, [&](const levin::Batch& batch) {
            return torch::mse_loss(net->forward(batch[0]), batch[1]);
          });
          const levin::Batch batch{x.slice(0, 0, 100), y.slice(0, 0, 100)};
          for (int i = 0; i < 10 * epochs; ++i) step(batch);
        },
        {20, 220});
  count("compiled_fit",
        [&](int epochs) {
          torch::manual_seed(1);
          Net model;
          levin::Trainer trainer({.logger = levin::CSVLogger({.save_dir = folder, .version = "run"}),
                                  .max_epochs = epochs,
                                  .enable_checkpointing = false,
                                  .enable_progress_bar = false,
                                  .compile = true});
          trainer.fit(model, in_order);
        },
        {20, 220});
  const std::vector<levin::Callback> idle(100, Idle()), counting(100, Counting());
  count("light", [&](int epochs) { fit(Light(0), epochs, {}); });
  count("light_logs", [&](int epochs) { fit(Light(10), epochs, {}); });
  count("light_idle_callbacks", [&](int epochs) { fit(Light(0), epochs, idle); });
  count("light_callbacks", [&](int epochs) { fit(Light(0), epochs, counting); });

  torch::manual_seed(1);
  Net model;
  double sum = 0;
  const auto batches = [&](int epochs) {  // one validation of that many batches
    return levin::DataLoader(levin::TensorDataset({x.repeat({epochs, 1}), y.repeat({epochs, 1})}), {.batch_size = 100});
  };
  count("hand_validation", [&](int epochs) {
    const torch::NoGradGuard no_grad;
    model.eval();
    levin::DataLoader val = batches(epochs);
    for (levin::Batch batch; val.next(batch);) {
      const auto loss = torch::mse_loss(model.net->forward(batch[0]), batch[1]);
      sum += *loss.const_data_ptr<float>() * static_cast<double>(batch.batch_size());
    }
  });
  count("validation", [&](int epochs) {
    levin::Trainer trainer({.logger = false,
                            .max_epochs = 1,
                            .enable_checkpointing = false,
                            .enable_progress_bar = false,
                            .inference_mode = false});
    trainer.validate(model, batches(epochs), {.verbose = false});
  });
  return sum > 0 ? 0 : 1;
}
