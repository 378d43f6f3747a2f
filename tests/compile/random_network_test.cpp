// Random networks from the operators that models are made of, compiled against eager: a net for rules that are right
// alone and wrong together. A seed that fails prints its program and, again with LEVIN_COMPILE_DEBUG=all, its graphs.
#include "compile/agreement.h"

#include <levin/compile/code_cache.h>

#include <cstdlib>
#include <random>
#include <sstream>

namespace compile_test {
namespace {

using Sizes = std::vector<std::int64_t>;
using Values = std::vector<Tensor>;

/** What a line reads: values by number, and weights of layers. */
struct Scope : Values {
  Values weights;
};

/** One line of a random program: it reads values by number and adds one or more. */
struct Line {
  std::string text;
  std::function<Values(const Scope&)> run;
  std::size_t results = 1;
};

struct Input {
  enum class Layout { dense, transposed, sliced, expanded };
  Sizes sizes;
  Layout layout = Layout::dense;
};

struct Parameter {
  Sizes sizes;
  bool frozen = false;
  bool transposed = false;
};

/** Values are numbered: the batch, the parameters, then the results of the lines. Layers have weights beside them. */
struct Network {
  std::vector<Input> inputs;
  std::vector<Parameter> parameters, weights;
  std::vector<Line> lines;

  Values batch() const {
    Values all;
    for (const Input& input : inputs) all.push_back(make(input));
    return all;
  }
  std::string text() const;
  Tensor loss(const Values& given, const Values& weights) const;
  std::shared_ptr<nn::Module> module() const;
  static Tensor make(const Parameter& parameter);

 private:
  static Tensor make(const Input& input);
};

std::string list(const Sizes& sizes) {
  std::ostringstream out;
  out << at::IntArrayRef(sizes);
  return out.str();
}

Tensor Network::make(const Input& input) {
  Sizes sizes = input.sizes;
  switch (input.layout) {
    case Input::Layout::dense: break;
    case Input::Layout::transposed:
      std::ranges::reverse(sizes);
      return torch::randn(sizes).permute([&] {
        Sizes order(sizes.size());
        for (std::size_t i = 0; i < order.size(); ++i) order[i] = static_cast<std::int64_t>(order.size() - 1 - i);
        return order;
      }());
    case Input::Layout::sliced:
      sizes.back() = 2 * sizes.back() + 1;
      return torch::randn(sizes).slice(-1, 1, sizes.back(), 2);
    case Input::Layout::expanded: sizes.front() = 1; return torch::randn(sizes).expand(input.sizes);
  }
  return torch::randn(sizes);
}

std::string Network::text() const {
  static constexpr const char* kLayouts[] = {"", " transposed", " sliced", " expanded"};
  std::ostringstream out;
  std::size_t number = 0;
  for (const Input& input : inputs) {
    out << 'v' << number++ << " = batch " << list(input.sizes) << kLayouts[static_cast<int>(input.layout)] << '\n';
  }
  for (const Parameter& parameter : parameters) {
    out << 'v' << number++ << " = parameter " << list(parameter.sizes) << (parameter.frozen ? " frozen" : "")
        << (parameter.transposed ? " transposed" : "") << '\n';
  }
  for (std::size_t i = 0; i < weights.size(); ++i) {
    out << 'w' << i << " = weight " << list(weights[i].sizes) << (weights[i].frozen ? " frozen" : "") << '\n';
  }
  for (const Line& line : lines) {
    out << 'v' << number;
    if (line.results > 1) out << "..v" << number + line.results - 1;
    out << " = " << line.text << '\n';
    number += line.results;
  }
  return out.str();
}

/** Some of the values and the last one weigh in; what they do not reach is dead. */
Tensor Network::loss(const Values& given, const Values& all) const {
  Scope values;
  values.assign(given.begin(), given.end());
  const auto first_weight = all.begin() + static_cast<std::ptrdiff_t>(parameters.size());
  values.insert(values.end(), all.begin(), first_weight);
  values.weights.assign(first_weight, all.end());
  const std::size_t own = values.size();
  for (const Line& line : lines) {
    for (Tensor& result : line.run(values)) values.push_back(std::move(result));
  }
  Tensor total = values[0].mean() * 0 + values[given.size()].square().mean();  // the first parameter is always trained
  for (std::size_t i = own; i < values.size(); ++i) {
    if ((values.size() - i) % 3 == 1)
      total = total + (values[i].tanh() * (0.5 + 0.1 * static_cast<double>(i % 7))).mean();
  }
  return total + values.back().square().mean();
}

std::shared_ptr<nn::Module> Network::module() const {
  auto module = std::make_shared<nn::Module>("Network");
  const auto add = [&](const std::string& name, const Parameter& parameter) {
    module->register_parameter(name, make(parameter), !parameter.frozen);
  };
  for (std::size_t i = 0; i < parameters.size(); ++i) add("p" + std::to_string(i), parameters[i]);
  for (std::size_t i = 0; i < weights.size(); ++i) add("w" + std::to_string(i), weights[i]);
  return module;
}

Tensor Network::make(const Parameter& parameter) {
  Sizes sizes = parameter.sizes;
  if (!parameter.transposed) return torch::randn(sizes) * 0.5;
  std::swap(sizes.front(), sizes.back());
  return (torch::randn(sizes) * 0.5).transpose(0, -1);
}

/** Draws a network, running it as it grows to know the shapes. */
class Generator {
 public:
  explicit Generator(unsigned seed) : random_(seed) {
    const torch::NoGradGuard no_grad;
    torch::manual_seed(seed);
    base_ = {pick(1, 5), pick(1, 4), pick(1, 8)};
    const int inputs = static_cast<int>(pick(1, 3));
    for (int i = 0; i < inputs; ++i) {
      Input input{.sizes = shape(), .layout = static_cast<Input::Layout>(pick(0, 5) % 4)};
      if (input.sizes.size() < 2 && input.layout == Input::Layout::transposed) input.layout = Input::Layout::dense;
      network_.inputs.push_back(input);
    }
    const int parameters = static_cast<int>(pick(2, 5));
    for (int i = 0; i < parameters; ++i) {
      Parameter parameter{.sizes = shape(), .frozen = i > 0 && pick(0, 4) == 0};
      parameter.transposed = parameter.sizes.size() > 1 && pick(0, 3) == 0;
      network_.parameters.push_back(parameter);
    }
    for (Tensor& input : network_.batch()) values_.push_back(std::move(input));
    for (const Tensor& parameter : network_.module()->parameters()) values_.push_back(parameter.detach());
    binary(network_.inputs.size());
    const int lines = static_cast<int>(pick(4, 24));
    for (int i = 0; i < lines; ++i) add_line();
  }

