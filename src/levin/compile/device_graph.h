// DeviceGraph: a step on an accelerator, captured once as a graph of the device and replayed.
#pragma once

#include <levin/compile/capture.h>

#include <ATen/core/GraphImplInterface.h>

#include <cstdint>
#include <memory>
#include <vector>

namespace levin::compile {

/** Whether LibTorch can capture graphs of this type of device: CUDA, where it was built with it. */
bool has_device_graphs(c10::DeviceType type);

/**
 * Forward and backward of a step as the device's own graph (that of at::accelerator::Graph; on CUDA a cudaGraph): its kernels
 * are launched by one call, so the host's time a step is nearly nothing. Kernels are LibTorch's; nothing is fused.
 *
 * As with torch.cuda.graph, the batch is copied into memory of the graph's own, results lie in it until the next run,
 * and random numbers are drawn anew at each replay. Before the capture the step runs a few times eagerly on a stream of
 * its own, which lets libraries set themselves up; what it changed is undone.
 */
class DeviceGraph {
 public:
  /** Throws NotCapturable with the reason when no graph can stand for the step. */
  DeviceGraph(const CaptureRequest& request, const Batch& batch);
  ~DeviceGraph();
  DeviceGraph(const DeviceGraph&) = delete;
  DeviceGraph& operator=(const DeviceGraph&) = delete;

  /** Copies the batch in and replays. */
  void run(const Batch& batch);

  /** The loss first, where there is one; overwritten by the next run. */
  const std::vector<at::Tensor>& results() const { return results_; }
  bool has_loss() const { return has_loss_; }
  const std::vector<bool>& has_gradient() const { return has_gradient_; }
  std::size_t calls() const { return calls_; }  ///< of ATen, in the forward pass

 private:
  void check(const CaptureRequest& request, at::Device device);
  void step(const CaptureRequest& request);
  void record(const CaptureRequest& request, c10::DeviceType type);

  std::unique_ptr<at::GraphImplInterface> graph_;
  Batch inputs_;
  std::vector<at::Tensor> results_;
  std::vector<bool> has_gradient_;
  bool has_loss_ = false;
  std::size_t calls_ = 0;
};

}  // namespace levin::compile
