// oneDNN's convolutions are up to twice as fast where the channels of a pixel lie together. What lies between them
// (batch norms, element-wise operators) does not mind; where others meet such a value it is copied.
#include <levin/compile/lower.h>
#include <levin/compile/passes/passes.h>
#include <levin/compile/passes/pointwise.h>

#include <ATen/core/LegacyTypeDispatch.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <map>
#include <mutex>
#include <optional>
#include <utility>

namespace levin::compile {
namespace {

bool is_convolution(const Node& node) { return node.is("aten::convolution") || node.is("aten::convolution_backward"); }

std::vector<std::int64_t> channels_last_strides(const std::vector<std::int64_t>& sizes) {
  return {sizes[1] * sizes[2] * sizes[3], 1, sizes[3] * sizes[1], sizes[1]};
}

using Strides = std::vector<std::vector<std::int64_t>>;

// How ATen lays out the results of a convolution on tensors that lie as the node's; each shape is tried once, on two of
// its images: one is laid out by other rules, and more say nothing new.
const Strides& strides_of_results(const Graph& graph, const Node& node) {
  static std::mutex mutex;
  static std::map<std::string, Strides> known;
  std::string key = node.op;
  const auto add = [&](const std::vector<std::int64_t>& list) {
    for (const std::int64_t each : list) key += " " + std::to_string(each);
    key += ";";
  };
  for (const Argument& argument : node.arguments) {
    if (argument.kind == Argument::Kind::constant) {
      key += constant_text(argument.constant) + ";";
    } else if (argument.values[0] != kNone) {
      add(graph.at(argument.values[0]).sizes), add(graph.at(argument.values[0]).strides);
    }
  }
  const std::lock_guard lock(mutex);
  const auto [found, is_new] = known.try_emplace(key);
  if (!is_new) return found->second;
  const at::AutoDispatchBelowADInplaceOrView below_autograd;
  torch::jit::Stack stack;
  for (std::size_t a = 0; a < node.arguments.size(); ++a) {
    const Argument& argument = node.arguments[a];
    if (argument.kind == Argument::Kind::constant) {
      stack.push_back(argument.constant);
    } else if (argument.values[0] == kNone) {
      stack.emplace_back(at::Tensor());
    } else {
      Value value = graph.at(argument.values[0]);
      const bool images = a == 0 || (a == 1 && node.is("aten::convolution_backward"));
      if (images) value.sizes[0] = std::min<std::int64_t>(value.sizes[0], 2);
      std::int64_t extent = 1;
      for (std::size_t d = 0; d < value.sizes.size(); ++d) extent += (value.sizes[d] - 1) * value.strides[d];
      stack.emplace_back(at::zeros({extent}, at::TensorOptions(value.dtype)).as_strided(value.sizes, value.strides));
    }
  }
  node.handle->callBoxed(&stack);
  for (const c10::IValue& result : stack) {
    const at::Tensor& tensor = result.toTensor();
    found->second.push_back(tensor.defined() ? tensor.strides().vec() : std::vector<std::int64_t>());
  }
  return found->second;
}

class ChannelsLast {
 public:
  explicit ChannelsLast(Graph& graph) : graph_(graph), uses_(graph), known_buffers_(graph.buffers.size()) {}

  std::size_t run() {
    if (!worthwhile()) return 0;
    std::vector<Node> old = std::move(graph_.nodes);
    graph_.nodes.clear();
    for (Node& node : old) add(std::move(node));
    for (const Output& output : graph_.outputs) {
      if (output.value != kNone) need_row_major(output.value);
    }
    return moved_;
  }

 private:
  // Own kernels for few channels are row-major; a network that has more of the others does without them.
  bool worthwhile() {
    std::size_t own = 0, others = 0;
    for (const Node& node : graph_.nodes) {
      if (node.is("aten::convolution")) ++(lower_natively(graph_, node).empty() ? others : own);
    }
    all_ = others > own;
    return others > 0;
  }

  // An image of several channels and pixels that fills its memory and is written once: a copy may stand for it.
  bool is_image(ValueId id) const {
    if (id == kNone) return false;
    const Value& value = graph_.at(id);
    if (static_cast<std::size_t>(value.buffer) >= known_buffers_) return false;
    return value.dtype == at::kFloat && value.dim() == 4 && value.numel() > 0 && value.contiguous() && !value.channels_last() &&
           value.offset == 0 && value.bytes() == graph_.buffer_of(id).bytes &&
           uses_.writers(value.buffer).size() == (graph_.is_temporary(id) ? 1 : 0);
  }

  // The images among what a node takes and gives, beside weights.
  static std::vector<std::size_t> images_of(const Node& node) {
    if (node.is("aten::convolution")) return {0};
    if (node.is("aten::convolution_backward")) return {0, 1};
    if (node.is("aten::native_batch_norm") || node.is("levin::batch_norm_relu")) return {0};
    if (node.is("aten::native_batch_norm_backward")) return {0, 1};
    if (node.is("levin::batch_norm_add_relu")) return {0, 8};
    if (node.is("levin::batch_norm_relu_backward")) {
      return node.arguments[10].kind == Argument::Kind::value ? std::vector<std::size_t>{0, 1, 10} : std::vector<std::size_t>{0, 1};
    }
    return {};
  }