  Network take() { return std::move(network_); }

 private:
  std::int64_t pick(std::int64_t from, std::int64_t to) {
    return std::uniform_int_distribution<std::int64_t>(from, to)(random_);
  }
  template <class T>
  const T& one_of(const std::vector<T>& all) {
    return all[static_cast<std::size_t>(pick(0, static_cast<std::int64_t>(all.size()) - 1))];
  }

  // Shapes that fit each other often: the last dimensions of one base, some of them 1.
  Sizes shape() {
    const std::int64_t rank = pick(1, 3);
    Sizes sizes(base_.end() - rank, base_.end());
    for (std::int64_t& size : sizes) {
      if (pick(0, 3) == 0) size = 1;
    }
    return sizes;
  }
  std::size_t any() {
    // Later values more often, so that networks grow deep.
    const auto count = static_cast<std::int64_t>(values_.size());
    return static_cast<std::size_t>(pick(0, 1) == 0 ? pick(0, count - 1)
                                                    : pick(std::max<std::int64_t>(0, count - 4), count - 1));
  }
  const Tensor& at(std::size_t value) const { return values_[value]; }
  static std::string v(std::size_t value) { return "v" + std::to_string(value); }

  bool add(std::string text, std::function<Values(const Scope&)> run) {
    const torch::NoGradGuard no_grad;
    Values results = run(values_);
    for (const Tensor& result : results) {
      if (!result.isfinite().all().item<bool>() || result.numel() > 4096 || result.numel() == 0) return false;
    }
    const double largest = [&] {
      double most = 0;
      for (const Tensor& result : results) most = std::max(most, result.abs().max().item<double>());
      return most;
    }();
    network_.lines.push_back({.text = std::move(text), .run = std::move(run), .results = results.size()});
    for (Tensor& result : results) values_.push_back(std::move(result));
    if (largest > 8) tame();
    return true;
  }
  bool add1(std::string text, std::function<Tensor(const Scope&)> run) {
    return add(std::move(text), [run = std::move(run)](const Scope& values) { return Values{run(values)}; });
  }
  /** The number of a layer's weight: a new one, or now and then one that another layer has, too. */
  std::size_t weight(Sizes sizes) {
    const auto alike = std::ranges::find(network_.weights, sizes, &Parameter::sizes);
    if (alike != network_.weights.end() && pick(0, 2) == 0) return static_cast<std::size_t>(alike - network_.weights.begin());
    network_.weights.push_back({.sizes = std::move(sizes), .frozen = pick(0, 7) == 0});
    values_.weights.push_back(Network::make(network_.weights.back()));
    return network_.weights.size() - 1;
  }
  static std::string w(std::size_t weight) { return ", w" + std::to_string(weight); }
  void tame() {
    const std::size_t a = values_.size() - 1;
    add1("tanh(" + v(a) + " / 8)", [a](const Values& x) { return (x[a] / 8).tanh(); });
  }

  void add_line() {
    switch (pick(0, 20)) {
      case 0:
      case 1:
      case 2: return unary(any());
      case 3:
      case 4:
      case 5: return binary(any());
      case 6: return reduction(any());
      case 7:
      case 8: return view(any());
      case 9: return product(any());
      case 10: return normalized(any());
      case 11: return joined(any());
      case 12: return in_place(any());
      case 13: return indexed(any());
      case 14: return chosen(any());
      case 15: return dense_layer(any());
      case 16: return image_layer(any());
      case 17: return image_layer(any());
      case 18: return sequence_layer(any());
      case 19: return norm_layer(any());
      default: return random_numbers(any());
    }
  }

  void unary(std::size_t a) {
    struct Unary {
      const char* name;
      Tensor (*run)(const Tensor&);
    };
    static const std::vector<Unary> all = {
        {"relu", [](const Tensor& x) { return x.relu(); }},
        {"tanh", [](const Tensor& x) { return x.tanh(); }},
        {"sigmoid", [](const Tensor& x) { return x.sigmoid(); }},
        {"gelu", [](const Tensor& x) { return torch::gelu(x); }},
        {"gelu_tanh", [](const Tensor& x) { return torch::gelu(x, "tanh"); }},
        {"silu", [](const Tensor& x) { return torch::silu(x); }},
        {"mish", [](const Tensor& x) { return torch::mish(x); }},
        {"elu", [](const Tensor& x) { return torch::elu(x); }},
        {"selu", [](const Tensor& x) { return torch::selu(x); }},
        {"leaky_relu", [](const Tensor& x) { return torch::leaky_relu(x, 0.1); }},
        {"softplus", [](const Tensor& x) { return torch::softplus(x); }},
        {"log_sigmoid", [](const Tensor& x) { return torch::log_sigmoid(x); }},
        {"hardtanh", [](const Tensor& x) { return torch::hardtanh(x, -0.7, 0.9); }},
        {"hardswish", [](const Tensor& x) { return torch::hardswish(x); }},
        {"hardsigmoid", [](const Tensor& x) { return torch::hardsigmoid(x); }},
        {"sin", [](const Tensor& x) { return x.sin(); }},
        {"cos", [](const Tensor& x) { return x.cos(); }},
        {"exp of a clamp", [](const Tensor& x) { return x.clamp(-2, 1.5).exp(); }},
        {"log1p of abs", [](const Tensor& x) { return x.abs().log1p(); }},
        {"sqrt of a square", [](const Tensor& x) { return (x.square() + 0.3).sqrt(); }},
        {"rsqrt", [](const Tensor& x) { return (x * x + 0.5).rsqrt(); }},
        {"reciprocal", [](const Tensor& x) { return (x * x + 0.5).reciprocal(); }},
        {"erf", [](const Tensor& x) { return x.erf(); }},
        {"neg", [](const Tensor& x) { return x.neg(); }},
        {"square", [](const Tensor& x) { return x.square(); }},
        {"pow 3", [](const Tensor& x) { return x.pow(3); }},
        {"pow 1.5", [](const Tensor& x) { return (x.abs() + 0.2).pow(1.5); }},
        {"2 - x", [](const Tensor& x) { return 2 - x; }},
        {"3 x + 1", [](const Tensor& x) { return x * 3 + 1; }},
        {"x / 3", [](const Tensor& x) { return x / 3; }},
        {"1 / (1 + x x)", [](const Tensor& x) { return 1 / (1 + x * x); }},
        {"clone", [](const Tensor& x) { return x.clone(); }},
        {"detach", [](const Tensor& x) { return x.detach(); }},
        {"contiguous", [](const Tensor& x) { return x.contiguous(); }},
        {"cumsum", [](const Tensor& x) { return x.cumsum(-1); }},
        {"double and back", [](const Tensor& x) { return x.to(torch::kDouble).mul(1.5).to(x.scalar_type()); }},
        {"x where positive", [](const Tensor& x) { return torch::where(x > 0, x, x * 0.3); }},
        {"masked_fill", [](const Tensor& x) { return x.masked_fill(x > 1, 1); }},
        {"x * (x > 0.1)", [](const Tensor& x) { return x * (x > 0.1); }},
        {"sign", [](const Tensor& x) { return x.sign() * x; }},
    };
    const Unary& op = one_of(all);
    add1(std::string(op.name) + "(" + v(a) + ")", [a, run = op.run](const Values& x) { return run(x[a]); });
  }

