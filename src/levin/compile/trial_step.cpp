#include <levin/compile/trial_step.h>

#include <ATen/ATen.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/function.h>

#include <mutex>
#include <unordered_set>

namespace levin::compile {
namespace {

void refuse_hooks(const at::Tensor& loss) {
  using torch::autograd::Node;
  std::unordered_set<Node*> seen;
  std::vector<Node*> left;
  const auto visit = [&](Node* node) {
    if (node != nullptr && seen.insert(node).second) left.push_back(node);
  };
  visit(loss.grad_fn().get());
  while (!left.empty()) {
    Node* node = left.back();
    left.pop_back();
    if (!node->pre_hooks().empty() || !node->post_hooks().empty() || !node->tensor_pre_hooks().empty() ||
        !node->retains_grad_hooks().empty() || node->tensor_post_acc_grad_hooks() != nullptr) {
      throw NotCapturable("a tensor has a hook (register_hook, retain_grad), which no program would call");
    }
    for (const auto& edge : node->next_edges()) visit(edge.function.get());
  }
}

}  // namespace

Snapshot::Snapshot(const CaptureRequest& request, at::Device device) {
  const at::NoGradGuard no_grad;
  std::vector<at::Generator> generators{at::globalContext().defaultGenerator(at::kCPU)};
  if (!device.is_cpu()) generators.push_back(at::globalContext().defaultGenerator(device));
  for (at::Generator& generator : generators) {
    const std::lock_guard lock(generator.mutex());
    random_.push_back({.generator = generator, .state = generator.get_state(), .seed = generator.current_seed()});
  }
  for (const Named& external : request.externals) keep(external.tensor);
  for (const at::Tensor& view : request.targets.views) keep(view);
}

bool Snapshot::seeded() {
  bool any = false;
  for (Random& random : random_) {
    const std::lock_guard lock(random.generator.mutex());
    any |= random.generator.current_seed() != random.seed;
  }
  return any;
}

void Snapshot::restore() {
  const at::NoGradGuard no_grad;
  for (const auto& [tensor, copy] : kept_) tensor.detach().copy_(copy);
  for (Random& random : random_) {
    const std::lock_guard lock(random.generator.mutex());
    random.generator.set_state(random.state);
  }
}

void Snapshot::keep(const at::Tensor& tensor) {
  if (tensor.defined()) kept_.emplace_back(tensor, tensor.detach().clone());
}

Batch private_copy(const Batch& given) {
  const at::NoGradGuard no_grad;
  Batch copy;
  Batch::Tensors tensors;
  for (const at::Tensor& tensor : dense(given, copy)) {
    if (tensor.defined() && tensor.requires_grad()) {
      throw NotCapturable("a tensor of the batch requires a gradient; require it of a copy within the step");
    }
    tensors.push_back(tensor.defined() ? tensor.clone() : tensor);
  }
  return given.with_tensors(std::move(tensors));
}

std::vector<Named> known_tensors(const CaptureRequest& request) {
  std::vector<Named> all = request.parameters;
  all.insert(all.end(), request.externals.begin(), request.externals.end());
  return all;
}

std::string place_text(const std::string& code, const std::string& parameter) {
  if (code.empty() && parameter.empty()) return {};
  return " (" + code + (code.empty() || parameter.empty() ? "" : ", ") +
         (parameter.empty() ? "" : "soon after the use of " + parameter) + ")";
}

std::vector<at::Tensor> gradients_of(const CaptureRequest& request, at::Tensor loss) {
  std::vector<at::Tensor> all(request.parameters.size()), wanted;
  std::vector<std::size_t> index;
  if (!loss.defined() || !request.gradients) return all;
  for (std::size_t i = 0; i < request.parameters.size(); ++i) {
    if (!request.parameters[i].tensor.requires_grad()) continue;
    wanted.push_back(request.parameters[i].tensor);
    index.push_back(i);
  }
  if (wanted.empty()) return all;
  refuse_hooks(loss);
  if (request.loss_divisor != 1) loss = loss / request.loss_divisor;
  const auto gradients = torch::autograd::grad({loss}, wanted, {}, std::nullopt, false, /*allow_unused=*/true);
  for (std::size_t i = 0; i < gradients.size(); ++i) all[index[i]] = gradients[i];
  return all;
}

}  // namespace levin::compile
