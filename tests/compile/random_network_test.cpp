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

/** One line of a random program: it reads values by number and adds one or more. */
struct Line {
  std::string text;
  std::function<Values(const Values&)> run;
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

/** Values are numbered: the batch, the parameters, then the results of the lines. */
struct Network {
  std::vector<Input> inputs;
  std::vector<Parameter> parameters;
  std::vector<Line> lines;

  Values batch() const {
    Values all;
    for (const Input& input : inputs) all.push_back(make(input));
    return all;
  }
  std::string text() const;
  Tensor loss(const Values& given, const Values& weights) const;
  std::shared_ptr<nn::Module> module() const;

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
  for (const Line& line : lines) {
    out << 'v' << number;
    if (line.results > 1) out << "..v" << number + line.results - 1;
    out << " = " << line.text << '\n';
    number += line.results;
  }
  return out.str();
}

/** Some of the values and the last one weigh in; what they do not reach is dead. */
Tensor Network::loss(const Values& given, const Values& weights) const {
  Values values = given;
  values.insert(values.end(), weights.begin(), weights.end());
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
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    const Parameter& parameter = parameters[i];
    Sizes sizes = parameter.sizes;
    Tensor tensor;
    if (parameter.transposed) {
      std::swap(sizes.front(), sizes.back());
      tensor = (torch::randn(sizes) * 0.5).transpose(0, -1);
    } else {
      tensor = torch::randn(sizes) * 0.5;
    }
    module->register_parameter("p" + std::to_string(i), tensor, !parameter.frozen);
  }
  return module;
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
    values_ = network_.batch();
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

  bool add(std::string text, std::function<Values(const Values&)> run) {
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
  bool add1(std::string text, std::function<Tensor(const Values&)> run) {
    return add(std::move(text), [run = std::move(run)](const Values& values) { return Values{run(values)}; });
  }
  void tame() {
    const std::size_t a = values_.size() - 1;
    add1("tanh(" + v(a) + " / 8)", [a](const Values& x) { return (x[a] / 8).tanh(); });
  }

  void add_line() {
    switch (pick(0, 15)) {
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

  std::mt19937_64 random_;
  Network network_;
  Values values_;  // of a run on an example
  Sizes base_;
};

class RandomNetworks : public testing::TestWithParam<unsigned> {};

TEST_P(RandomNetworks, AgreeWithEager) {
  const auto network = std::make_shared<const Network>(Generator(GetParam()).take());
  const Case c{.name = "seed " + std::to_string(GetParam()),
               .make =
                   [network] {
                     auto module = network->module();
                     return Subject{module, [network, module](const levin::Batch& batch) {
                                      return network->loss({batch.begin(), batch.end()}, module->parameters());
                                    }};
                   },
               .batch = [network](std::int64_t) { return network->batch(); }};
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

INSTANTIATE_TEST_SUITE_P(Seeds, RandomNetworks, testing::Range(0U, 400U));

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
  for (unsigned seed = 0; seed < 100; ++seed) {
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