  static bool broadcast(const Tensor& a, const Tensor& b) {
    for (std::int64_t i = 1; i <= std::min(a.dim(), b.dim()); ++i) {
      if (a.size(-i) != b.size(-i) && a.size(-i) != 1 && b.size(-i) != 1) return false;
    }
    return true;
  }
  std::size_t partner(std::size_t a) {
    for (int i = 0; i < 8; ++i) {
      const std::size_t b = any();
      if (broadcast(at(a), at(b))) return b;
    }
    return a;
  }

  void binary(std::size_t a) {
    struct Binary {
      const char* name;
      Tensor (*run)(const Tensor&, const Tensor&);
    };
    static const std::vector<Binary> all = {
        {"add", [](const Tensor& x, const Tensor& y) { return x + y; }},
        {"sub", [](const Tensor& x, const Tensor& y) { return x - y; }},
        {"mul", [](const Tensor& x, const Tensor& y) { return x * y; }},
        {"div", [](const Tensor& x, const Tensor& y) { return x / (y.square() + 0.7); }},
        {"add alpha", [](const Tensor& x, const Tensor& y) { return torch::add(x, y, 0.3); }},
        {"sub alpha", [](const Tensor& x, const Tensor& y) { return torch::sub(x, y, 1.7); }},
        {"maximum", [](const Tensor& x, const Tensor& y) { return torch::maximum(x, y + 0.01); }},
        {"minimum", [](const Tensor& x, const Tensor& y) { return torch::minimum(x, y + 0.01); }},
        {"where", [](const Tensor& x, const Tensor& y) { return torch::where(y > 0.2, x, y); }},
        {"lerp", [](const Tensor& x, const Tensor& y) { return x + 0.3 * (y - x); }},
        {"addcmul", [](const Tensor& x, const Tensor& y) { return torch::addcmul(x, x, y, 0.4); }},
        {"addcdiv", [](const Tensor& x, const Tensor& y) { return torch::addcdiv(x, x, y.square() + 1, 0.4); }},
        {"mul by detached", [](const Tensor& x, const Tensor& y) { return x * y.detach(); }},
        {"add relu", [](const Tensor& x, const Tensor& y) { return (x + y).relu(); }},
        {"mul sigmoid", [](const Tensor& x, const Tensor& y) { return x * y.sigmoid(); }},
        {"mse", [](const Tensor& x, const Tensor& y) { return (x - y).square().mean(); }},
        {"atan2", [](const Tensor& x, const Tensor& y) { return torch::atan2(x, y.abs() + 0.5); }},
    };
    const std::size_t b = partner(a);
    const Binary& op = one_of(all);
    const bool swapped = pick(0, 1) == 0;
    const std::size_t left = swapped ? b : a, right = swapped ? a : b;
    add1(std::string(op.name) + "(" + v(left) + ", " + v(right) + ")",
         [left, right, run = op.run](const Values& x) { return run(x[left], x[right]); });
  }

  Sizes some_dims(const Tensor& x) {
    Sizes dims;
    for (std::int64_t d = 0; d < x.dim(); ++d) {
      if (pick(0, 1) == 0) dims.push_back(pick(0, 1) == 0 ? d : d - x.dim());
    }
    if (dims.empty()) dims.push_back(pick(0, x.dim() - 1));
    return dims;
  }

  void reduction(std::size_t a) {
    if (at(a).dim() == 0) return unary(a);
    const Sizes dims = some_dims(at(a));
    const bool keep = pick(0, 1) == 0;
    const std::string text = "(" + v(a) + ", " + list(dims) + (keep ? ", keep)" : ")");
    switch (pick(0, 7)) {
      case 0: add1("sum" + text, [=](const Values& x) { return x[a].sum(dims, keep); }); break;
      case 1: add1("mean" + text, [=](const Values& x) { return x[a].mean(dims, keep); }); break;
      case 2: add1("logsumexp" + text, [=](const Values& x) { return x[a].logsumexp(dims, keep); }); break;
      case 3: add1("norm" + text, [=](const Values& x) { return (x[a].square().sum(dims, keep) + 0.1).sqrt(); }); break;
      case 4:
        add1("var" + text, [=](const Values& x) { return torch::var(x[a], dims, /*unbiased=*/false, keep); });
        break;
      case 5: add1("sum(" + v(a) + ")", [=](const Values& x) { return x[a].sum(); }); break;
      case 6: add1("mean(" + v(a) + ")", [=](const Values& x) { return x[a].mean(); }); break;
      default: {
        const std::int64_t dim = dims[0];
        add1("max(" + v(a) + ", " + std::to_string(dim) + ")",
             [=](const Values& x) { return std::get<0>(x[a].max(dim, keep)); });
      }
    }
  }

