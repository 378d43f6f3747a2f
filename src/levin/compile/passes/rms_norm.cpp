// On the CPU RMS norm is no operator but a dozen: y = x * rsqrt(mean(x^2) + eps) * weight, and what autograd makes of it.
#include <levin/compile/passes/rms_norm.h>

#include <levin/compile/passes/passes.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <utility>

namespace levin::compile {
namespace {

using Values = std::pair<ValueId, ValueId>;

bool number_is(const c10::IValue& value, double expected) {
  return value.isScalar() && value.toScalar().toDouble() == expected;
}

bool plain(const Graph& graph, ValueId value) {
  return value != kNone && graph.at(value).dtype == at::kFloat && graph.at(value).contiguous();
}

// The same elements in the same order, whatever dimensions of one element there are.
bool same_elements(const Graph& graph, ValueId a, ValueId b) {
  const Value &x = graph.at(a), &y = graph.at(b);
  return a == b || (x.buffer == y.buffer && x.offset == y.offset && x.numel() == y.numel() && x.dtype == y.dtype &&
                    x.contiguous() && y.contiguous());
}

/** Reads the graph from results to what they are computed of. */
class Reader {
 public:
  explicit Reader(const Graph& graph) : graph_(graph), uses_(graph) {}

  const Uses& uses() const { return uses_; }
  /** The node `op` whose result `value` is, or null. */
  const Node* made_by(ValueId value, std::string_view op) const {
    const int producer = uses_.producer(graph_, value);
    if (producer == kNone) return nullptr;
    const Node& node = graph_.nodes[static_cast<std::size_t>(producer)];
    return node.is(op) && same_elements(graph_, node.out(), value) ? &node : nullptr;
  }
  /** The factors of a product of tensors. */
  std::optional<Values> factors(ValueId value) const {
    const Node* product = made_by(value, "aten::mul.Tensor");
    if (!product || !tensors(*product)) return std::nullopt;
    return Values{product->in(0), product->in(1)};
  }
  /** The factor beside `one`. */
  ValueId factor_beside(ValueId value, ValueId one) const {
    const auto both = factors(value);
    if (!both) return kNone;
    if (same_elements(graph_, both->first, one)) return both->second;
    return same_elements(graph_, both->second, one) ? both->first : kNone;
  }
  /** x, of x to the power of `exponent`, or of a scalar times x. */
  ValueId power(ValueId value, double exponent) const {
    const Node* node = made_by(value, "aten::pow.Tensor_Scalar");
    return node && number_is(node->constant(1), exponent) ? node->in(0) : kNone;
  }
  ValueId scaled(ValueId value, double by) const {
    if (const Node* node = made_by(value, "aten::mul.Scalar")) return number_is(node->constant(1), by) ? node->in(0) : kNone;
    const Node* node = made_by(value, "aten::mul.Tensor");
    if (!node) return kNone;
    for (const std::size_t side : {0, 1}) {
      const Argument &one = node->arguments[side], &other = node->arguments[1 - side];
      if (other.kind != Argument::Kind::value || one.kind != Argument::Kind::value) continue;
      const auto& uniform = graph_.buffer_of(one.values[0]).uniform;
      if (uniform && *uniform == by) return other.values[0];
    }
    return kNone;
  }

 private:
  static bool tensors(const Node& node) {
    return std::ranges::all_of(node.arguments, [](const Argument& a) { return a.kind == Argument::Kind::value; });
  }

