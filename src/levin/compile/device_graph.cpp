#include <levin/compile/device_graph.h>

#include <levin/compile/lift.h>
#include <levin/compile/tape.h>
#include <levin/compile/trial_step.h>

#include <ATen/ATen.h>
#include <c10/core/StreamGuard.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include <algorithm>
#include <string>

namespace levin::compile {
namespace {

// As many as torch.cuda.make_graphed_callables runs by default.
constexpr int kWarmUps = 3;

at::Device device_of(const CaptureRequest& request, const Batch& batch) {
  for (const at::Tensor& tensor : batch) {
    if (tensor.defined()) return tensor.device();
  }
  return request.parameters.at(0).tensor.device();
}

void refuse_mixed_devices(const CaptureRequest& request, const Batch& batch, at::Device device) {
  const auto check = [&](const std::string& name, const at::Tensor& tensor) {
    if (!tensor.defined() || tensor.device() == device) return;
    throw NotCapturable(name + " is on " + tensor.device().str() + " and the batch on " + device.str() +
                        "; move them to one device");
  };
  for (const Named& named : known_tensors(request)) check(named.name, named.tensor);
  for (const at::Tensor& tensor : batch) check("a tensor of the batch", tensor);
}

std::string first_line(const c10::Error& error) {
  const std::string text = error.what_without_backtrace();
  return text.substr(0, text.find('\n'));
}

}  // namespace

bool has_device_graphs(c10::DeviceType type) { return at::has_graph_impl(type); }

DeviceGraph::DeviceGraph(const CaptureRequest& request, const Batch& batch) : inputs_(private_copy(batch)) {
  const at::Device device = device_of(request, inputs_);
  refuse_mixed_devices(request, inputs_, device);
  Snapshot snapshot(request, device);

  // Streams other than the default one are all that can be captured.
  const c10::impl::VirtualGuardImpl guard(device.type());
  const c10::Stream outside = guard.getStream(device), side = guard.getNewStream(device);
  outside.synchronize();
  {
    const c10::StreamGuard on(side);
    check(request, device);
    if (snapshot.seeded()) {
      throw NotCapturable("the random generator is seeded within the step (torch::manual_seed); seed it outside");
    }
    for (int i = 0; i < kWarmUps; ++i) step(request);
    side.synchronize();
    snapshot.restore();
    side.synchronize();
    record(request, device.type());
    side.synchronize();
  }
}

DeviceGraph::~DeviceGraph() = default;

// What no program could repeat is refused by the words that programs on the CPU use, before the device is asked.
void DeviceGraph::check(const CaptureRequest& request, at::Device device) {
  Tape tape;
  tape.device = device.type();
  StepResults results(&tape);
  std::vector<Result> outputs;
  const auto outermost = reinterpret_cast<std::uintptr_t>(__builtin_frame_address(0));
  const auto parameter = [&](std::size_t call) { return place_in_model(tape, call, known_tensors(request)); };
  try {
    const Recording recording(tape);
    const at::Tensor loss = request.function(inputs_, results);
    if (loss.defined()) {
      outputs.push_back({.kind = Output::Kind::result, .index = -1, .name = "loss", .tensor = loss.detach(),
                         .after = tape.records.size()});
    }
  } catch (const NotCapturable& error) {
    throw NotCapturable(error.what() +
                        place_text(user_code(error.frames, outermost), parameter(tape.records.size())));
  }
  outputs.insert(outputs.end(), results.list().begin(), results.list().end());
  try {
    const Graph graph = lift(tape, {inputs_.begin(), inputs_.end()}, known_tensors(request), outputs);
    calls_ = graph.nodes.size();
  } catch (const NotCapturable& error) {
    throw NotCapturable(error.what() + (error.call ? place_text({}, parameter(*error.call)) : std::string()));
  }
}

void DeviceGraph::step(const CaptureRequest& request) {
  const Tape tape;
  StepResults results(&tape);
  const at::Tensor loss = request.function(inputs_, results);
  const auto gradients = gradients_of(request, loss);

  const at::NoGradGuard no_grad;
  results_.clear();
  has_loss_ = loss.defined();
  if (has_loss_) results_.push_back(loss.detach());
  for (const Result& result : results.list()) results_.push_back(result.tensor);
  has_gradient_.clear();
  for (std::size_t i = 0; i < gradients.size(); ++i) {
    has_gradient_.push_back(gradients[i].defined());
    if (!gradients[i].defined()) continue;
    const at::Tensor& target = request.targets.views[i];
    if (request.targets.accumulate) {
      target.add_(gradients[i]);
    } else {
      target.copy_(gradients[i]);
    }
  }
}

void DeviceGraph::record(const CaptureRequest& request, c10::DeviceType type) {
  graph_ = at::create_graph_impl(type);
  graph_->capture_begin();
  try {
    step(request);
    graph_->capture_end();
  } catch (const std::exception& error) {
    // A capture that went wrong is still under way; its end says so once more.
    try {
      graph_->capture_end();
    } catch (const std::exception&) {
    }
    graph_.reset();
    const auto* of_torch = dynamic_cast<const c10::Error*>(&error);
    if (of_torch == nullptr) throw;
    throw NotCapturable("the device cannot capture it: " + first_line(*of_torch));
  }
}

void DeviceGraph::run(const Batch& batch) {
  const at::NoGradGuard no_grad;
  for (std::int64_t i = 0; i < inputs_.size(); ++i) {
    if (inputs_[i].defined()) at::Tensor(inputs_[i]).copy_(batch[i], /*non_blocking=*/true);
  }
  graph_->replay();
}

}  // namespace levin::compile