  void view(std::size_t a) {
    const std::int64_t rank = at(a).dim();
    if (rank == 0) {
      add1("unsqueeze(" + v(a) + ")", [=](const Values& x) { return x[a].unsqueeze(0); });
      return;
    }
    const std::int64_t dim = pick(0, rank - 1), size = at(a).size(dim);
    const std::string text = "(" + v(a) + ", " + std::to_string(dim);
    switch (pick(0, 9)) {
      case 0: {
        const std::int64_t other = pick(0, rank - 1);
        add1("transpose" + text + ", " + std::to_string(other) + ")",
             [=](const Values& x) { return x[a].transpose(dim, other); });
        break;
      }
      case 1: {
        Sizes order(static_cast<std::size_t>(rank));
        for (std::size_t i = 0; i < order.size(); ++i) order[i] = static_cast<std::int64_t>(i);
        std::ranges::shuffle(order, random_);
        add1("permute(" + v(a) + ", " + list(order) + ")", [=](const Values& x) { return x[a].permute(order); });
        break;
      }
      case 2: add1("unsqueeze" + text + ")", [=](const Values& x) { return x[a].unsqueeze(dim); }); break;
      case 3: add1("squeeze(" + v(a) + ")", [=](const Values& x) { return x[a].squeeze(); }); break;
      case 4: add1("flatten(" + v(a) + ")", [=](const Values& x) { return x[a].flatten(); }); break;
      case 5: {
        const std::int64_t from = pick(0, size - 1), length = pick(1, size - from);
        add1("narrow" + text + ", " + std::to_string(from) + ", " + std::to_string(length) + ")",
             [=](const Values& x) { return x[a].narrow(dim, from, length); });
        break;
      }
      case 6: {
        const std::int64_t index = pick(-size, size - 1);
        add1("select" + text + ", " + std::to_string(index) + ")",
             [=](const Values& x) { return x[a].select(dim, index); });
        break;
      }
      case 7:
        add1("slice" + text + ", 0, end, 2)", [=](const Values& x) { return x[a].slice(dim, 0, size, 2); });
        break;
      case 8: {
        Sizes sizes = at(a).sizes().vec();
        for (std::int64_t& each : sizes) {
          if (each == 1) each = pick(1, 3);
        }
        sizes.insert(sizes.begin(), pick(1, 2));
        add1("expand(" + v(a) + ", " + list(sizes) + ")", [=](const Values& x) { return x[a].expand(sizes); });
        break;
      }
      default: add1("flip" + text + ")", [=](const Values& x) { return x[a].flip({dim}); });
    }
  }

  void product(std::size_t a) {
    const std::int64_t rank = at(a).dim();
    if (rank == 0) return unary(a);
    const std::int64_t k = at(a).size(-1);
    // A partner whose dimensions fit, or the value itself.
    for (int i = 0; i < 10; ++i) {
      const std::size_t b = any();
      const Tensor &x = at(a), &y = at(b);
      if (y.dim() == 2 && y.size(1) == k) {
        for (std::size_t bias = 0; bias < values_.size(); ++bias) {
          if (at(bias).sizes() == at::IntArrayRef(Sizes{y.size(0)}) && pick(0, 1) == 0) {
            add1("linear(" + v(a) + ", " + v(b) + ", " + v(bias) + ")",
                 [=](const Values& z) { return torch::linear(z[a], z[b], z[bias]); });
            return;
          }
        }
        add1("linear(" + v(a) + ", " + v(b) + ")", [=](const Values& z) { return torch::linear(z[a], z[b]); });
        return;
      }
      if (x.dim() >= 2 && y.dim() >= 2 && y.size(-2) == k &&
          (y.dim() == 2 || x.dim() == 2 || broadcast(x.select(-1, 0).select(-1, 0), y.select(-1, 0).select(-1, 0)))) {
        add1("matmul(" + v(a) + ", " + v(b) + ")", [=](const Values& z) { return z[a].matmul(z[b]); });
        return;
      }
    }
    if (rank < 2) {
      add1("dot(" + v(a) + ", " + v(a) + ")", [=](const Values& x) { return x[a].dot(x[a].tanh()); });
    } else if (pick(0, 1) == 0) {
      add1("matmul(" + v(a) + ", " + v(a) + "^T)",
           [=](const Values& x) { return x[a].matmul(x[a].transpose(-1, -2)); });
    } else {
      add1("matmul(" + v(a) + "^T, " + v(a) + ")",
           [=](const Values& x) { return x[a].transpose(-1, -2).matmul(x[a]); });
    }
  }

  void normalized(std::size_t a) {
    const std::int64_t rank = at(a).dim();
    if (rank == 0) return unary(a);
    const std::int64_t dim = pick(0, rank - 1), last = at(a).size(-1);
    const std::string text = "(" + v(a) + ", " + std::to_string(dim) + ")";
    switch (pick(0, 4)) {
      case 0: add1("softmax" + text, [=](const Values& x) { return x[a].softmax(dim); }); break;
      case 1: add1("log_softmax" + text, [=](const Values& x) { return x[a].log_softmax(dim); }); break;
      case 2: add1("softmax(" + v(a) + ", -1)", [=](const Values& x) { return x[a].softmax(-1); }); break;
      case 3:
        // A large epsilon: what is normalised may be constant, and then everything would be rounding.
        add1("layer_norm(" + v(a) + ")", [=](const Values& x) { return torch::layer_norm(x[a], {last}, {}, {}, 0.1); });
        break;
      default:
        if (rank >= 2 && at(a).numel() / at(a).size(1) > 1) {
          add1("batch_norm(" + v(a) + ")",
               [=](const Values& x) { return torch::batch_norm(x[a], {}, {}, {}, {}, true, 0.1, 0.1, false); });
        } else {
          unary(a);
        }
    }
  }

  void joined(std::size_t a) {
    const std::int64_t rank = at(a).dim();
    if (rank == 0) return unary(a);
    const std::int64_t dim = pick(0, rank - 1), size = at(a).size(dim);
    std::vector<std::size_t> alike = {a};
    for (std::size_t b = 0; b < values_.size() && alike.size() < 3; ++b) {
      if (at(b).sizes() == at(a).sizes() && pick(0, 1) == 0) alike.push_back(b);
    }
    std::string text;
    for (const std::size_t b : alike) text += v(b) + ", ";
    const auto gather = [alike](const Values& x) {
      Values some;
      for (const std::size_t b : alike) some.push_back(x[b]);
      return some;
    };
    switch (pick(0, 3)) {
      case 0:
        add1("cat(" + text + std::to_string(dim) + ")", [=](const Values& x) { return torch::cat(gather(x), dim); });
        break;
      case 1:
        add1("stack(" + text + std::to_string(dim) + ")",
             [=](const Values& x) { return torch::stack(gather(x), dim); });
        break;
      case 2:
        if (size > 1) {
          add("chunk(" + v(a) + ", 2, " + std::to_string(dim) + ")",
              [=](const Values& x) { return x[a].chunk(2, dim); });
          return;
        }
        [[fallthrough]];
      default:
        if (size > 1 && size < 5) {
          add("unbind(" + v(a) + ", " + std::to_string(dim) + ")", [=](const Values& x) { return x[a].unbind(dim); });
        } else {
          add1("cat(" + text + std::to_string(dim) + ")", [=](const Values& x) { return torch::cat(gather(x), dim); });
        }
    }
  }

