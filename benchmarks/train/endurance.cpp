// Ten million training steps of the smallest net there is: the resident memory and the time of a step must not grow.
// One JSON object a line on standard output, one for every tenth of the run.
//
// Usage: endurance [steps]
#include <levin/levin.h>

#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <string>

namespace {

// One weight that is its own loss: forward costs nothing, backward and the optimizer run as ever.
struct Weight : levin::Module {
  Weight() { w = register_parameter("w", torch::ones({})); }
  torch::Tensor training_step(const levin::Batch&, int64_t) override {
    log("train_loss", w, {.on_epoch = true});
    return w;
  }
  void validation_step(const levin::Batch&, int64_t) override { log("val_loss", w); }
  levin::Optimizers configure_optimizers() override { return levin::optim::SGD(parameters(), {.lr = 1e-9}); }
  torch::Tensor w;
};

std::int64_t resident_bytes() {
  std::ifstream statm("/proc/self/statm");
  std::int64_t size = 0, resident = 0;
  statm >> size >> resident;
  return resident * 4096;
}

struct ReportImpl : levin::CallbackImpl {
  explicit ReportImpl(std::int64_t steps_between) : every(steps_between) {}
  void on_train_start(levin::Trainer&, levin::Module&) override { since = std::chrono::steady_clock::now(); }
  void on_train_epoch_end(levin::Trainer& trainer, levin::Module&) override {
    if (trainer.global_step() % every != 0) return;
    const auto now = std::chrono::steady_clock::now();
    const double us = std::chrono::duration<double, std::micro>(now - since).count() / static_cast<double>(every);
    std::cout << "{\"steps\": " << trainer.global_step() << ", \"us\": " << us << ", \"bytes\": " << resident_bytes()
              << "}" << std::endl;
    since = now;
  }
  std::int64_t every;
  std::chrono::steady_clock::time_point since;
};
using Report = levin::CallbackHolder<ReportImpl>;

}  // namespace

int main(int argc, char** argv) {
  const std::int64_t steps = argc > 1 ? std::atoll(argv[1]) : 10'000'000, epoch = 1000;
  torch::set_num_threads(1);
  levin::console::set_level(levin::console::Level::error);
  const std::string folder = (std::filesystem::temp_directory_path() / "levin_endurance").string();
  std::filesystem::remove_all(folder);
  const levin::TensorDataset train({torch::zeros({epoch, 1})}), val({torch::zeros({10, 1})});
  Weight model;
  levin::Trainer trainer({.logger = levin::CSVLogger({.save_dir = folder, .version = "run"}),
                          .callbacks = {Report(steps / 10)},
                          .max_epochs = steps / epoch,
                          .log_every_n_steps = 100,
                          .enable_checkpointing = false,
                          .enable_progress_bar = false});
  trainer.fit(model, levin::DataLoader(train, {.batch_size = 1, .shuffle = true, .seed = 1}),
              levin::DataLoader(val, {.batch_size = 1}));
  std::filesystem::remove_all(folder);
}