  void add(Node node) {
    if (auto moved = convert(node)) {
      ++moved_;
      graph_.nodes.push_back(std::move(*moved));
      return;
    }
    for (const ValueId value : node.inputs()) need_row_major(value);
    for (const std::size_t a : node.writes_arguments) {
      for (const ValueId value : node.arguments[a].values) {
        if (value != kNone) need_row_major(value);
      }
    }
    graph_.nodes.push_back(std::move(node));
  }

  // The node on images with channels last, or nothing where it stays as it is.
  std::optional<Node> convert(const Node& node) {
    const bool convolution = is_convolution(node);
    std::vector<std::size_t> images = images_of(node);
    const bool elementwise = images.empty() && node.handle && pointwise_of(graph_, node).has_value();
    if (convolution) {
      const std::size_t stride = node.is("aten::convolution") ? 3 : 4;
      if (node.constant(stride + 3).toBool() || (!all_ && !lower_natively(graph_, node).empty())) return std::nullopt;
    } else if (elementwise) {
      for (std::size_t a = 0; a < node.arguments.size(); ++a) {
        if (node.arguments[a].kind == Argument::Kind::value && is_image(node.in(a)) &&
            graph_.at(node.in(a)).sizes == graph_.at(node.out()).sizes) {
          images.push_back(a);
        }
      }
    }
    if (images.empty() || !is_image(node.out(0))) return is_weight_gradient(node) ? with_images(node, images) : std::nullopt;
    // Others follow what they read.
    const bool follows = std::ranges::any_of(images, [&](std::size_t a) { return copies_.contains(graph_.at(node.in(a)).buffer); });
    if (!convolution && !follows) return std::nullopt;
    return with_images(node, images);
  }

  // A convolution's backward pass that gives no gradient of the image: of the first layer.
  static bool is_weight_gradient(const Node& node) { return node.is("aten::convolution_backward") && node.out(0) == kNone; }

  std::optional<Node> with_images(const Node& node, const std::vector<std::size_t>& images) {
    Node moved = node;
    const std::size_t values = graph_.values.size(), buffers = graph_.buffers.size();
    const auto undo = [&] {
      graph_.values.resize(values);
      graph_.buffers.resize(buffers);
      return std::nullopt;
    };
    std::vector<std::pair<std::size_t, ValueId>> wanted;
    for (const std::size_t a : images) {
      if (!is_image(node.in(a)) || !may_use_copy(node.in(a))) return undo();
      moved.arguments[a] = Argument::of(find_or_declare(node.in(a)));
      if (!is_here(node.in(a))) wanted.emplace_back(a, moved.in(a));
    }
    const ValueId result = node.out(0);
    ValueId own = kNone;
    if (result != kNone) {
      own = declare(result);
      moved.results[0] = {own};
    }
    std::optional<Strides> laid_out;
    if (is_convolution(node)) {
      laid_out = strides_of_results(graph_, moved);
      if (own != kNone && (*laid_out)[0] != graph_.at(own).strides) return undo();
    } else if (images_of(node).empty() ? !pointwise_of(graph_, moved).has_value() : lower_natively(graph_, moved).empty()) {
      return undo();
    }
    // A weight's gradient comes as ATen likes it; copies bring it to its place.
    for (std::size_t r = 1; laid_out && r < node.results.size(); ++r) {
      if (node.out(r) != kNone && uses_.producer(graph_, node.out(r)) != kNone) {
        graph_.values[static_cast<std::size_t>(node.out(r))].strides = (*laid_out)[r];
      }
    }
    for (const auto& [a, value] : wanted) {
      copy(node.in(a), value);
      copies_[graph_.at(node.in(a)).buffer] = {.image = node.in(a), .moved = value, .row_major = true};
    }
    if (own != kNone) copies_[graph_.at(result).buffer] = {.image = result, .moved = own, .row_major = false};
    return moved;
  }

  struct Copy {
    ValueId image, moved;  // the same numbers, row-major and with channels last
    bool row_major;        // the former is there, too
  };

  bool is_here(ValueId image) const { return copies_.contains(graph_.at(image).buffer); }
  // Another view of the same memory may have another shape.
  bool may_use_copy(ValueId image) const {
    const auto found = copies_.find(graph_.at(image).buffer);
    return found == copies_.end() || graph_.at(found->second.image).sizes == graph_.at(image).sizes;
  }
  ValueId find_or_declare(ValueId image) {
    const auto found = copies_.find(graph_.at(image).buffer);
    return found != copies_.end() ? found->second.moved : declare(image);
  }
  ValueId declare(ValueId image) {
    Value value = graph_.at(image);
    value.strides = channels_last_strides(value.sizes);
    value.buffer = graph_.add_temporary(value.bytes());
    return graph_.add_value(std::move(value));
  }
  void copy(ValueId from, ValueId to) {
    Node node;
    node.op = "levin::copy";
    node.arguments = {Argument::of(from)};
    node.results = {{to}};
    graph_.nodes.push_back(std::move(node));
  }
  void need_row_major(ValueId value) {
    const auto found = copies_.find(graph_.at(value).buffer);
    if (found == copies_.end() || found->second.row_major) return;
    copy(found->second.moved, found->second.image);
    found->second.row_major = true;
  }

  Graph& graph_;
  const Uses uses_;
  const std::size_t known_buffers_;  // of the graph as it was
  std::map<BufferId, Copy> copies_;
  bool all_ = false;
  std::size_t moved_ = 0;
};

}  // namespace

void prefer_channels_last(Graph& graph) {
  const std::size_t moved = ChannelsLast(graph).run();
  if (moved > 0) graph.note("channels last in " + std::to_string(moved) + " operations");
}

}  // namespace levin::compile