  // A copy, and a view of it that is written: what was read before has the old numbers, what comes later the new ones.
  void in_place(std::size_t a) {
    const std::int64_t rank = at(a).dim();
    const std::string text = "(" + v(a) + ")";
    if (rank == 0) {
      add1("copy, add_" + text, [=](const Values& x) { return (x[a] * 1).add_(0.3); });
      return;
    }
    const std::int64_t dim = pick(0, rank - 1), index = pick(0, at(a).size(dim) - 1);
    const std::string where = std::to_string(dim) + ", " + std::to_string(index);
    switch (pick(0, 7)) {
      case 0: add1("relu_ of a copy" + text, [=](const Values& x) { return (x[a] * 1.5).relu_(); }); break;
      case 1:
        add1("mul_ of select(" + where + ")" + text, [=](const Values& x) {
          Tensor y = x[a].clone();
          y.select(dim, index).mul_(0.4);
          return y;
        });
        break;
      case 2:
        add1("fill_ of select(" + where + ")" + text, [=](const Values& x) {
          Tensor y = x[a] + 0.5;
          const Tensor before = y.sum();
          y.select(dim, index).fill_(0.25);
          return y * before.tanh();
        });
        break;
      case 3:
        add1("copy_ into select(" + where + ") of zeros" + text, [=](const Values& x) {
          Tensor y = torch::zeros(x[a].sizes(), x[a].options());
          y.select(dim, index).copy_(x[a].select(dim, 0) * 2);
          return y + x[a];
        });
        break;
      case 4:
        add("a view, its base changed by add_ and tanh_" + text, [=](const Values& x) {
          Tensor y = x[a] * 2;
          const Tensor seen = y.select(dim, index);
          y.add_(x[a]).tanh_();
          return Values{y, seen};
        });
        break;
      case 5:
        add1("add_ of a view to another" + text, [=](const Values& x) {
          Tensor y = x[a] * 0.5;
          y.narrow(dim, 0, 1).add_(y.narrow(dim, index, 1).clone());
          return y;
        });
        break;
      case 6:
        add1("sub_, div_, sigmoid_" + text, [=](const Values& x) { return (x[a] + 1).sub_(0.2).div_(2).sigmoid_(); });
        break;
      default:
        add1("sum into zeros" + text, [=](const Values& x) {
          Tensor sum = torch::zeros_like(x[a].select(dim, 0));
          for (std::int64_t i = 0; i < x[a].size(dim); ++i) sum += x[a].select(dim, i) * (static_cast<double>(i) + 1);
          return sum;
        });
    }
  }

  void indexed(std::size_t a) {
    const std::int64_t rank = at(a).dim();
    if (rank == 0) return unary(a);
    const std::int64_t dim = pick(0, rank - 1), size = at(a).size(dim);
    const std::string text = "(" + v(a) + ", " + std::to_string(dim) + ")";
    // Positions that depend on numbers of the batch: ranks of the values of v0.
    const auto positions = [size](const Values& x) { return x[0].flatten().argsort().slice(0, 0, 3).remainder(size); };
    switch (pick(0, 4)) {
      case 0: add1("index_select" + text, [=](const Values& x) { return x[a].index_select(dim, positions(x)); }); break;
      case 1:
        add1("gather" + text,
             [=](const Values& x) { return x[a].gather(dim, x[a].detach().argsort(dim).remainder(size)); });
        break;
      case 2:
        add1("index_add" + text, [=](const Values& x) {
          const Tensor where = positions(x);
          return x[a].index_add(dim, where, x[a].index_select(dim, where) * 0.5);
        });
        break;
      case 3:
        add1("scatter_add" + text, [=](const Values& x) {
          return torch::zeros_like(x[a]).scatter_add(dim, x[a].detach().argsort(dim), x[a]);
        });
        break;
      default:
        if (pick(0, 1) == 0) {
          const std::size_t table = weight({7, size});
          const std::int64_t padding = pick(-1, 2);
          const bool scaled = pick(0, 1) == 0;
          add1("embedding of v0" + text + w(table) + ", padding " + std::to_string(padding) + (scaled ? ", scaled" : ""),
               [=](const Scope& x) {
                 const Tensor ids = x[0].flatten().argsort().slice(0, 0, 12).remainder(7);
                 return torch::embedding(x.weights[table], ids.view({1, -1}), padding, scaled);
               });
          return;
        }
        add1("embedding of v0" + text, [=](const Values& x) {
          const Tensor table = x[a].reshape({x[a].size(0), -1});
          return torch::embedding(table, x[0].flatten().argsort().slice(0, 0, 3).remainder(table.size(0)));
        });
    }
  }

  // Convolutions, pools and losses, where the shapes are right for them.
  void chosen(std::size_t a) {
    const Tensor& x = at(a);
    if (x.dim() == 3 && x.size(2) >= 3) {
      const std::int64_t channels = x.size(1);
      switch (pick(0, 2)) {
        case 0:
          add1("conv1d(" + v(a) + ", its own start)", [=](const Values& z) {
            return torch::conv1d(z[a], z[a].slice(0, 0, 1).slice(2, 0, 2).expand({2, channels, 2}), {}, 1, 1);
          });
          return;
        case 1: add1("max_pool1d(" + v(a) + ")", [=](const Values& z) { return torch::max_pool1d(z[a], 2); }); return;
        default:
          add1("conv2d(" + v(a) + ")", [=](const Values& z) {
            return torch::conv2d(z[a].unsqueeze(1), z[a].flatten().slice(0, 0, 3).view({1, 1, 1, 3}), {}, Sizes{1, 1},
                                 Sizes{0, 1})
                .squeeze(1);
          });
          return;
      }
    }
    if (x.dim() == 2 && x.size(1) > 1) {
      const std::int64_t classes = x.size(1);
      if (pick(0, 1) == 0) {
        add1("cross_entropy(" + v(a) + ")", [=](const Values& z) {
          return torch::cross_entropy_loss(z[a],
                                           z[a].detach().argsort(std::int64_t{1}).select(1, 0).remainder(classes));
        });
      } else {
        add1("avg_pool1d(" + v(a) + ")",
             [=](const Values& z) { return torch::avg_pool1d(z[a].unsqueeze(0), 2).squeeze(0); });
      }
      return;
    }
    const std::size_t b = partner(a);
    if (at(b).sizes() == x.sizes()) {
      switch (pick(0, 3)) {
        case 0:
          add1("smooth_l1(" + v(a) + ", " + v(b) + ")",
               [=](const Values& z) { return torch::smooth_l1_loss(z[a], z[b]); });
          return;
        case 1:
          add1("mse_loss(" + v(a) + ", " + v(b) + ")", [=](const Values& z) { return torch::mse_loss(z[a], z[b]); });
          return;
        case 2:
          add1("bce(" + v(a) + ", " + v(b) + ")",
               [=](const Values& z) { return torch::binary_cross_entropy_with_logits(z[a], z[b].detach().sigmoid()); });
          return;
        default:
          add1("l1_loss(" + v(a) + ", " + v(b) + ")",
               [=](const Values& z) { return torch::l1_loss(z[a], z[b] + 0.01); });
          return;
      }
    }
    unary(a);
  }

