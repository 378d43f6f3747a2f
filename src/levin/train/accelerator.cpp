#include <levin/train/accelerator.h>

#include <levin/core/error.h>

#include <torch/cuda.h>
#include <torch/mps.h>
#include <torch/types.h>

#include <algorithm>
#include <vector>

namespace levin {

c10::Device choose_device(const std::string& accelerator, std::int64_t device, const std::string& where) {
  const auto fail = [&](const std::string& what, const std::string& value, const std::string& hint) {
    throw Error({.what = what, .value = value, .where = where, .hint = hint});
  };
  static const std::vector<std::string> known{"auto", "cpu", "cuda", "gpu", "mps"};
  if (std::find(known.begin(), known.end(), accelerator) == known.end()) {
    fail("unknown accelerator", "\"" + accelerator + "\"", did_you_mean(accelerator, known));
  }
  const bool cuda = torch::cuda::is_available();
  if (accelerator == "cpu" || (accelerator == "auto" && !cuda && !torch::mps::is_available())) return torch::kCPU;
  if (accelerator == "mps" || (accelerator == "auto" && !cuda)) {
    if (!torch::mps::is_available()) {
      fail("no Metal device is available", "accelerator = \"mps\"", "use \"cpu\" or \"auto\"");
    }
    return torch::kMPS;
  }
  if (!cuda) {
    fail("no CUDA device is available", "accelerator = \"" + accelerator + "\"",
         "use \"cpu\" or \"auto\", or a CUDA build of LibTorch");
  }
  const auto count = static_cast<std::int64_t>(torch::cuda::device_count());
  if (device < 0 || device >= count) {
    fail("device must be the index of a GPU, below " + std::to_string(count), std::to_string(device), "");
  }
  return {torch::kCUDA, static_cast<c10::DeviceIndex>(device)};
}

}  // namespace levin
