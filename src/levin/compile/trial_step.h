// Steps on trial: what captures of every kind do around a call of the user's step.
#pragma once

#include <levin/compile/capture.h>

#include <ATen/core/Generator.h>
#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace levin::compile {

/** What a step may change beside the parameters, of one device: restored on demand and on destruction. */
class Snapshot {
 public:
  Snapshot(const CaptureRequest& request, at::Device device);
  ~Snapshot() { restore(); }
  Snapshot(const Snapshot&) = delete;
  Snapshot& operator=(const Snapshot&) = delete;

  /** Whether a generator was seeded meanwhile. */
  bool seeded();
  /** Nothing was drawn: the generators are left alone, for another thread may have seeded them. */
  void nothing_drawn() { random_.clear(); }
  void restore();

 private:
  struct Random {
    at::Generator generator;
    at::Tensor state;
    std::uint64_t seed = 0;
  };
  void keep(const at::Tensor& tensor);

  std::vector<Random> random_;
  std::vector<std::pair<at::Tensor, at::Tensor>> kept_;
};

/** The batch in memory of its own: views that share memory could not be told apart. */
Batch private_copy(const Batch& batch);

/** Parameters and externals. */
std::vector<Named> known_tensors(const CaptureRequest& request);

/** " (net.cpp:42, soon after the use of fc2.weight)" of what is known of the two. */
std::string place_text(const std::string& code, const std::string& parameter);

/** The gradients of a loss by its parameters, in order; undefined where there are none. Refuses hooks of tensors. */
std::vector<at::Tensor> gradients_of(const CaptureRequest& request, at::Tensor loss);

}  // namespace levin::compile