  void random_numbers(std::size_t a) {
    switch (pick(0, 3)) {
      case 0: add1("dropout(" + v(a) + ")", [=](const Values& x) { return torch::dropout(x[a], 0.3, true); }); break;
      case 1: add1("noise(" + v(a) + ")", [=](const Values& x) { return x[a] + 0.1 * torch::randn_like(x[a]); }); break;
      case 2:
        add1("rand(" + v(a) + ")", [=](const Values& x) { return x[a] * torch::rand(x[a].sizes(), x[a].options()); });
        break;
      default:
        add1("arange(" + v(a) + ")", [=](const Values& x) {
          return x[a] + 0.1 * torch::arange(x[a].numel(), x[a].options()).view(x[a].sizes());
        });
    }
  }

  void dense_layer(std::size_t a) {
    if (at(a).dim() < 2) return unary(a);
    const std::int64_t in = at(a).size(-1), out = pick(1, 9);
    const std::size_t b = weight({out, in}), bias = weight({out});
    switch (pick(0, 3)) {
      case 0:
        add1("relu(linear(" + v(a) + w(b) + w(bias) + "))",
             [=](const Scope& x) { return torch::linear(x[a], x.weights[b], x.weights[bias]).relu(); });
        break;
      case 1:
        add1("gelu(linear(" + v(a) + w(b) + "))",
             [=](const Scope& x) { return torch::gelu(torch::linear(x[a], x.weights[b])); });
        break;
      case 2: {  // a residual of two layers
        const std::size_t back = weight({in, out});
        add1("x + linear(tanh(linear(" + v(a) + w(b) + w(bias) + "))" + w(back) + ")", [=](const Scope& x) {
          return x[a] + torch::linear(torch::linear(x[a], x.weights[b], x.weights[bias]).tanh(), x.weights[back]);
        });
        break;
      }
      default:
        add1("dropout(linear(" + v(a) + w(b) + w(bias) + "))", [=](const Scope& x) {
          return torch::dropout(torch::linear(x[a], x.weights[b], x.weights[bias]), 0.4, true);
        });
    }
  }

  // An image [batch, channels, height, width]: a value as it is, or with a dimension more.
  void image_layer(std::size_t a) {
    const std::int64_t rank = at(a).dim();
    if (rank == 3) {
      const std::int64_t where = pick(0, 1);
      add1("image of " + v(a), [=](const Scope& x) { return x[a].unsqueeze(where); });
      return;
    }
    if (rank != 4 || at(a).size(0) * at(a).size(1) > 64) return unary(a);
    const std::int64_t channels = at(a).size(1), height = at(a).size(2), width = at(a).size(3);
    const std::string text = "(" + v(a);
    switch (pick(0, 11)) {
      case 0:
      case 1: {
        const std::int64_t out = pick(1, 6), kernel = pick(1, std::min<std::int64_t>(3, std::min(height, width))),
                           padding = pick(0, kernel - 1), stride = pick(1, 2);
        const std::size_t b = weight({out, channels, kernel, kernel}), bias = weight({out});
        const bool relu = pick(0, 1) == 0;
        add1((relu ? "relu of conv2d" : "conv2d") + text + w(b) + w(bias) + ", stride " + std::to_string(stride) +
                 ", padding " + std::to_string(padding) + ")",
             [=](const Scope& x) {
               const Tensor y = torch::conv2d(x[a], x.weights[b], x.weights[bias], stride, padding);
               return relu ? y.relu() : y;
             });
        break;
      }
      case 2: {
        const std::size_t b = weight({channels, 1, 1, 1});
        add1("depthwise conv2d" + text + w(b) + ")",
             [=](const Scope& x) { return torch::conv2d(x[a], x.weights[b], Tensor(), Sizes{1, 1}, Sizes{0, 0}, Sizes{1, 1}, channels); });
        break;
      }
      case 3: {
        const std::int64_t out = pick(1, 4);
        const std::size_t b = weight({channels, out, 2, 2});
        add1("conv_transpose2d" + text + w(b) + ")",
             [=](const Scope& x) { return torch::conv_transpose2d(x[a], x.weights[b], {}, 2); });
        break;
      }
      case 4: {  // a residual block
        const std::size_t b = weight({channels, channels, 1, 1}), scale = weight({channels}), shift = weight({channels});
        add1("relu(x + batch_norm(conv2d" + text + w(b) + ")" + w(scale) + w(shift) + "))", [=](const Scope& x) {
          const Tensor y = torch::conv2d(x[a], x.weights[b]);
          return (torch::batch_norm(y, x.weights[scale], x.weights[shift], {}, {}, true, 0.1, 0.1, false) + x[a]).relu();
        });
        break;
      }
      case 5:
        add1("channels last" + text + ")",
             [=](const Scope& x) { return x[a].contiguous(at::MemoryFormat::ChannelsLast) * 1.25; });
        break;
      case 6: {
        const std::int64_t kernel = pick(1, std::min<std::int64_t>(3, std::min(height, width))), stride = pick(1, 2),
                           padding = pick(0, kernel / 2);
        const bool ceil = pick(0, 1) == 0, relu = pick(0, 1) == 0;
        add1((relu ? "max_pool2d of relu" : "max_pool2d") + text + ", " + std::to_string(kernel) + ", " +
                 std::to_string(stride) + ", " + std::to_string(padding) + (ceil ? ", ceil)" : ")"),
             [=](const Scope& x) {
               return torch::max_pool2d(relu ? x[a].relu() : x[a], kernel, stride, padding, 1, ceil);
             });
        break;
      }
      case 7: {
        const std::int64_t kernel = pick(1, std::min<std::int64_t>(3, std::min(height, width))), stride = pick(1, 2),
                           padding = pick(0, kernel / 2);
        const bool ceil = pick(0, 1) == 0, counts = pick(0, 1) == 0;
        add1("avg_pool2d" + text + ", " + std::to_string(kernel) + ", " + std::to_string(stride) + ", " +
                 std::to_string(padding) + (ceil ? ", ceil" : "") + (counts ? ", counting the padding)" : ")"),
             [=](const Scope& x) { return torch::avg_pool2d(x[a], kernel, stride, padding, ceil, counts); });
        break;
      }
      case 8: {
        const Sizes to = {pick(1, height), pick(1, width)};
        add1("adaptive_avg_pool2d" + text + ", " + list(to) + ")",
             [=](const Scope& x) { return torch::adaptive_avg_pool2d(x[a], to); });
        break;
      }
      case 9: {
        const Sizes to = {pick(1, height), pick(1, width)};
        add1("adaptive_max_pool2d" + text + ", " + list(to) + ")",
             [=](const Scope& x) { return std::get<0>(torch::adaptive_max_pool2d(x[a], to)); });
        break;
      }
      case 10:
        add1("upsample_nearest2d" + text + ")", [=](const Scope& x) {
          return torch::upsample_nearest2d(x[a], at::IntArrayRef({2 * height, width + 1}));
        });
        break;
      default:
        add1("flatten" + text + ", 1)", [=](const Scope& x) { return x[a].flatten(1); });
    }
  }

