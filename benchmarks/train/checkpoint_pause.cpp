// How long training pauses while a state of 100 MB is saved: the longest step, against a bare memory copy.
//
// Prints one JSON object a line: {"name": ..., "ms": [longest step of each fit]} and the size of the file.
#include <levin/levin.h>

#include <chrono>
#include <cstring>
#include <filesystem>
#include <iostream>
#include <string>
#include <unistd.h>
#include <vector>

namespace {

using namespace levin;
using Clock = std::chrono::steady_clock;

constexpr std::int64_t kFloats = 25'000'000;  // 100 MB
// Far enough apart that a disk has written one state when the next is due: a save waits for the one before.
constexpr int kSteps = 120'000, kEvery = 40'000;

// Steps of microseconds over a large state: what is long is the saving.
struct Heavy : Module {
  Heavy() {
    layer = register_module("layer", torch::nn::Linear(4, 1));
    for (int i = 0; i < 10; ++i) register_buffer("table_" + std::to_string(i), torch::rand({kFloats / 10}));
  }
  torch::Tensor training_step(const Batch& batch, std::int64_t) override { return layer->forward(batch[0]).mean(); }
  Optimizers configure_optimizers() override { return optim::SGD(parameters(), {.lr = 0.01}); }
  torch::nn::Linear layer{nullptr};
};

struct StopwatchImpl : CallbackImpl {
  void on_train_batch_start(Trainer&, Module&, const Batch&, std::int64_t) override {
    const auto now = Clock::now();
    if (last != Clock::time_point()) {
      const double ms = std::chrono::duration<double, std::milli>(now - last).count();
      ++step;
      // The first save meets memory that was never used; it is shown by itself.
      (step <= kEvery + 10 ? first : later) = std::max(step <= kEvery + 10 ? first : later, ms);
    }
    last = now;
  }
  Clock::time_point last;
  int step = 0;
  double first = 0, later = 0;
};
using Stopwatch = CallbackHolder<StopwatchImpl>;

void print(const std::string& name, const std::vector<double>& ms) {
  std::cout << R"({"name": ")" << name << R"(", "ms": [)";
  for (std::size_t i = 0; i < ms.size(); ++i) std::cout << (i ? ", " : "") << ms[i];
  std::cout << "]}" << std::endl;
}

}  // namespace

int main(int argc, char** argv) {
  const int repeats = argc > 1 ? std::stoi(argv[1]) : 5;
  const auto folder = std::filesystem::temp_directory_path() / ("levin_pause_" + std::to_string(::getpid()));
  torch::set_num_threads(1);
  Heavy model;
  const DataLoader data(TensorDataset({torch::rand({kSteps * 2, 4})}), {.batch_size = 2});

  std::vector<double> copies, none, sync, first, later;
  std::uintmax_t size = 0;
  const auto from = torch::rand({kFloats});
  auto to = torch::zeros({kFloats});
  for (int repeat = 0; repeat < repeats; ++repeat) {
    const auto begin = Clock::now();
    std::memcpy(to.data_ptr(), from.const_data_ptr(), from.nbytes());
    copies.push_back(std::chrono::duration<double, std::milli>(Clock::now() - begin).count());
    for (int mode = 0; mode < 3; ++mode) {
      TrainerOptions options{
          .logger = false, .max_epochs = 1, .enable_checkpointing = mode > 0, .enable_progress_bar = false};
      Stopwatch watch;
      options.callbacks = {watch};
      if (mode > 0) {
        options.callbacks.push_back(ModelCheckpoint(
            {.dirpath = folder.string(), .save_top_k = 1, .every_n_train_steps = kEvery, .async_save = mode == 2}));
      }
      Trainer trainer(options);
      trainer.fit(model, data);
      if (mode == 0) none.push_back(watch->later);
      if (mode == 1) sync.push_back(std::max(watch->first, watch->later));
      if (mode == 2) {
        first.push_back(watch->first);
        later.push_back(watch->later);
      }
      if (mode > 0) size = std::filesystem::file_size(std::filesystem::directory_iterator(folder)->path());
      std::filesystem::remove_all(folder);
      std::filesystem::create_directories(folder);
    }
  }
  std::filesystem::remove_all(folder);
  print("memcpy of 100 MB", copies);
  print("longest step without saving", none);
  print("longest step, Levin, async_save", later);
  print("longest step, Levin, async_save, first save of the run", first);
  print("longest step, Levin, synchronous", sync);
  std::cout << R"({"file_bytes": )" << size << R"(, "tensor_bytes": )" << kFloats * 4 + 20 << "}" << std::endl;
}
