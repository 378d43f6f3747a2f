// What a batch costs: Levin's DataLoader beside bare at::index_select and beside torch::data's loader, one thread.
//
// Prints microseconds a batch (median of the epochs measured, the ways taking turns within a round) and the ratio to
// index_select. Then what a second worker brings to a costly transform.
#include <levin/data/image_transforms.h>
#include <levin/data/loader.h>
#include <levin/data/random_split.h>
#include <levin/data/tensor_dataset.h>

#include <torch/torch.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <functional>
#include <string>
#include <vector>

namespace {

using Clock = std::chrono::steady_clock;

struct Data {
  std::string name;
  torch::Tensor x, y;
  int64_t batch_size;
  int rounds;
};

// The dataset of torch::data's own examples: one sample at a time, stacked to a batch.
struct PerSample : torch::data::datasets::Dataset<PerSample> {
  PerSample(torch::Tensor inputs, torch::Tensor targets) : x(std::move(inputs)), y(std::move(targets)) {}
  torch::data::Example<> get(size_t index) override {
    return {x[static_cast<int64_t>(index)], y[static_cast<int64_t>(index)]};
  }
  std::optional<size_t> size() const override { return static_cast<size_t>(x.size(0)); }
  torch::Tensor x, y;
};

struct Way {
  std::string name;
  std::function<int64_t()> epoch;  // runs one epoch and returns its batches
  std::vector<double> microseconds;
};

std::function<int64_t()> run_loader(levin::DataLoader loader) {
  return [loader, epoch = int64_t{0}]() mutable {
    loader.begin_epoch(epoch++);
    levin::Batch batch;
    int64_t batches = 0;
    while (loader.next(batch)) ++batches;
    return batches;
  };
}

double median(std::vector<double> values) {
  std::nth_element(values.begin(), values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2), values.end());
  return values[values.size() / 2];
}

void compare(const Data& data) {
  const levin::TensorDataset dataset({data.x, data.y});
  const auto n = data.x.size(0);
  std::vector<Way> ways;
  ways.push_back({"bare index_select (permuted once an epoch)",
                  [&] {
                    const auto order = torch::randperm(n);
                    int64_t batches = 0;
                    for (int64_t begin = 0; begin < n; begin += data.batch_size, ++batches) {
                      const auto index = order.narrow(0, begin, std::min(data.batch_size, n - begin));
                      auto x = at::index_select(data.x, 0, index);
                      auto y = at::index_select(data.y, 0, index);
                    }
                    return batches;
                  },
                  {}});
  ways.push_back(
      {"levin, shuffled", run_loader({dataset, {.batch_size = data.batch_size, .shuffle = true, .seed = 0}}), {}});
  const auto half = levin::random_split(dataset, {0.5, 0.5}, {.seed = 0})[0];
  ways.push_back({"levin, shuffled half of a random split",
                  run_loader({half, {.batch_size = data.batch_size, .shuffle = true, .seed = 0}}),
                  {}});
  ways.push_back({"levin, in order (views)", run_loader({dataset, {.batch_size = data.batch_size, .seed = 0}}), {}});
  auto per_sample = torch::data::make_data_loader<torch::data::samplers::RandomSampler>(
      PerSample(data.x, data.y).map(torch::data::transforms::Stack<>()),
      torch::data::DataLoaderOptions().batch_size(static_cast<size_t>(data.batch_size)));
  ways.push_back({"torch::data, shuffled, no workers",
                  [&] {
                    int64_t batches = 0;
                    for ([[maybe_unused]] auto& batch : *per_sample) ++batches;
                    return batches;
                  },
                  {}});

  for (int round = -1; round < data.rounds; ++round) {  // the first round warms up
    for (auto& way : ways) {
      const auto start = Clock::now();
      const auto batches = way.epoch();
      const std::chrono::duration<double, std::micro> spent = Clock::now() - start;
      if (round >= 0) way.microseconds.push_back(spent.count() / static_cast<double>(batches));
    }
  }
  const double base = median(ways[0].microseconds);
  std::printf("\n%s, batch %lld\n%-44s %12s %8s\n", data.name.c_str(), static_cast<long long>(data.batch_size), "",
              "us a batch", "ratio");
  for (const auto& way : ways) {
    const double middle = median(way.microseconds);
    std::printf("%-44s %12.2f %8.2f\n", way.name.c_str(), middle, middle / base);
  }
}

// Two workers beside one: pictures in memory, an affine transform of every sample. The rounds take turns, and each
// gives one ratio.
void compare_workers() {
  const levin::TensorDataset pictures({torch::rand({2048, 1, 64, 64}), torch::randint(10, {2048})});
  const auto epoch = [&](int64_t workers) {
    return run_loader({pictures,
                       {.batch_size = 64,
                        .shuffle = true,
                        .num_workers = workers,
                        .persistent_workers = workers > 0,
                        .seed = 0,
                        .transform = levin::RandomAffine({.degrees = {-20, 20}, .scale = {0.8, 1.2}, .seed = 0})}});
  };
  const auto none = epoch(0), one = epoch(1), two = epoch(2);
  const auto seconds = [](const std::function<int64_t()>& run) {
    const auto start = Clock::now();
    run();
    return std::chrono::duration<double>(Clock::now() - start).count();
  };
  std::vector<double> times, ratios, against_none;
  for (int round = -1; round < 15; ++round) {
    const double without = seconds(none), single = seconds(one), both = seconds(two);
    if (round < 0) continue;
    times.push_back(single);
    ratios.push_back(single / both);
    against_none.push_back(without / single);
  }
  std::sort(ratios.begin(), ratios.end());
  std::printf("\n2,048 pictures of 64 x 64 with RandomAffine, batch 64\n");
  std::printf("one worker: %.1f ms an epoch, %.2f times as fast as none\n", 1e3 * median(times), median(against_none));
  std::printf("two workers are %.2f times as fast as one (quartiles %.2f to %.2f)\n", median(ratios),
              ratios[ratios.size() / 4], ratios[ratios.size() * 3 / 4]);
}

}  // namespace

int main() {
  torch::set_num_threads(1);
  torch::manual_seed(0);
  compare({"60,000 x 784 floats and a class", torch::randn({60000, 784}), torch::randint(10, {60000}), 64, 11});
  compare({"1,000 x 1 floats and a float", torch::randn({1000, 1}), torch::randn({1000, 1}), 100, 501});
  compare({"1,797 x 64 floats and a class", torch::randn({1797, 64}), torch::randint(10, {1797}), 64, 201});
  compare_workers();
}