  // [batch, time, features], recurrent or with attention.
  void sequence_layer(std::size_t a) {
    if (at(a).dim() != 3) return dense_layer(a);
    const std::int64_t rows = at(a).size(0), time = at(a).size(1), in = at(a).size(2);
    const std::string text = "(" + v(a);
    const std::int64_t kind = pick(0, 4);
    if (kind <= 2) {
      const std::int64_t width = pick(1, 6), layers = pick(1, 2), gates = kind == 0 ? 4 : kind == 1 ? 3 : 1;
      const bool both = pick(0, 2) == 0, batch_first = pick(0, 1) == 0;
      const std::int64_t directions = both ? 2 : 1;
      std::vector<std::size_t> all;
      for (std::int64_t n = 0; n < layers * directions; ++n) {
        const std::int64_t from = n < directions ? in : directions * width;
        for (Sizes sizes : std::vector<Sizes>{{gates * width, from}, {gates * width, width}, {gates * width}, {gates * width}})
          all.push_back(weight(std::move(sizes)));
      }
      static constexpr const char* kNames[] = {"lstm", "gru", "rnn_tanh"};
      add1(kNames[kind] + text + ", " + std::to_string(layers) + " layers of " + std::to_string(width) +
               (both ? ", both ways" : "") + (batch_first ? ", batch first)" : ")"),
           [=](const Scope& x) {
             const Tensor h = torch::zeros({layers * directions, batch_first ? rows : time, width}, x[a].options());
             Values own;
             for (const std::size_t one : all) own.push_back(x.weights[one]);
             if (kind == 0)
               return std::get<0>(torch::lstm(x[a], {h, h}, own, true, layers, 0, true, both, batch_first));
             return kind == 1 ? std::get<0>(torch::gru(x[a], h, own, true, layers, 0, true, both, batch_first))
                              : std::get<0>(torch::rnn_tanh(x[a], h, own, true, layers, 0, true, both, batch_first));
           });
      return;
    }
    const std::int64_t heads = pick(1, 2), depth = pick(1, 5), inner = heads * depth, mask = pick(0, 4);
    const std::size_t qkv = weight({3 * inner, in}), out = weight({in, inner});
    static constexpr const char* kMasks[] = {"", ", causal", ", masked", ", some queries see nothing", ", dropout"};
    add1("attention" + text + ", " + std::to_string(heads) + " heads of " + std::to_string(depth) + kMasks[mask] + ")",
         [=](const Scope& x) {
           const auto parts = torch::linear(x[a], x.weights[qkv]).view({rows, time, 3, heads, depth}).permute({2, 0, 3, 1, 4}).unbind(0);
           std::optional<Tensor> given;
           if (mask == 2) given = torch::linspace(-1, 1, time * time, x[a].options()).view({time, time});
           if (mask == 3) given = (x[a].detach().sum(-1) > 0).view({rows, 1, 1, time}).expand({rows, heads, time, time});
           const Tensor mixed = torch::scaled_dot_product_attention(parts[0], parts[1], parts[2], given, mask == 4 ? 0.3 : 0.0, mask == 1);
           return x[a] + torch::linear(mixed.transpose(1, 2).reshape({rows, time, inner}), x.weights[out]);
         });
  }

  // A large epsilon: what is normalised may be constant, and then everything would be rounding.
  void norm_layer(std::size_t a) {
    const std::int64_t rank = at(a).dim();
    if (rank < 2) return unary(a);
    const std::int64_t last = at(a).size(-1), channels = at(a).size(1);
    const std::string text = "(" + v(a);
    switch (pick(0, 4)) {
      case 0: {
        const std::size_t scale = weight({last}), shift = weight({last});
        add1("layer_norm" + text + w(scale) + w(shift) + ")",
             [=](const Scope& x) { return torch::layer_norm(x[a], {last}, x.weights[scale], x.weights[shift], 0.1); });
        break;
      }
      case 1: {
        const std::size_t scale = weight({last});
        add1("rms_norm" + text + w(scale) + ")",
             [=](const Scope& x) { return torch::rms_norm(x[a], {last}, x.weights[scale], 0.1); });
        break;
      }
      case 2: add1("rms_norm" + text + ")", [=](const Scope& x) { return torch::rms_norm(x[a], {last}, {}, 0.1); }); break;
      case 3: {
        if (at(a).numel() / channels == 1) return unary(a);
        const std::size_t scale = weight({channels}), shift = weight({channels});
        const bool relu = pick(0, 1) == 0;
        add1((relu ? "relu of batch_norm" : "batch_norm") + text + w(scale) + w(shift) + ")", [=](const Scope& x) {
          const Tensor y = torch::batch_norm(x[a], x.weights[scale], x.weights[shift], {}, {}, true, 0.1, 0.1, false);
          return relu ? y.relu() : y;
        });
        break;
      }
      default: {
        const std::int64_t groups = channels % 2 == 0 ? pick(1, 2) : 1;
        const std::size_t scale = weight({channels}), shift = weight({channels});
        add1("group_norm" + text + ", " + std::to_string(groups) + w(scale) + w(shift) + ")",
             [=](const Scope& x) { return torch::group_norm(x[a], groups, x.weights[scale], x.weights[shift], 0.1); });
      }
    }
  }

