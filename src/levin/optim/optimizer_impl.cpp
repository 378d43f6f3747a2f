#include <levin/optim/optimizer_impl.h>

#include <levin/core/error.h>

#include <ATen/core/grad_mode.h>
#include <ATen/ATen.h>

#include <algorithm>
#include <sstream>
#include <tuple>
#include <unordered_set>

namespace levin::optim {
namespace {

std::string shape_text(const at::Tensor& tensor) {
  std::ostringstream text;
  text << c10::toString(tensor.scalar_type()) << tensor.sizes() << " on " << tensor.device();
  return text.str();
}

uint32_t version_of(const at::Tensor& tensor) {
  return tensor.unsafeGetTensorImpl()->version_counter().current_version();
}

bool is(const at::Tensor& a, const at::Tensor& b) { return a.unsafeGetTensorImpl() == b.unsafeGetTensorImpl(); }

// One more step, without a kernel launch where the count lies in host memory.
void advance(at::Tensor& step) {
  if (step.is_cpu()) {
    *static_cast<float*>(step.mutable_data_ptr()) += 1;
  } else {
    step.add_(1);
  }
}

// The settings of a group: PyTorch's name, where it is kept, and where a caller may ask for another one.
template <class T>
struct Setting {
  std::string_view name;
  T Group::*kept;
  std::optional<T> ParamGroup::*asked;
};
using Pair = std::array<double, 2>;
constexpr std::tuple kSettings{
    Setting<double>{"lr", &Group::lr, &ParamGroup::lr},
    Setting<double>{"momentum", &Group::momentum, &ParamGroup::momentum},
    Setting<double>{"dampening", &Group::dampening, &ParamGroup::dampening},
    Setting<Pair>{"betas", &Group::betas, &ParamGroup::betas},
    Setting<double>{"eps", &Group::eps, &ParamGroup::eps},
    Setting<double>{"weight_decay", &Group::weight_decay, &ParamGroup::weight_decay},
    Setting<bool>{"nesterov", &Group::nesterov, &ParamGroup::nesterov},
    Setting<bool>{"amsgrad", &Group::amsgrad, &ParamGroup::amsgrad},
    Setting<bool>{"maximize", &Group::maximize, &ParamGroup::maximize},
    Setting<bool>{"decoupled_weight_decay", &Group::decoupled_weight_decay, nullptr},
    Setting<double>{"alpha", &Group::alpha, &ParamGroup::alpha},
    Setting<bool>{"centered", &Group::centered, &ParamGroup::centered},
    Setting<double>{"rho", &Group::rho, &ParamGroup::rho},
    Setting<double>{"lr_decay", &Group::lr_decay, &ParamGroup::lr_decay},
    Setting<double>{"initial_accumulator_value", &Group::initial_accumulator_value,
                    &ParamGroup::initial_accumulator_value},
    Setting<double>{"momentum_decay", &Group::momentum_decay, &ParamGroup::momentum_decay},
    Setting<Pair>{"etas", &Group::etas, &ParamGroup::etas},
    Setting<Pair>{"step_sizes", &Group::step_sizes, &ParamGroup::step_sizes}};

template <class Visit>
void for_each_setting(const Visit& visit) {
  std::apply([&](const auto&... setting) { (visit(setting), ...); }, kSettings);
}

Value to_value(double number) { return number; }
Value to_value(bool flag) { return flag; }
Value to_value(const Pair& pair) { return List{pair[0], pair[1]}; }

void from_value(const Value& value, double& to) { to = value.as_double(); }
void from_value(const Value& value, bool& to) { to = value.as_bool(); }
void from_value(const Value& value, Pair& to) {
  const auto& list = value.as_list();
  if (list.size() != 2) throw Error("two numbers are needed");
  to = {list[0].as_double(), list[1].as_double()};
}

// A parameter that its arena holds still lies where it was put.
bool in_place(const OptimizerImpl::Chunk& chunk, size_t i) {
  return chunk.params.defined() && chunk.slots[i].param.const_data_ptr() == chunk.params.views()[i].const_data_ptr();
}

const std::vector<std::pair<std::string, Value>>& flags_of_python() {
  // Settings that choose among PyTorch's own code paths. Written as PyTorch's defaults, so that it goes on with its
  // own.
  static const std::vector<std::pair<std::string, Value>> flags = {
      {"foreach", nullptr}, {"capturable", false}, {"differentiable", false}, {"fused", nullptr}};
  return flags;
}

}  // namespace

void OptimizerImpl::Lists::clear() {
  params.clear();
  grads.clear();
  steps.clear();
  for (auto& list : states) list.clear();
  numbers.clear();
}

bool OptimizerImpl::is_bound(const Chunk& chunk, size_t i) {
  const auto& grad = chunk.slots[i].param.grad();
  return chunk.grads.defined() && grad.defined() && is(grad, chunk.grads.views()[i]);
}

bool OptimizerImpl::has_gradient(const Chunk& chunk, size_t i) {
  const auto& slot = chunk.slots[i];
  const auto& grad = slot.param.grad();
  if (!grad.defined()) return false;
  return !is_bound(chunk, i) || slot.grad_counts || version_of(grad) != slot.grad_version;
}

OptimizerImpl::OptimizerImpl(std::string name, Group defaults)
    : name_(std::move(name)), defaults_(std::move(defaults)) {}

OptimizerImpl::~OptimizerImpl() = default;

bool OptimizerImpl::has_setting(std::string_view name) const {
  return std::ranges::find(setting_names(), name) != setting_names().end();
}

void OptimizerImpl::add_param_groups(std::vector<ParamGroup> groups) {
  validate(defaults_);
  if (groups.empty()) {
    throw Error({.what = name_ + " got an empty parameter list",
                 .value = "0 groups",
                 .where = {},
                 .hint = "pass model->parameters() after the layers were registered with register_module"});
  }
  for (auto& group : groups) add_param_group(std::move(group));
}

Group OptimizerImpl::resolve(const ParamGroup& asked) const {
  Group group = defaults_;
  const auto names = setting_names();
  for_each_setting([&](const auto& setting) {
    if (!setting.asked || !(asked.*setting.asked)) return;
    if (std::ranges::find(names, setting.name) == names.end()) {
      const std::vector<std::string> known(names.begin(), names.end());
      throw Error({.what = name_ + " has no setting \"" + std::string(setting.name) + "\"",
                   .value = {},
                   .where = "parameter group " + std::to_string(groups_.size()),
                   .hint = name_ + " has " + join_words(known)});
    }
    group.*setting.kept = *(asked.*setting.asked);
  });
  return group;
}

void OptimizerImpl::check_parameter(const at::Tensor& param, size_t group, size_t position) const {
  auto fail = [&](const std::string& what, const std::string& value, const std::string& hint) {
    throw Error({.what = what,
                 .value = value,
                 .where = name_ + ", group " + std::to_string(group) + ", parameter " + std::to_string(position),
                 .hint = hint});
  };
  if (!param.defined()) fail("an undefined tensor cannot be optimized", {}, "initialise the parameter first");
  if (!param.is_leaf()) {
    fail("cannot optimize a tensor that is computed from others", shape_text(param),
         "pass the leaf tensors, or tensor.detach().requires_grad_()");
  }
  if (!param.is_floating_point()) {
    fail("cannot optimize a parameter that is not of a floating type", shape_text(param),
         "convert it with .to(torch::kFloat), or register it as a buffer");
  }
  if (param.layout() != at::kStrided) fail("cannot optimize a sparse parameter", shape_text(param), "use a dense one");
  for (int64_t i = 0; i < param.dim(); ++i) {
    if (param.stride(i) == 0 && param.size(i) > 1) {
      fail("cannot optimize an expanded tensor, whose elements share memory", shape_text(param), "use .contiguous()");
    }
  }
}

void OptimizerImpl::add_param_group(ParamGroup asked) {
  const auto number = groups_.size();
  if (asked.params.empty()) {
    throw Error({.what = name_ + " got an empty parameter list",
                 .value = "group " + std::to_string(number),
                 .where = {},
                 .hint = "pass model->parameters() after the layers were registered with register_module"});
  }
  std::unordered_set<const void*> seen;
  for (const auto& group : groups_) {
    for (const auto& param : group.params_) seen.insert(param.unsafeGetTensorImpl());
  }
  for (size_t i = 0; i < asked.params.size(); ++i) {
    check_parameter(asked.params[i], number, i);
    if (!seen.insert(asked.params[i].unsafeGetTensorImpl()).second) {
      throw Error({.what = "the same parameter was given twice",
                   .value = shape_text(asked.params[i]),
                   .where = name_ + ", group " + std::to_string(number) + ", parameter " + std::to_string(i),
                   .hint = "each parameter belongs to one group, once"});
    }
  }
  Group group = resolve(asked);
  validate(group);
  group.params_ = std::move(asked.params);
  groups_.push_back(std::move(group));
  build_chunks(number);
}

std::vector<at::Tensor> OptimizerImpl::parameters() const {
  std::vector<at::Tensor> all;
  for (const auto& group : groups_) all.insert(all.end(), group.params_.begin(), group.params_.end());
  return all;
}

void OptimizerImpl::build_chunks(size_t number) {
  ++layout_version_;
  std::erase_if(chunks_, [&](const Chunk& chunk) { return chunk.group == number; });
  const auto& params = groups_[number].params_;
  int64_t first = 0;
  for (size_t g = 0; g < number; ++g) first += static_cast<int64_t>(groups_[g].params_.size());

  // Parameters of one dtype and device, those that a new arena may take apart from those that already lie in one and
  // those that have to stay where they are.
  enum class Place { movable, arena, loose };
  struct Part {
    at::ScalarType dtype;
    at::Device device;
    Place place;
    std::vector<Slot> slots;
    std::vector<at::Tensor> tensors;
  };
  std::vector<Part> parts;
  for (size_t i = 0; i < params.size(); ++i) {
    const auto& param = params[i];
    const auto place = Arena::movable(param)           ? Place::movable
                       : Arena::is_arena_memory(param) ? Place::arena
                                                       : Place::loose;
    auto part = std::ranges::find_if(parts, [&](const Part& p) {
      return p.dtype == param.scalar_type() && p.device == param.device() && p.place == place;
    });
    if (part == parts.end()) {
      parts.push_back({param.scalar_type(), param.device(), place, {}, {}});
      part = std::prev(parts.end());
    }
    Slot slot;
    slot.param = param;
    slot.index = first + static_cast<int64_t>(i);
    part->slots.push_back(std::move(slot));
    part->tensors.push_back(param);
  }
  for (auto& part : parts) {
    Arena arena;
    if (part.place == Place::movable) {
      arena = Arena::take(part.tensors);
    } else if (part.place == Place::arena) {
      arena = Arena::adopt(part.tensors).value_or(Arena());
    }
    chunks_.push_back(make_chunk(number, std::move(part.slots), std::move(arena)));
    if (bound_) bind_chunk(chunks_.back());
  }
}

OptimizerImpl::Chunk OptimizerImpl::make_chunk(size_t group, std::vector<Slot> slots, Arena params) const {
  Chunk chunk;
  chunk.group = group;
  chunk.options = slots.front().param.options().requires_grad(false);
  std::vector<at::Tensor> tensors;
  for (const auto& slot : slots) tensors.push_back(slot.param);
  chunk.layout = params.defined() ? params.layout() : ArenaLayout(tensors);
  chunk.slots = std::move(slots);
  chunk.params = std::move(params);
  chunk.step = at::zeros({}, counts_on_host() ? at::TensorOptions(at::kFloat) : chunk.options.dtype(at::kFloat));
  return chunk;
}

size_t OptimizerImpl::place_of(std::string_view state) const {
  const auto names = all_state_names();
  return static_cast<size_t>(std::ranges::find(names, state) - names.begin());
}

void OptimizerImpl::ensure_states(Chunk& chunk, std::span<const std::string_view> names) {
  for (const auto name : names) {
    const size_t place = place_of(name);
    if (chunk.states.size() <= place) chunk.states.resize(place + 1);
    if (chunk.states[place].defined()) continue;
    ++layout_version_;
    chunk.states[place] = Arena::zeros(chunk.layout, chunk.options);
    chunk.all.clear();
    chunk.flat.clear();
  }
}

void OptimizerImpl::allocate_states() {
  for (auto& chunk : chunks_) ensure_states(chunk, state_names(groups_[chunk.group]));
}

size_t OptimizerImpl::state_bytes() const {
  size_t bytes = 0;
  for (const auto& chunk : chunks_) {
    size_t numel = 0;
    for (const Slot& slot : chunk.slots) numel += static_cast<size_t>(slot.param.numel());
    bytes += numel * chunk.options.dtype().itemsize() * state_names(groups_[chunk.group]).size();
  }
  return bytes;
}

void OptimizerImpl::zero_grad(bool set_to_none) {
  at::NoGradGuard no_grad;
  if (bound_) follow_moved_parameters();
  for (auto& chunk : chunks_) {
    if (chunk.grads.defined()) {
      for (size_t i = 0; i < chunk.slots.size(); ++i) {
        auto& slot = chunk.slots[i];
        slot.grad_counts = !set_to_none && has_gradient(chunk, i);
        const auto& view = chunk.grads.views()[i];
        if (!is_bound(chunk, i)) slot.param.mutable_grad() = view;
        slot.grad_version = version_of(view);
      }
      chunk.grads.flat().zero_();
      continue;
    }
    for (auto& slot : chunk.slots) {
      auto& grad = slot.param.mutable_grad();
      if (!grad.defined()) continue;
      if (set_to_none) {
        grad.reset();
      } else {
        if (grad.grad_fn()) grad = grad.detach();
        grad.zero_();
      }
    }
  }
}

void OptimizerImpl::bind_chunk(Chunk& chunk) {
  at::NoGradGuard no_grad;
  chunk.grads = Arena::zeros(chunk.layout, chunk.options);
  for (size_t i = 0; i < chunk.slots.size(); ++i) {
    auto& slot = chunk.slots[i];
    const auto& view = chunk.grads.views()[i];
    auto& grad = slot.param.mutable_grad();
    slot.grad_counts = grad.defined();
    if (grad.defined()) view.copy_(grad);
    grad = view;
    slot.grad_version = version_of(view);
  }
  chunk.flat.clear();
}

void OptimizerImpl::bind_gradients() {
  follow_moved_parameters();
  if (bound_) return;
  bound_ = true;
  ++layout_version_;
  for (auto& chunk : chunks_) bind_chunk(chunk);
}

void OptimizerImpl::unbind_gradients() {
  if (!bound_) return;
  bound_ = false;
  ++layout_version_;
  for (auto& chunk : chunks_) {
    for (size_t i = 0; i < chunk.slots.size(); ++i) {
      if (!is_bound(chunk, i)) continue;
      auto& grad = chunk.slots[i].param.mutable_grad();
      grad = has_gradient(chunk, i) ? grad.clone() : at::Tensor();
    }
    chunk.grads = Arena();
    chunk.flat.clear();
  }
}

// A model may be moved or converted between the optimizer's construction and its first step; later only its memory may
// change, for the state is of the old kind.
void OptimizerImpl::follow_moved_parameters() {
  std::vector<size_t> rebuild;
  for (const auto& chunk : chunks_) {
    for (size_t i = 0; i < chunk.slots.size(); ++i) {
      const auto& slot = chunk.slots[i];
      const bool same_kind = slot.param.scalar_type() == c10::typeMetaToScalarType(chunk.options.dtype()) &&
                             slot.param.device() == chunk.options.device();
      if (same_kind && (!chunk.params.defined() || step_count_ > 0 || in_place(chunk, i))) continue;
      if (std::ranges::any_of(chunk.slots, &Slot::has_state)) {
        if (same_kind) continue;
        std::ostringstream kind;
        kind << chunk.options.dtype() << " on " << chunk.options.device();
        throw Error({.what = "parameter " + std::to_string(slot.index) + " was converted or moved after " + name_ +
                             " had begun: its state is " + kind.str(),
                     .value = shape_text(slot.param),
                     .where = {},
                     .hint = "call model->to(...) before the first step, or make a new optimizer"});
      }
      rebuild.push_back(chunk.group);
      break;
    }
  }
  for (const auto group : rebuild) build_chunks(group);
}

std::vector<OptimizerImpl::FlatStep> OptimizerImpl::flat_steps() {
  follow_moved_parameters();
  std::vector<FlatStep> steps;
  for (auto& chunk : chunks_) {
    const auto states = state_names(groups_[chunk.group]);
    bool flat = chunk.params.defined() && chunk.grads.defined() && chunk.uniform && chunk.options.device().is_cpu() &&
                chunk.options.dtype() == at::kFloat;
    for (size_t i = 0; i < chunk.slots.size(); ++i) {
      flat = flat && in_place(chunk, i) && is_bound(chunk, i) &&
             chunk.slots[i].has_state == chunk.slots[0].has_state;
    }
    if (!flat) return {};
    ensure_states(chunk, states);
    FlatStep step{.group = &groups_[chunk.group],
                  .numel = chunk.layout.total,
                  .params = chunk.params.flat().mutable_data_ptr<float>(),
                  .grads = chunk.grads.flat().mutable_data_ptr<float>(),
                  .states = {},
                  .step = chunk.step.mutable_data_ptr<float>(),
                  .number = &chunk.number,
                  .first = !chunk.slots[0].has_state};
    for (size_t s = 0; s < chunk.states.size(); ++s) {
      if (chunk.states[s].defined()) step.states[s] = chunk.states[s].flat().mutable_data_ptr<float>();
    }
    steps.push_back(step);
  }
  return steps;
}

void OptimizerImpl::flat_step_done() {
  for (auto& chunk : chunks_) {
    const bool has_state = !chunk.states.empty();
    for (auto& slot : chunk.slots) {
      slot.has_state = has_state;
      slot.param.unsafeGetTensorImpl()->bump_version();
    }
  }
  ++step_count_;
}

void OptimizerImpl::gradients_written(const std::vector<bool>& given) {
  for (auto& chunk : chunks_) {
    if (!chunk.grads.defined()) continue;
    for (size_t i = 0; i < chunk.slots.size(); ++i) {
      auto& slot = chunk.slots[i];
      const auto& view = chunk.grads.views()[i];
      if (!is_bound(chunk, i)) slot.param.mutable_grad() = view;
      slot.grad_version = version_of(view);
      slot.grad_counts = given[static_cast<size_t>(slot.index)];
    }
  }
}

void OptimizerImpl::step() {
  at::NoGradGuard no_grad;
  follow_moved_parameters();
  for (auto& chunk : chunks_) step_chunk(chunk);
  ++step_count_;
}

void OptimizerImpl::step_chunk(Chunk& chunk) {
  const auto& group = groups_[chunk.group];
  bool flat = chunk.params.defined() && chunk.grads.defined();
  due_.clear();
  for (size_t i = 0; i < chunk.slots.size(); ++i) {
    if (!has_gradient(chunk, i)) continue;
    auto& slot = chunk.slots[i];
    if (slot.param.grad().layout() != at::kStrided) {
      update_sparse(group, slot.param, slot.param.grad());
      continue;
    }
    due_.push_back(i);
    flat = flat && in_place(chunk, i) && is_bound(chunk, i);
  }
  if (due_.empty()) return;

  const auto states = state_names(group);
  ensure_states(chunk, states);
  const bool all = due_.size() == chunk.slots.size();
  if (!all && chunk.uniform && counts_steps()) {
    for (auto& slot : chunk.slots) {
      slot.step = chunk.step.clone();
      slot.number = chunk.number;
    }
    chunk.uniform = false;
    ++layout_version_;
  }
  if (counts_steps()) {
    const auto advance_all = [&](at::Tensor& step, double& number) {
      advance(step);
      if (!number_name().empty()) number = next_number(group, step.item().toDouble(), number);
    };
    if (chunk.uniform) {
      advance_all(chunk.step, chunk.number);
    } else {
      for (const auto i : due_) advance_all(chunk.slots[i].step, chunk.slots[i].number);
    }
  }

  // SGD's first step fills the momentum instead of mixing it in: parameters on their first step go apart.
  const auto is_new = [&](size_t i) { return !chunk.slots[i].has_state; };
  const auto head = static_cast<size_t>(std::ranges::count_if(due_, is_new));
  const bool mixed = head > 0 && head < due_.size();
  if (mixed) std::ranges::stable_partition(due_, is_new);

  if (flat && all && !mixed && chunk.uniform) {
    auto& lists = chunk.flat;
    if (lists.params.empty()) {
      lists.params = {chunk.params.flat()};
      lists.grads = {chunk.grads.flat()};
      if (counts_steps()) lists.steps = {chunk.step};
      for (size_t s = 0; s < chunk.states.size(); ++s) {
        if (chunk.states[s].defined()) lists.states[s] = {chunk.states[s].flat()};
      }
    }
    lists.numbers = {chunk.number};
    update(group, lists, head > 0);
  } else {
    const std::span<const size_t> due(due_);
    if (head > 0) step_lists(chunk, due.first(head), true);
    if (head < due.size()) step_lists(chunk, due.subspan(head), false);
  }
  for (const auto i : due_) {
    auto& slot = chunk.slots[i];
    slot.has_state = slot.has_state || counts_steps() || !states.empty();
    // The kernels write behind the version counters: backward must notice that saved values are stale.
    slot.param.unsafeGetTensorImpl()->bump_version();
  }
}

void OptimizerImpl::step_lists(Chunk& chunk, std::span<const size_t> due, bool first) {
  const bool all = due.size() == chunk.slots.size() && chunk.uniform;
  auto& lists = all ? chunk.all : lists_;
  const bool fill = !all || lists.params.empty();
  if (fill) lists.clear();
  lists.grads.clear();
  lists.numbers.clear();

  // Kernels run over raw memory: parameter and gradient must lie alike. What does not gets a copy for the call.
  std::vector<std::pair<at::Tensor, at::Tensor>> copies;  // parameter, its stand-in
  bool borrowed = false;
  for (size_t n = 0; n < due.size(); ++n) {
    auto& slot = chunk.slots[due[n]];
    const auto& place = chunk.layout.slots[due[n]];
    const bool lies_alike = slot.param.strides() == at::IntArrayRef(place.strides);
    at::Tensor param = slot.param;
    if (!lies_alike) {
      param = at::empty_strided(place.sizes, place.strides, chunk.options).copy_(slot.param);
      copies.emplace_back(slot.param, param);
    }
    at::Tensor grad = slot.param.grad();
    if (grad.strides() != at::IntArrayRef(place.strides) || grad.scalar_type() != param.scalar_type()) {
      grad = at::empty_strided(place.sizes, place.strides, chunk.options).copy_(grad);
    }
    lists.grads.push_back(std::move(grad));
    lists.numbers.push_back(chunk.uniform ? chunk.number : slot.number);
    if (fill) {
      for (size_t s = 0; s < chunk.states.size(); ++s) {
        if (chunk.states[s].defined()) lists.states[s].push_back(chunk.states[s].views()[due[n]]);
      }
      if (counts_steps()) lists.steps.push_back(chunk.uniform ? chunk.step : slot.step);
      lists.params.push_back(std::move(param));
    } else if (!lies_alike) {
      lists.params[n] = std::move(param);
    }
    borrowed = borrowed || !lies_alike;
  }
  update(groups_[chunk.group], lists, first);
  for (auto& [param, stand_in] : copies) param.copy_(stand_in);
  lists.grads.clear();  // or backward could not take the next gradient over without a copy
  if (borrowed || !all) lists.clear();
}

void OptimizerImpl::update_sparse(const Group&, at::Tensor& param, const at::Tensor&) {
  throw Error({.what = name_ + " does not support sparse gradients",
               .value = shape_text(param),
               .where = {},
               .hint = "make the embedding with sparse(false), or use SGD"});
}

Map OptimizerImpl::write_group(const Group& group, int64_t first_index) const {
  Map out;
  for (const auto name : setting_names()) {
    Value& to = out[name];
    for_each_setting([&](const auto& setting) {
      if (setting.name == name) to = to_value(group.*setting.kept);
    });
    for (const auto& [flag, value] : flags_of_python()) {
      if (flag == name) to = value;
    }
  }
  if (group.initial_lr) out["initial_lr"] = *group.initial_lr;
  for (const auto& [key, value] : group.extra) out[key] = value;
  List indices;
  for (size_t i = 0; i < group.params_.size(); ++i) indices.emplace_back(first_index + static_cast<int64_t>(i));
  out["params"] = std::move(indices);
  return out;
}

Group OptimizerImpl::read_group(const Map& saved, const Group& current, const std::string& where) const {
  Group group = current;
  group.extra = {};
  group.initial_lr.reset();
  const auto names = setting_names();
  for (const auto& [key, value] : saved) {
    if (key == "params") continue;
    if (std::ranges::any_of(flags_of_python(), [&](const auto& flag) { return flag.first == key; })) continue;
    try {
      if (key == "initial_lr") {
        group.initial_lr = value.as_double();
      } else if (std::ranges::find(names, key) == names.end()) {
        group.extra[key] = value;
      } else {
        for_each_setting([&](const auto& setting) {
          if (setting.name == key) from_value(value, group.*setting.kept);
        });
      }
    } catch (const Error& error) {
      auto info = error.info();
      info.where = where + ", key \"" + key + "\"";
      throw Error(std::move(info));
    }
  }
  if (!saved.contains("lr")) {
    throw Error({.what = "the saved optimizer state has no lr", .value = {}, .where = where, .hint = {}});
  }
  validate(group);
  return group;
}

OptimizerState OptimizerImpl::state_dict() const {
  OptimizerState out;
  int64_t index = 0;
  for (const auto& group : groups_) {
    out.param_groups.push_back(write_group(group, index));
    index += static_cast<int64_t>(group.params_.size());
  }
  const auto names = all_state_names();
  for (const auto& chunk : chunks_) {
    for (size_t i = 0; i < chunk.slots.size(); ++i) {
      const auto& slot = chunk.slots[i];
      if (!slot.has_state) continue;
      auto& entry = out.state[slot.index];
      // A copy for each parameter: PyTorch counts every one of them up in place.
      if (counts_steps()) entry.emplace_back("step", (chunk.uniform ? chunk.step : slot.step).clone());
      if (!number_name().empty()) {
        const double number = chunk.uniform ? chunk.number : slot.number;
        entry.emplace_back(std::string(number_name()), at::scalar_tensor(number, at::kFloat));
      }
      for (size_t s = 0; s < chunk.states.size(); ++s) {
        if (chunk.states[s].defined()) entry.emplace_back(std::string(names[s]), chunk.states[s].views()[i]);
      }
    }
  }
  return out;
}

void OptimizerImpl::load_state_dict(const OptimizerState& saved) {
  at::NoGradGuard no_grad;
  auto fail = [&](const std::string& what, const std::string& value, const std::string& hint) {
    throw Error({.what = what, .value = value, .where = "state of " + name_, .hint = hint});
  };
  if (saved.param_groups.size() != groups_.size()) {
    fail("the saved optimizer state has another number of parameter groups than the optimizer",
         std::to_string(saved.param_groups.size()) + " against " + std::to_string(groups_.size()),
         "build the optimizer as it was when the state was saved");
  }

  // Everything is read and checked before anything is changed.
  follow_moved_parameters();
  std::vector<Group> groups;
  std::map<int64_t, int64_t> index_of;  // as saved -> ours
  int64_t next = 0;
  for (size_t g = 0; g < groups_.size(); ++g) {
    const auto where = "state of " + name_ + ", param_groups[" + std::to_string(g) + "]";
    groups.push_back(read_group(saved.param_groups[g], groups_[g], where));
    const auto& indices = saved.param_groups[g].at("params").as_list();
    if (indices.size() != groups_[g].params_.size()) {
      fail("parameter group " + std::to_string(g) + " has another number of parameters than the saved one",
           std::to_string(indices.size()) + " saved, " + std::to_string(groups_[g].params_.size()) + " here",
           "is it the same model?");
    }
    for (const auto& index : indices) {
      if (!index_of.emplace(index.as_int(), next++).second)
        fail("a parameter index occurs twice", index.to_string(), {});
    }
  }
  const auto names = all_state_names();
  std::map<int64_t, const OptimizerState::Entry*> entries;
  const auto params = parameters();
  for (const auto& [index, entry] : saved.state) {
    const auto found = index_of.find(index);
    if (found == index_of.end()) {
      fail("the saved state holds a parameter that no group has", "parameter " + std::to_string(index), {});
    }
    if (entry.empty()) continue;
    const auto& param = params[static_cast<size_t>(found->second)];
    bool has_step = false;
    for (const auto& [key, tensor] : entry) {
      const auto label = "parameter " + std::to_string(index) + ", \"" + key + "\"";
      if ((counts_steps() && key == "step") || (!key.empty() && key == number_name())) {
        if (!tensor.defined() || tensor.numel() != 1) fail("a saved step count is not one number", label, {});
        has_step = has_step || key == "step";
      } else if (std::ranges::find(names, key) == names.end()) {
        std::vector<std::string> known(names.begin(), names.end());
        if (counts_steps()) known.emplace_back("step");
        fail("the saved state is not one of " + name_, label, did_you_mean(key, known));
      } else if (!tensor.defined() || tensor.sizes() != param.sizes()) {
        fail("a saved state does not have the shape of its parameter",
             label + " is " + (tensor.defined() ? shape_text(tensor) : "missing") + ", the parameter " +
                 shape_text(param),
             "is it the same model?");
      }
    }
    if (counts_steps() && !has_step) fail("the saved state lacks \"step\"", "parameter " + std::to_string(index), {});
    size_t position = 0;
    for (auto rest = found->second; position < groups.size(); ++position) {
      const auto size = static_cast<int64_t>(groups[position].params_.size());
      if (rest < size) break;
      rest -= size;
    }
    for (const auto name : state_names(groups[position])) {
      if (std::ranges::none_of(entry, [&](const auto& item) { return item.first == name; })) {
        fail("the saved state lacks \"" + std::string(name) + "\"", "parameter " + std::to_string(index), {});
      }
    }
    entries.emplace(found->second, &entry);
  }

  // One by one: whoever holds a reference to a group keeps it.
  std::ranges::move(groups, groups_.begin());
  ++layout_version_;
  for (auto& chunk : chunks_) {
    for (auto& arena : chunk.states) {
      if (arena.defined()) arena.flat().zero_();
    }
    std::vector<float> steps;
    for (size_t i = 0; i < chunk.slots.size(); ++i) {
      auto& slot = chunk.slots[i];
      const auto entry = entries.find(slot.index);
      slot.has_state = entry != entries.end();
      float count = 0;
      slot.number = 1;
      if (slot.has_state) {
        for (const auto& [key, tensor] : *entry->second) {
          if (counts_steps() && key == "step") {
            count = tensor.item().toFloat();
            continue;
          }
          if (key == number_name()) {
            slot.number = tensor.item().toDouble();
            continue;
          }
          const size_t place = place_of(key);
          ensure_states(chunk, names.subspan(place, 1));
          chunk.states[place].views()[i].copy_(tensor);
        }
      }
      steps.push_back(count);
    }
    chunk.uniform = std::ranges::all_of(steps, [&](float count) { return count == steps.front(); });
    chunk.step.fill_(steps.front());
    chunk.number = chunk.slots.front().number;
    for (size_t i = 0; i < chunk.slots.size(); ++i) {
      chunk.slots[i].step = chunk.uniform ? at::Tensor() : at::full_like(chunk.step, steps[i]);
    }
    chunk.all.clear();
  }
}

std::vector<ParamGroup> one_group(std::vector<at::Tensor> params) {
  std::vector<ParamGroup> groups(1);
  groups[0].params = std::move(params);
  return groups;
}

}  // namespace levin::optim