  const Graph& graph_;
  const Uses uses_;
};

/** The norm whose scale a node computes: rsqrt(mean(x^2) + eps). */
struct Scale {
  ValueId x, r;
  kernels::LayerNorm settings;
};

// Whether `dims` are the last ones; how many elements they have.
std::optional<std::int64_t> last_elements(const Value& x, const c10::IValue& dims) {
  if (!dims.isIntList()) return std::nullopt;
  auto list = dims.toIntVector();
  for (std::int64_t& dim : list) dim += dim < 0 ? x.dim() : 0;
  std::ranges::sort(list);
  std::int64_t elements = 1;
  for (std::size_t i = 0; i < list.size(); ++i) {
    if (list[i] != x.dim() - static_cast<std::int64_t>(list.size() - i)) return std::nullopt;
    elements *= x.sizes[static_cast<std::size_t>(list[i])];
  }
  return list.empty() ? std::nullopt : std::optional(elements);
}

std::optional<Scale> scale_of(const Graph& graph, const Reader& read, const Node& root) {
  const Node* sum = read.made_by(root.in(0), "aten::add.Scalar");
  if (!sum || !number_is(sum->constant(2), 1) || !sum->constant(1).isScalar()) return std::nullopt;
  const Node* mean = read.made_by(sum->in(0), "aten::mean.dim");
  if (!mean || !mean->constant(2).toBool() || !mean->constant(3).isNone()) return std::nullopt;
  const ValueId x = read.power(mean->in(0), 2);
  if (x == kNone || !plain(graph, x) || !plain(graph, root.out()) || graph.at(x).numel() == 0) return std::nullopt;
  const auto columns = last_elements(graph.at(x), mean->constant(1));
  if (!columns) return std::nullopt;
  return Scale{.x = x, .r = root.out(), .settings = {.rows = graph.at(x).numel() / *columns, .columns = *columns,
                                                     .eps = sum->constant(1).toScalar().toDouble(), .rms = true}};
}

// Of a row's sum that is spread over the row again: [rows, 1] seen as [rows, columns].
bool is_spread(const Graph& graph, ValueId wide, ValueId narrow) {
  return graph.at(wide).buffer == graph.at(narrow).buffer && graph.at(wide).offset == graph.at(narrow).offset;
}

// g where `term` = x * 2 * (sum(g * x) * -0.5 * r^3) / columns: what a gradient g does to x by way of the scale.
ValueId gradient_of_scale(const Graph& graph, const Reader& read, const Scale& s, ValueId term) {
  const auto is_x = [&](ValueId value) {
    if (value == kNone) return false;
    const ValueId base = read.power(value, 1);
    return same_elements(graph, base == kNone ? value : base, s.x);
  };
  const auto outer = read.factors(term);
  if (!outer) return kNone;
  for (const auto& [share, slope] : {*outer, Values{outer->second, outer->first}}) {
    const Node* mean = read.made_by(share, "aten::div.Scalar");
    if (!mean || !number_is(mean->constant(1), static_cast<double>(s.settings.columns)) || !is_x(read.scaled(slope, 2))) continue;
    const int producer = read.uses().producer(graph, mean->in(0));
    if (producer == kNone) continue;
    const ValueId rows = graph.nodes[static_cast<std::size_t>(producer)].out();
    const auto inner = is_spread(graph, mean->in(0), rows) ? read.factors(rows) : std::nullopt;
    if (!inner) continue;
    for (const auto& [half, cube] : {*inner, Values{inner->second, inner->first}}) {
      const ValueId cubed = read.power(cube, 3), summed = read.scaled(half, -0.5);
      if (cubed == kNone || summed == kNone || !same_elements(graph, cubed, s.r)) continue;
      const Node* sum = read.made_by(summed, "aten::sum.dim_IntList");
      if (!sum || !sum->constant(3).isNone()) continue;
      if (last_elements(graph.at(sum->in(0)), sum->constant(1)) != s.settings.columns) continue;
      return read.factor_beside(sum->in(0), s.x);
    }
  }
  return kNone;
}

/** Two terms of a sum of tensors. */
std::optional<Values> terms(const Node& sum) {
  const bool tensors = sum.is("aten::add.Tensor") && number_is(sum.constant(2), 1) &&
                       sum.arguments[0].kind == Argument::Kind::value && sum.arguments[1].kind == Argument::Kind::value;
  return tensors ? std::optional(Values{sum.in(0), sum.in(1)}) : std::nullopt;
}

/** The gradient by x: g * r and what it does by way of the scale, added up, maybe with the gradient of another branch. */
struct Gradient {
  ValueId g;
  int place;      ///< the sum that has g * r in it
  ValueId other;  ///< the other branch's gradient, that is added first; or kNone
};

std::optional<Gradient> gradient_at(const Graph& graph, const Reader& read, const Scale& s, int total) {
  const auto outer = terms(graph.nodes[static_cast<std::size_t>(total)]);
  if (!outer) return std::nullopt;
  for (const auto& [direct, by_scale] : {*outer, Values{outer->second, outer->first}}) {
    const ValueId g = gradient_of_scale(graph, read, s, by_scale);
    if (g == kNone) continue;
    const auto is_direct = [&](ValueId value) {
      const ValueId factor = read.factor_beside(value, s.r);
      return factor != kNone && same_elements(graph, factor, g);
    };
    if (is_direct(direct)) return Gradient{.g = g, .place = total, .other = kNone};
    const int before = read.uses().producer(graph, direct);
    if (before == kNone || !read.uses().only_reader(graph, direct, total)) continue;
    const auto both = terms(graph.nodes[static_cast<std::size_t>(before)]);
    if (!both) continue;
    for (const auto& [one, other] : {*both, Values{both->second, both->first}}) {
      if (is_direct(one) && graph.at(other).sizes == graph.at(s.x).sizes) return Gradient{.g = g, .place = before, .other = other};
    }
  }
  return std::nullopt;
}

// dy of `sum` = the sum of dy * y over all rows; kNone for other nodes.
ValueId gradient_of_weight(const Graph& graph, const Reader& read, const Scale& s, ValueId y, const Node& sum) {
  if (!sum.is("aten::sum.dim_IntList") || !sum.constant(3).isNone() || !sum.constant(1).isIntList()) return kNone;
  const ValueId dy = read.factor_beside(sum.in(0), y);
  if (dy == kNone || !plain(graph, sum.out()) || graph.at(sum.out()).numel() != s.settings.columns) return kNone;
  const Value& summed = graph.at(sum.in(0));
  std::vector<std::int64_t> kept;
  for (std::int64_t dim = 0; dim < summed.dim(); ++dim) {
    const auto is_dim = [&](std::int64_t given) { return given == dim || given + summed.dim() == dim; };
    const auto given = sum.constant(1).toIntVector();
    if (std::ranges::none_of(given, is_dim)) kept.push_back(dim);
  }
  return last_elements(summed, c10::IValue(kept)) == s.settings.columns ? dy : kNone;
}

/** Makes the nodes of one norm; whether there was one. */
bool recognise(Graph& graph, std::size_t root) {
  const Reader read(graph);
  const auto s = scale_of(graph, read, graph.nodes[root]);
  if (!s || read.uses().is_output(graph.at(s->r).buffer)) return false;
  const auto whole = [&](ValueId value) { return plain(graph, value) && graph.at(value).numel() == graph.at(s->x).numel(); };
  const auto product_of = [&](ValueId one, const auto& wanted) {  // of `one` and a factor that is wanted
    for (const int reader : read.uses().readers(graph.at(one).buffer)) {
      const Node& node = graph.nodes[static_cast<std::size_t>(reader)];
      if (!node.is("aten::mul.Tensor") || !whole(node.out()) || read.uses().producer(graph, node.out()) != reader) continue;
      const ValueId factor = read.factor_beside(node.out(), one);
      if (factor != kNone && wanted(factor)) return Values{node.out(), factor};
    }
    return Values{kNone, kNone};
  };
  const ValueId y = product_of(s->r, [&](ValueId factor) { return same_elements(graph, factor, s->x); }).first;
  if (y == kNone) return false;
  auto [result, weight] = product_of(y, [&](ValueId factor) {
    return plain(graph, factor) && graph.at(factor).numel() == s->settings.columns && !graph.is_temporary(factor) &&
           graph.at(factor).dim() > 0 && graph.at(factor).sizes.back() == graph.at(s->x).sizes.back();
  });
  if (weight == kNone) result = y;
  // The norm runs where its scale was computed; x and the weight are the same until then.
  const auto place = static_cast<std::size_t>(read.uses().producer(graph, result));
  for (std::size_t n = 0; n <= place; ++n) {
    for (const ValueId written : graph.nodes[n].outputs()) {
      const BufferId buffer = graph.at(written).buffer;
      if (weight != kNone && buffer == graph.at(weight).buffer) return false;
      if (n > root && buffer == graph.at(s->x).buffer) return false;
    }
  }

  auto payload = std::make_shared<RmsNormPayload>();
  payload->settings = s->settings;
  const auto node_of = [&](const char* op, std::vector<Argument> arguments, std::vector<std::vector<ValueId>> results) {
    Node node;
    node.op = op;
    node.arguments = std::move(arguments);
    node.results = std::move(results);
    node.payload = payload;
    return node;
  };
  const Argument by = weight == kNone ? Argument::of(c10::IValue()) : Argument::of(weight);
  const Argument x = Argument::of(s->x), r = Argument::of(s->r);
  // Its gradients, where they are written as autograd writes them.
  std::vector<std::pair<std::size_t, Node>> made;
  for (std::size_t n = place + 1; n < graph.nodes.size(); ++n) {
    if (graph.nodes[n].dead) continue;
    if (const auto gradient = gradient_at(graph, read, *s, static_cast<int>(n))) {
      const ValueId dy = weight == kNone ? gradient->g : read.factor_beside(gradient->g, weight);
      const auto at = static_cast<std::size_t>(gradient->place);
      const ValueId dx = graph.nodes[at].out();
      if (dy == kNone || !whole(dy) || !whole(dx)) continue;
      made.emplace_back(at, node_of("levin::rms_norm_backward", {Argument::of(dy), x, by, r}, {{dx}}));
      if (gradient->other == kNone) continue;
      Node sum = graph.nodes[n];
      sum.arguments[0] = Argument::of(gradient->other);
      sum.arguments[1] = Argument::of(dx);
      made.emplace_back(n, std::move(sum));
    } else if (weight != kNone) {
      const ValueId dy = gradient_of_weight(graph, read, *s, y, graph.nodes[n]);
      if (dy == kNone || !whole(dy)) continue;
      made.emplace_back(n, node_of("levin::rms_norm_weight", {Argument::of(dy), x, r}, graph.nodes[n].results));
    }
  }
  for (auto& [n, node] : made) graph.nodes[n] = std::move(node);
  graph.nodes[place].dead = true;
  graph.nodes[root] = node_of("levin::rms_norm", {x, by}, {{result}, {s->r}});
  return true;
}

}  // namespace

std::string RmsNormPayload::to_string() const {
  return "{" + std::to_string(settings.rows) + " x " + std::to_string(settings.columns) + "}";
}

void recognise_rms_norm(Graph& graph) {
  std::size_t made = 0;
  for (std::size_t n = 0; n < graph.nodes.size(); ++n) {
    if (graph.nodes[n].is("aten::rsqrt") && recognise(graph, n)) ++made;
  }
  if (made == 0) return;
  graph.sweep();
  drop_dead(graph);
  graph.note("own RMS norm " + std::to_string(made) + " times");
}

}  // namespace levin::compile