  std::mt19937_64 random_;
  Network network_;
  Scope values_;  // of a run on an example
  Sizes base_;
};

class RandomNetworks : public testing::TestWithParam<unsigned> {};

Case case_of(unsigned seed, const std::shared_ptr<const Network>& network) {
  return {.name = "seed " + std::to_string(seed),
          .make =
              [network] {
                auto module = network->module();
                return Subject{module, [network, module](const levin::Batch& batch) {
                                 return network->loss({batch.begin(), batch.end()}, module->parameters());
                               }};
              },
          .batch = [network](std::int64_t) { return network->batch(); },
          .any_condition = true};
}

TEST_P(RandomNetworks, AgreeWithEager) {
  const auto network = std::make_shared<const Network>(Generator(GetParam()).take());
  const Case c = case_of(GetParam(), network);
  static const std::vector<Call> twice = {{"first batch", 0, true}, {"second batch", 0, true}};
  for (const Mode mode : {Mode::exact, Mode::fused, Mode::double_}) {
    expect_agreement(c, mode, twice);
    if (!HasFailure()) continue;
    ADD_FAILURE() << network->text();
    setenv("LEVIN_COMPILE_DEBUG", "all", 1);
    expect_agreement(c, mode, twice);
    unsetenv("LEVIN_COMPILE_DEBUG");
    return;
  }
}

/** 250 networks; LEVIN_TEST_NETWORKS=30000 for more. */
unsigned networks() {
  const char* given = std::getenv("LEVIN_TEST_NETWORKS");
  return given == nullptr ? 250U : static_cast<unsigned>(std::stoul(given));
}

INSTANTIATE_TEST_SUITE_P(Seeds, RandomNetworks, testing::Range(0U, networks()));

TEST(RandomNetworksOnThreads, GiveTheBitsOfOne) {
  for (unsigned seed = 0; seed < 60; ++seed) {
    const auto network = std::make_shared<const Network>(Generator(seed).take());
    expect_same_on_threads(case_of(seed, network));
    ASSERT_FALSE(HasFailure()) << network->text();
  }
}

/** Bits of eager's gradients, an optimizer and clipping drawn by the seed: three steps end where eager's do. */
TEST(RandomNetworksTrained, ByEveryOptimizer) {
  namespace optim = levin::optim;
  const std::vector<std::function<optim::Optimizer(std::vector<Tensor>)>> all = {
      [](auto p) { return optim::SGD(p, {.lr = 0.05, .momentum = 0.9}); },
      [](auto p) { return optim::Adam(p, {.lr = 0.01, .amsgrad = true}); },
      [](auto p) { return optim::AdamW(p, {.lr = 0.01}); },
      [](auto p) { return optim::RMSprop(p, {.lr = 0.01, .centered = true}); },
      [](auto p) { return optim::Adagrad(p, {.lr = 0.05}); },
      [](auto p) { return optim::Adadelta(p, {.lr = 1}); },
      [](auto p) { return optim::Adamax(p, {.lr = 0.01}); },
      [](auto p) { return optim::NAdam(p, {.lr = 0.01}); },
      [](auto p) { return optim::RAdam(p, {.lr = 0.01}); },
      [](auto p) { return optim::Rprop(p, {.lr = 0.01}); }};
  const OneThread thread;
  for (unsigned seed = 0; seed < 30; ++seed) {
    const Network network = Generator(seed).take();
    const auto eager = network.module(), compiled = network.module();
    copy_state(*eager, *compiled);
    const auto loss = [&](const nn::Module& module, const levin::Batch& batch) {
      return network.loss({batch.begin(), batch.end()}, module.parameters());
    };
    auto a = all[seed % all.size()](trained(*eager)), b = all[seed % all.size()](trained(*compiled));
    levin::CompileStepOptions options{.compile = {.fuse = false}};
    if (seed % 3 == 1) options.clip_grad_norm = 0.1;
    if (seed % 3 == 2) options.clip_grad_value = 0.01;
    auto step = levin::compile_step(*compiled, b, [&](const levin::Batch& batch) { return loss(*compiled, batch); }, options);
    for (unsigned i = 0; i < 3; ++i) {
      Values tensors = network.batch();
      for (Tensor& tensor : tensors) tensor = tensor.contiguous();
      const levin::Batch batch{std::span<const Tensor>(tensors)};
      torch::manual_seed(i);
      a.zero_grad();
      loss(*eager, batch).backward();
      if (options.clip_grad_norm) optim::clip_grad_norm_(a, *options.clip_grad_norm);
      if (options.clip_grad_value) optim::clip_grad_value_(a, *options.clip_grad_value);
      a.step();
      torch::manual_seed(i);
      step(batch);
      ASSERT_TRUE(step.compiled()) << step.explain();
      // The next step begins where eager's does: what differs in a bit may fall to the other side of a relu.
      for (std::size_t p = 0; p < eager->parameters().size(); ++p) {
        ASSERT_LE(apart(eager->parameters()[p], compiled->parameters()[p]), 1e-5)
            << "seed " << seed << ", step " << i << ", parameter " << p << '\n' << network.text();
      }
      copy_state(*eager, *compiled);
    }
  }
}

/** The loss of one compiled step and the parameters after it. */
Values after_a_step(const Network& network, const std::shared_ptr<nn::Module>& module, const levin::Batch& batch) {
  levin::optim::SGD optimizer(module->parameters(), {.lr = 0.1});
  auto step = levin::compile_step(*module, optimizer, [&](const levin::Batch& given) {
    return network.loss({given.begin(), given.end()}, module->parameters());
  });
  torch::manual_seed(5);
  Values all = {step(batch)};
  EXPECT_TRUE(step.compiled()) << step.explain();
  for (const Tensor& parameter : module->parameters()) all.push_back(parameter.detach());
  return all;
}

TEST(RandomNetworksSharingCode, GiveTheBitsOfAFreshCapture) {
  auto& cache = levin::compile::CodeCache::instance();
  for (unsigned seed = 0; seed < 40; ++seed) {
    const Network network = Generator(seed).take();
    const auto first = network.module(), second = network.module(), fresh = network.module();
    copy_state(*second, *fresh);
    const levin::Batch batch(network.batch());
    cache.clear();
    after_a_step(network, first, batch);
    const Values shared = after_a_step(network, second, batch);
    ASSERT_EQ(cache.counts().hits, 1U) << network.text();
    cache.clear();
    const Values alone = after_a_step(network, fresh, batch);
    for (std::size_t i = 0; i < alone.size(); ++i) ASSERT_TRUE(same_bits(alone[i], shared[i])) << i << network.text();
  }
}

}  // namespace
}  // namespace compile_test
