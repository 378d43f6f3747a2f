// A short training that leaves no trace: what lr_find and scale_batch_size try things with.
#pragma once

#include <levin/train/trainer_impl.h>

#include <ATen/core/Tensor.h>

#include <utility>
#include <vector>

namespace levin {

/** The options of a trial run of so many optimizer steps: those of a user that bear on the arithmetic, nothing else. */
TrainerOptions trial_options(TrainerOptions options, std::int64_t steps);

/** Keeps what a training changes (weights, buffers, modes, metrics, random state) and puts it back on destruction. */
class Untouched {
 public:
  explicit Untouched(Module& module);
  ~Untouched();
  Untouched(const Untouched&) = delete;
  Untouched& operator=(const Untouched&) = delete;

 private:
  Module& module_;
  torch::Device device_;
  std::vector<std::pair<at::Tensor, at::Tensor>> tensors_;  // the module's and their copies
  ModeGuard modes_;
  std::vector<std::vector<at::Tensor>> metrics_;
  std::vector<std::pair<at::Generator, at::Tensor>> generators_;
};

}  // namespace levin
