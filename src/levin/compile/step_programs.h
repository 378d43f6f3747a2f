// StepPrograms: the programs of one step, one for each shape of batch and state of the modules it was met with.
#pragma once

#include <levin/compile/capture.h>
#include <levin/compile/device_graph.h>
#include <levin/optim/optimizer.h>

#include <torch/nn/module.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace levin::compile {

/** What programs of a step depend on beside the batch: looked at before each run. */
struct Surroundings {
  std::vector<Named> parameters;  ///< those of the optimizer, in its order
  std::vector<Named> externals;   ///< other parameters and buffers of the modules
  struct Module {
    torch::nn::Module* module = nullptr;
    std::shared_ptr<torch::nn::Module> owner;  ///< of a submodule: keeps it alive
  };
  std::vector<Module> modules;  ///< whose train and eval modes count

  /** Adds the parameters that gradients are for. */
  void add(const optim::Optimizer& optimizer);
  /** Adds a module's parameters that are not there yet, its buffers, its submodules. */
  void add(torch::nn::Module& module);
};

/** Where programs write the gradients of an optimizer's parameters: in its own buffers. */
class BoundGradients {
 public:
  /** Binds the optimizer's gradients; a view for each of its parameters, in order. */
  const std::vector<at::Tensor>& bind(optim::Optimizer& optimizer);
  /** Whether they lie elsewhere now: the optimizer was given a group, or unbound. */
  bool moved(optim::Optimizer& optimizer);

 private:
  std::vector<at::Tensor> views_;
  std::uint64_t layout_ = 0;  // of the optimizer, when they were made
};

/** One program and what it was captured for. */
class StepProgram {
 public:
  StepProgram(Captured captured, const Batch& batch, const Surroundings& surroundings, std::int64_t variant);
  /** A graph of the device that the batch is on. */
  StepProgram(std::unique_ptr<DeviceGraph> graph, const Batch& batch, const Surroundings& surroundings,
              std::int64_t variant);

  /** Whether the batch has the shapes, and the surroundings are in the state, that the program was made for. */
  bool fits(const Batch& batch, std::int64_t variant) const;
  /** Whether parameters and buffers still lie where the program writes and reads them, in the same modules. */
  bool in_place();
  /** Forward and backward: results and gradients are in their places afterwards. */
  void run(const Batch& batch);
  /** As above on a batch whose tensors lie in host memory at these addresses, in order. */
  void run(std::span<const void* const> batch);

  /** Whether it runs on an accelerator: reading a result waits for it. */
  bool on_device() const { return graph_ != nullptr; }
  const std::vector<bool>& has_gradient() const { return graph_ ? graph_->has_gradient() : captured_.has_gradient; }
  bool has_loss() const { return graph_ ? graph_->has_loss() : captured_.has_loss; }
  std::size_t results() const { return graph_ ? graph_->results().size() : captured_.code->results.size(); }
  /** A tensor with result `index` that stays as it is when the program runs again. */
  at::Tensor result(std::size_t index);
  /** The result as a number; only for scalars. */
  double scalar(std::size_t index) const;
  const Captured& captured() const { return captured_; }

  std::shared_ptr<const void> attachment;  ///< what its owner wants to find again with the program

 private:
  struct Shape {
    std::vector<std::int64_t> sizes, strides;
    at::ScalarType dtype = at::kFloat;
    bool defined = false;
    at::Device device = at::kCPU;
  };
  struct Memory {
    at::Tensor tensor;
    const void* data = nullptr;
    bool requires_grad = false;
  };
  struct Watched {
    Surroundings::Module kept;
    bool training = false;
    long holders = 0;  ///< of the owner: a module that was replaced has lost one
  };
  StepProgram(const Batch& batch, const Surroundings& surroundings, std::int64_t variant);
  bool same_modules() const;
  /** Runs the program on a batch whose tensor `i` lies at address_of(i). */
  template <class AddressOf>
  void run_on(const AddressOf& address_of);
  /** For people, after the shapes. */
  std::string explain() const;

  Captured captured_;
  std::unique_ptr<DeviceGraph> graph_;  // instead of a program
  std::vector<Shape> shapes_;
  std::vector<Memory> memory_;
  std::vector<Watched> modules_;
  std::uint64_t calls_ = 0;  ///< counted where steps are checked
  std::int64_t variant_;
  // Tensors handed out, used again once nobody else holds them.
  std::vector<std::vector<at::Tensor>> handed_out_;
  friend class StepPrograms;
};

class StepPrograms {
 public:
  StepPrograms(std::string name, CompileOptions options);

  /**
   * The program for the batch, captured now if it was not met before; null when the step has to run eagerly. A
   * `variant` tells apart steps that the batch's shapes do not. `surroundings` and `request` are asked for a capture
   * only; the request comes without parameters and externals.
   */
  StepProgram* find(const Batch& batch, std::int64_t variant, const std::function<Surroundings()>& surroundings,
                    const std::function<CaptureRequest()>& request);

  /** The program for batches like this one if there is one already, whose step need not be looked at again. */
  StepProgram* known(const Batch& batch, std::int64_t variant);

  /** Runs eagerly from now on, with a warning that says why unless it was given before (`known`). */
  void refuse(const std::string& reason, bool known = false);
  /** Forgets all programs, and what could not be captured. */
  void clear();
  bool any() const { return !programs_.empty(); }
  /** Why the step runs eagerly; empty when it does not. */
  const std::string& refusal() const { return refusal_; }
  /** What was captured, fused and left to ATen, for people. */
  std::string explain() const;

 private:
  /** Whether the step, recorded again, is the one that `program` was made of; refuses it if not. */
  bool same_step(const StepProgram& program, const CaptureRequest& request, const Batch& batch);

  std::string name_;
  CompileOptions options_;
  bool checks_steps_;  ///< debug::checks_steps() when this was made
  std::vector<std::unique_ptr<StepProgram>> programs_;
  std::size_t last_ = 0;
  std::string refusal_;
};

}  // namespace levin::compile
