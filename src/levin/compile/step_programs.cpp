#include <levin/compile/step_programs.h>

#include <levin/compile/debug.h>
#include <levin/core/console.h>
#include <levin/core/error.h>
#include <levin/optim/optimizer_impl.h>

#include <ATen/ATen.h>
#include <torch/csrc/autograd/variable.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <sstream>

namespace levin {
namespace compile {
namespace {

bool has_hooks(const at::Tensor& tensor) {
  const auto* meta = torch::autograd::impl::get_autograd_meta(tensor);
  return meta != nullptr && (!meta->hooks_.empty() || meta->cpp_hooks_list_ || meta->post_acc_grad_hooks_);
}

CaptureRequest whole(CaptureRequest request, const Surroundings& around) {
  request.parameters = around.parameters;
  request.externals = around.externals;
  return request;
}

}  // namespace
}  // namespace compile

void check(const CompileOptions& options) {
  if (options.threads < 0) {
    throw Error({.what = "CompileOptions::threads must not be negative", .value = std::to_string(options.threads),
                 .where = {}, .hint = "0 takes as many as LibTorch may use"});
  }
  if (!options.fast_dropout || options.fuse) return;
  throw Error({.what = "CompileOptions: fast_dropout and fuse = false contradict each other",
               .value = "fuse = false asks for the bits of the eager step, fast_dropout for other random numbers",
               .where = {},
               .hint = "leave out one of the two"});
}

namespace compile {

const std::vector<at::Tensor>& BoundGradients::bind(optim::Optimizer& optimizer) {
  optimizer.bind_gradients();
  views_.assign(optimizer.parameters().size(), at::Tensor());
  for (const auto& chunk : optimizer.impl()->chunks()) {
    for (std::size_t i = 0; i < chunk.slots.size(); ++i) {
      views_[static_cast<std::size_t>(chunk.slots[i].index)] = chunk.grads.views()[i];
    }
  }
  layout_ = optimizer.impl()->layout_version();
  return views_;
}

bool BoundGradients::moved(optim::Optimizer& optimizer) {
  if (optimizer.impl()->layout_version() == layout_) return false;
  const auto before = views_;
  bind(optimizer);
  return !std::ranges::equal(before, views_, [](const at::Tensor& a, const at::Tensor& b) { return a.is_same(b); });
}

void Surroundings::add(const optim::Optimizer& optimizer) {
  for (const at::Tensor& parameter : optimizer.parameters()) {
    parameters.push_back({"parameter " + std::to_string(parameters.size()), parameter});
  }
}

void Surroundings::add(torch::nn::Module& module) {
  const auto known = [&](const at::Tensor& tensor) {
    const auto same = [&](const Named& named) { return named.tensor.is_same(tensor); };
    return std::ranges::any_of(parameters, same) || std::ranges::any_of(externals, same);
  };
  for (const auto& parameter : module.named_parameters()) {
    const auto mine = std::ranges::find_if(
        parameters, [&](const Named& named) { return named.tensor.is_same(parameter.value()); });
    if (mine != parameters.end()) {
      mine->name = parameter.key();
    } else if (parameter.value().defined() && !known(parameter.value())) {
      externals.push_back({parameter.key(), parameter.value()});
    }
  }
  for (const auto& buffer : module.named_buffers()) {
    if (buffer.value().defined() && !known(buffer.value())) externals.push_back({buffer.key(), buffer.value()});
  }
  modules.push_back({&module, nullptr});
  for (const auto& child : module.modules(/*include_self=*/false)) modules.push_back({child.get(), child});
}

StepProgram::StepProgram(Captured captured, const Batch& batch, const Surroundings& surroundings, std::int64_t variant)
    : StepProgram(batch, surroundings, variant) {
  captured_ = std::move(captured);
  handed_out_.resize(captured_.code->results.size());
}

StepProgram::StepProgram(std::unique_ptr<DeviceGraph> graph, const Batch& batch, const Surroundings& surroundings,
                         std::int64_t variant)
    : StepProgram(batch, surroundings, variant) {
  graph_ = std::move(graph);
}

StepProgram::StepProgram(const Batch& batch, const Surroundings& surroundings, std::int64_t variant)
    : variant_(variant) {
  for (const at::Tensor& tensor : batch) {
    if (tensor.defined()) {
      shapes_.push_back({tensor.sizes().vec(), tensor.strides().vec(), tensor.scalar_type(), true, tensor.device()});
    } else {
      shapes_.emplace_back();
    }
  }
  const auto watch = [&](const std::vector<Named>& list) {
    for (const Named& named : list) {
      memory_.push_back({named.tensor, named.tensor.const_data_ptr(), named.tensor.requires_grad()});
    }
  };
  watch(surroundings.parameters);
  watch(surroundings.externals);
  for (const auto& kept : surroundings.modules) modules_.push_back({kept, kept.module->is_training(), 0});
}

bool StepProgram::fits(const Batch& batch, std::int64_t variant) const {
  if (variant != variant_ || batch.size() != static_cast<std::int64_t>(shapes_.size())) return false;
  const Shape* shape = shapes_.data();
  for (const at::Tensor& tensor : batch) {
    const Shape& expected = *shape++;
    if (tensor.defined() != expected.defined) return false;
    if (!expected.defined) continue;
    if (tensor.sizes() != at::IntArrayRef(expected.sizes) || tensor.strides() != at::IntArrayRef(expected.strides) ||
        tensor.scalar_type() != expected.dtype || tensor.device() != expected.device) {
      return false;
    }
  }
  for (const Memory& memory : memory_) {
    if (memory.tensor.requires_grad() != memory.requires_grad) return false;
  }
  for (const Watched& watched : modules_) {
    if (watched.kept.module->is_training() != watched.training) return false;
  }
  return true;
}

bool StepProgram::in_place() {
  for (const Memory& memory : memory_) {
    if (memory.tensor.const_data_ptr() != memory.data || has_hooks(memory.tensor)) return false;
  }
  // The modules are gone through only when somebody has let go of one of them, or taken hold of it.
  bool held_alike = true;
  for (Watched& watched : modules_) {
    const long holders = watched.kept.owner.use_count();
    held_alike &= holders == watched.holders;
    watched.holders = holders;
  }
  return held_alike || same_modules();
}

bool StepProgram::same_modules() const {
  std::size_t next = 0;
  while (next < modules_.size()) {
    // Each root is followed by its submodules.
    const auto children = modules_[next++].kept.module->modules(/*include_self=*/false);
    for (const auto& child : children) {
      if (next == modules_.size() || modules_[next++].kept.module != child.get()) return false;
    }
    if (next < modules_.size() && modules_[next].kept.owner) return false;
  }
  return true;
}

template <class AddressOf>
void StepProgram::run_on(const AddressOf& address_of) {
  Program& program = *captured_.program;
  const auto& inputs = captured_.code->inputs;
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    if (inputs[i] > 0) program.set_input(i, address_of(i));
  }
  program.run();
}

void StepProgram::run(const Batch& batch) {
  if (graph_) return graph_->run(batch);
  run_on([&](std::size_t i) { return batch[static_cast<std::int64_t>(i)].const_data_ptr(); });
}

void StepProgram::run(std::span<const void* const> batch) {
  run_on([&](std::size_t i) { return batch[i]; });
}

at::Tensor StepProgram::result(std::size_t index) {
  if (graph_) return graph_->results()[index].clone();
  const Value& value = captured_.code->results[index].value;
  const std::byte* data = captured_.program->result(index);
  if (!value.dense()) {
    return at::from_blob(const_cast<std::byte*>(data), value.sizes, value.strides, at::TensorOptions(value.dtype)).clone();
  }
  auto& ring = handed_out_[index];
  // Others may hold the tensor itself or a view of its memory.
  auto free = std::ranges::find_if(
      ring, [](const at::Tensor& tensor) { return tensor.use_count() == 1 && tensor.storage().use_count() == 1; });
  if (free == ring.end()) {
    constexpr std::size_t kRing = 4;
    at::Tensor fresh = at::empty_strided(value.sizes, value.strides, at::TensorOptions(value.dtype));
    if (ring.size() == kRing) ring.erase(ring.begin());
    ring.push_back(std::move(fresh));
    free = std::prev(ring.end());
  }
  if (value.sizes.empty() && value.dtype == at::kFloat) {
    std::memcpy(free->mutable_data_ptr(), data, sizeof(float));
  } else {
    std::memcpy(free->mutable_data_ptr(), data, static_cast<std::size_t>(value.bytes()));
  }
  return *free;
}

double StepProgram::scalar(std::size_t index) const {
  if (graph_) return graph_->results()[index].item<double>();
  const auto& result = captured_.code->results[index];
  const std::byte* data = captured_.program->result(index);
  if (result.value.dtype == at::kFloat) return static_cast<double>(*reinterpret_cast<const float*>(data));
  return at::from_blob(const_cast<std::byte*>(data), {}, at::TensorOptions(result.value.dtype)).item<double>();
}

std::string StepProgram::explain() const {
  std::ostringstream out;
  for (const Shape& shape : shapes_) {
    out << ' ' << (shape.defined ? c10::toString(shape.dtype) : "nothing") << at::IntArrayRef(shape.sizes);
  }
  if (graph_) {
    out << ": a graph of the device, of " << graph_->calls() << " operators forward and their gradients\n";
    return out.str();
  }
  out << ": " << captured_.code->steps.size() << " instructions, " << captured_.code->boxed_calls
      << " of them calls of ATen, " << captured_.program->memory_bytes() << " bytes\n";
  for (const std::string& note : captured_.notes) out << "  " << note << '\n';
  if (!captured_.boxed.empty()) out << "  through ATen:";
  for (std::size_t i = 0; i < captured_.boxed.size(); ++i) out << (i ? ", " : " ") << captured_.boxed[i];
  if (!captured_.boxed.empty()) out << '\n';
  return out.str();
}

StepPrograms::StepPrograms(std::string name, CompileOptions options)
    : name_(std::move(name)), options_(options), checks_steps_(debug::checks_steps()) {
  check(options_);
}

bool StepPrograms::same_step(const StepProgram& program, const CaptureRequest& request, const Batch& batch) {
  std::optional<std::string> difference;
  try {
    difference = program.captured().text->difference(record_text(request, batch));
  } catch (const NotCapturable& error) {
    difference = error.what();
  }
  if (!difference) return true;
  refuse("its own code is not the same at each call: " + *difference +
         ". Put what changes into the batch, or into a buffer of the model, or call reset() when it has changed");
  return false;
}

StepProgram* StepPrograms::find(const Batch& batch, std::int64_t variant,
                                const std::function<Surroundings()>& surroundings,
                                const std::function<CaptureRequest()>& request) {
  if (!refusal_.empty()) return nullptr;
  for (std::size_t n = 0; n < programs_.size(); ++n) {
    const std::size_t i = (last_ + n) % programs_.size();
    if (!programs_[i]->fits(batch, variant)) continue;
    if (!programs_[i]->in_place()) {
      programs_.clear();
      break;
    }
    last_ = i;
    if (checks_steps_ && !programs_[i]->on_device() && std::has_single_bit(++programs_[i]->calls_)) {
      CaptureRequest again = request();
      if (!same_step(*programs_[i], whole(std::move(again), surroundings()), batch)) return nullptr;
    }
    return programs_[i].get();
  }
  if (static_cast<std::int64_t>(programs_.size()) >= options_.max_programs) {
    console::warn_once(name_ + " meets more shapes of batches than CompileOptions::max_programs = " +
                       std::to_string(options_.max_programs) +
                       "; further ones run eagerly. Pad the batches to a few shapes, or raise it.");
    return nullptr;
  }
  bool on_device = false;
  for (const at::Tensor& tensor : batch) {
    if (!tensor.defined() || tensor.is_cpu()) continue;
    on_device = true;
    if (!has_device_graphs(tensor.device().type())) {
      refuse("the batch is on " + tensor.device().str() + ", of which this LibTorch captures no graphs");
      return nullptr;
    }
  }
  CaptureRequest asked = request();  // first: it may move parameters
  const Surroundings around = surroundings();
  asked = whole(std::move(asked), around);
  for (const std::vector<Named>* list : {&asked.parameters, &asked.externals}) {
    for (const Named& named : *list) {
      if (!has_hooks(named.tensor)) continue;
      refuse(named.name + " has a hook (register_hook), which no program would call");
      return nullptr;
    }
  }
  try {
    programs_.push_back(
        on_device ? std::make_unique<StepProgram>(std::make_unique<DeviceGraph>(asked, batch), batch, around, variant)
                  : std::make_unique<StepProgram>(capture(asked, batch, options_), batch, around, variant));
  } catch (const NotCapturable& error) {
    refuse(error.what(), error.known);
    return nullptr;
  }
  last_ = programs_.size() - 1;
  if (checks_steps_ && !on_device && !same_step(*programs_[last_], asked, batch)) return nullptr;
  return programs_[last_].get();
}

StepProgram* StepPrograms::known(const Batch& batch, std::int64_t variant) {
  if (checks_steps_) return nullptr;
  for (const auto& program : programs_) {
    if (!program->fits(batch, variant)) continue;
    if (program->in_place()) return program.get();
    programs_.clear();
    break;
  }
  return nullptr;
}

void StepPrograms::refuse(const std::string& reason, bool known) {
  programs_.clear();
  refusal_ = reason;
  if (!known) console::warning(name_ + " runs eagerly, not compiled: " + reason);
}

void StepPrograms::clear() {
  programs_.clear();
  refusal_.clear();
  last_ = 0;
}

std::string StepPrograms::explain() const {
  std::ostringstream out;
  if (!refusal_.empty()) out << name_ << " runs eagerly: " << refusal_ << '\n';
  for (const auto& program : programs_) out << name_ << " for batches of" << program->explain();
  if (refusal_.empty() && programs_.empty()) out << name_ << " has not run yet\n";
  return out.str();
}

}  // namespace compile
}  // namespace levin
