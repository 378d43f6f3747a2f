// A step run eagerly and compiled from the same state, and what has to be equal afterwards.
#pragma once

#include <levin/levin.h>

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <memory>
#include <ostream>
#include <string>
#include <utility>
#include <vector>

namespace compile_test {

namespace nn = torch::nn;
using torch::Tensor;

/** A model and the loss of a batch. */
struct Subject {
  std::shared_ptr<nn::Module> module;
  std::function<Tensor(const levin::Batch&)> loss;
};

/** One row of a table: how a subject is made, and a batch of so many rows for it. */
struct Case {
  std::string name;
  std::function<Subject()> make;
  std::function<std::vector<Tensor>(std::int64_t rows)> batch;
  std::string eager_because = {};  ///< part of the refusal of a step that no program can stand for
  bool any_condition = false;      ///< nobody chose it: its numbers may hang on the last bits of its parameters
};
inline void PrintTo(const Case& c, std::ostream* out) { *out << c.name; }

enum class Mode {
  fused,   ///< native kernels and fusions
  exact,   ///< fuse = false: the bits of eager
  double_  ///< fused, in float64
};

inline std::string name_of(Mode mode) {
  return mode == Mode::fused ? "fused" : mode == Mode::exact ? "exact" : "double";
}

/** While it lives new tensors are of this type. */
class DefaultType {
 public:
  explicit DefaultType(torch::ScalarType type) : before_(torch::get_default_dtype()) {
    torch::set_default_dtype(c10::scalarTypeToTypeMeta(type));
  }
  ~DefaultType() { torch::set_default_dtype(before_); }
  DefaultType(const DefaultType&) = delete;
  DefaultType& operator=(const DefaultType&) = delete;

 private:
  caffe2::TypeMeta before_;
};

/** While it lives ATen uses one thread: for small tensors on a busy machine waiting threads cost the most. */
class OneThread {
 public:
  OneThread() : before_(torch::get_num_threads()) { torch::set_num_threads(1); }
  ~OneThread() { torch::set_num_threads(before_); }
  OneThread(const OneThread&) = delete;
  OneThread& operator=(const OneThread&) = delete;

 private:
  int before_;
};

/** The largest difference, relative to the largest element of `expected`; equal NaNs and infinities do not differ. */
inline double apart(const Tensor& expected, const Tensor& seen, double at_least = 1e-30) {
  if (expected.sizes() != seen.sizes() || expected.scalar_type() != seen.scalar_type()) return INFINITY;
  if (expected.numel() == 0) return 0;
  const Tensor a = expected.detach().to(torch::kDouble), b = seen.detach().to(torch::kDouble);
  const Tensor same = a.eq(b).logical_or(a.isnan().logical_and(b.isnan()));
  if (same.all().item<bool>()) return 0;
  const double largest = torch::where(a.isfinite(), a.abs(), torch::zeros_like(a)).max().item<double>();
  const Tensor difference = torch::where(same, torch::zeros_like(a), (a - b).abs());
  if (!difference.isfinite().all().item<bool>()) return INFINITY;
  return difference.max().item<double>() / std::max(largest, at_least);
}

/** Bit for bit: NaNs count as equal, 0 and -0 do not. */
inline bool same_bits(const Tensor& a, const Tensor& b) {
  if (a.sizes() != b.sizes() || a.scalar_type() != b.scalar_type()) return false;
  if (a.is_floating_point()) {
    const Tensor same = a.eq(b).logical_and(a.signbit().eq(b.signbit())).logical_or(a.isnan().logical_and(b.isnan()));
    return same.all().item<bool>();
  }
  return torch::equal(a, b);
}

/** Copies parameters and buffers. */
inline void copy_state(const nn::Module& from, nn::Module& to) {
  const torch::NoGradGuard no_grad;
  const auto copy = [](const auto& source, const auto& target) {
    ASSERT_EQ(source.size(), target.size());
    for (std::size_t i = 0; i < source.size(); ++i) Tensor(target[i]).detach().copy_(source[i]);
  };
  copy(from.parameters(), to.parameters());
  copy(from.buffers(), to.buffers());
}

struct Bounds {
  double loss = 1e-6, gradients = 1e-5;
  static Bounds of(Mode mode) {
    if (mode == Mode::exact) return {0, 0};
    return mode == Mode::double_ ? Bounds{1e-12, 1e-12} : Bounds{};
  }
};

inline void expect_close(const Tensor& expected, const Tensor& seen, double bound, const std::string& what,
                         double at_least = 1e-30) {
  if (bound == 0) {
    EXPECT_TRUE(same_bits(expected, seen)) << what << " differs by " << apart(expected, seen);
  } else {
    EXPECT_LE(apart(expected, seen, at_least), bound) << what;
  }
}

/** Gradients and state of two copies of a model after a step of each. */
inline void expect_same_outcome(const nn::Module& eager, const nn::Module& compiled, const Bounds& bounds) {
  const auto a = eager.named_parameters(), b = compiled.named_parameters();
  ASSERT_EQ(a.size(), b.size());
  // A gradient that cancels (of what stands before a normalisation) is rounding: it counts beside the others'.
  double largest = 0;
  for (const auto& parameter : a) {
    const Tensor& gradient = parameter.value().grad();
    if (!gradient.defined() || gradient.numel() == 0) continue;
    const double own = gradient.to_dense().detach().abs().max().item<double>();
    if (std::isfinite(own)) largest = std::max(largest, own);
  }
  for (std::size_t i = 0; i < a.size(); ++i) {
    const Tensor &expected = a[i].value().grad(), &seen = b[i].value().grad();
    const std::string name = a[i].key();
    if (expected.defined()) {
      ASSERT_TRUE(seen.defined()) << "the gradient of " << name << " is missing";
      expect_close(expected.to_dense(), seen.to_dense(), bounds.gradients, "gradient of " + name, std::max(0.1, 0.1 * largest));
    } else if (seen.defined()) {
      EXPECT_EQ(seen.abs().max().item<double>(), 0) << name << " has a gradient, eager gives it none";
    }
    // One that a step takes close to 0 is as far off as its gradient.
    expect_close(a[i].value(), b[i].value(), bounds.gradients, "parameter " + name, 0.1);
  }
  const auto c = eager.named_buffers(), d = compiled.named_buffers();
  ASSERT_EQ(c.size(), d.size());
  for (std::size_t i = 0; i < c.size(); ++i) {
    expect_close(c[i].value(), d[i].value(), bounds.gradients, "buffer " + c[i].key());
  }
}

/**
 * Bounds for a step whose numbers cancel: four times what the last bits of parameters and batch do to the eager step,
 * if that is more, as far as it is still small.
 */
inline Bounds widened(Bounds bounds, Subject& subject, const std::vector<Tensor>& batch, unsigned seed) {
  const auto parameters = subject.module->parameters();
  std::vector<Tensor> kept;
  for (const Tensor& parameter : parameters) kept.push_back(parameter.detach().clone());
  const auto run = [&](bool change) {
    const auto changed = [&](const Tensor& tensor) {
      return change ? tensor * (1 + (torch::randint(0, 3, tensor.sizes(), tensor.options()) - 1) * 0x1p-23) : tensor;
    };
    std::vector<Tensor> tensors;
    {
      const torch::NoGradGuard no_grad;
      for (std::size_t i = 0; i < kept.size(); ++i) parameters[i].detach().copy_(changed(kept[i]));
      for (const Tensor& tensor : batch) tensors.push_back(tensor.is_floating_point() ? changed(tensor) : tensor);
    }
    torch::manual_seed(seed);
    for (const Tensor& parameter : parameters) parameter.mutable_grad() = Tensor();
    const Tensor loss = subject.loss(levin::Batch{std::span<const Tensor>(tensors)});
    loss.backward();
    std::vector<Tensor> all = {loss.detach()};
    for (const Tensor& parameter : parameters) all.push_back(parameter.grad());
    for (const Tensor& parameter : parameters) parameter.mutable_grad() = Tensor();
    return all;
  };
  const auto expected = run(false);
  for (unsigned i = 0; i < 3; ++i) {
    torch::manual_seed(1000 + seed + i);
    const auto seen = run(true);
    bounds.loss = std::max(bounds.loss, std::min(1e-4, 4 * apart(expected[0], seen[0], 1)));
    for (std::size_t p = 1; p < expected.size(); ++p) {
      if (!expected[p].defined()) continue;
      bounds.gradients = std::max(bounds.gradients, std::min(1e-3, 4 * apart(expected[p], seen[p], 0.1)));
    }
  }
  const torch::NoGradGuard no_grad;
  for (std::size_t i = 0; i < kept.size(); ++i) parameters[i].detach().copy_(kept[i]);
  return bounds;
}

inline Tensor random_state() { return at::detail::getDefaultCPUGenerator().get_state(); }

/** The parameters that an optimizer takes: those that require grad. */
inline std::vector<Tensor> trained(const nn::Module& module) {
  std::vector<Tensor> list;
  for (const Tensor& parameter : module.parameters()) {
    if (parameter.requires_grad()) list.push_back(parameter);
  }
  return list;
}

/** One step of an agreement. */
struct Call {
  const char* what;
  std::int64_t rows;
  bool train;
};
inline const std::vector<Call>& all_calls() {
  static const std::vector<Call> calls = {{"first batch", 5, true},       {"second batch", 5, true},
                                          {"short batch", 3, true},       {"eval mode", 5, false},
                                          {"eval mode, short", 3, false}, {"train mode again", 5, true}};
  return calls;
}

/**
 * Single steps of `c`, eagerly and compiled, each from the same state: by default two batches, a short one, eval mode,
 * and train mode again. Losses, gradients, parameters, buffers and random state have to agree.
 */
inline void expect_agreement(const Case& c, Mode mode, const std::vector<Call>& calls = all_calls()) {
  const OneThread thread;
  const DefaultType type(mode == Mode::double_ ? torch::kDouble : torch::kFloat);
  torch::manual_seed(1);
  Subject eager = c.make();
  torch::manual_seed(1);
  Subject compiled = c.make();
  levin::optim::SGD optimizer(trained(*eager.module), {.lr = 0.1});
  levin::optim::SGD other(trained(*compiled.module), {.lr = 0.1});
  auto step = levin::compile_step(*compiled.module, other, compiled.loss, {.compile = {.fuse = mode != Mode::exact}});
  unsigned seed = 10;
  for (const Call& call : calls) {
    SCOPED_TRACE(c.name + ", " + name_of(mode) + ", " + call.what);
    eager.module->train(call.train);
    compiled.module->train(call.train);
    copy_state(*eager.module, *compiled.module);
    torch::manual_seed(seed);
    auto tensors = c.batch(call.rows);
    // A program takes a batch with gaps as a copy without, on which ATen may sum in another order.
    for (Tensor& tensor : tensors) {
      if (mode == Mode::exact && tensor.defined() && !tensor.is_non_overlapping_and_dense())
        tensor = tensor.contiguous();
    }
    const levin::Batch batch{std::span<const Tensor>(tensors)};
    Bounds bounds = Bounds::of(mode);
    if (c.any_condition && mode == Mode::fused) bounds = widened(bounds, eager, tensors, seed + 1);

    torch::manual_seed(++seed);
    optimizer.zero_grad();
    const Tensor loss = eager.loss(batch);
    loss.backward();
    optimizer.step();
    const Tensor state = random_state();

    torch::manual_seed(seed);
    const Tensor seen = step(batch);
    EXPECT_TRUE(torch::equal(state, random_state())) << "the generator is elsewhere than after an eager step";
    expect_close(loss.detach(), seen, bounds.loss, "loss", 1);
    expect_same_outcome(*eager.module, *compiled.module, bounds);
    if (testing::Test::HasFailure()) {
      ADD_FAILURE() << step.explain();
      return;
    }
  }
  const std::string explained = step.explain();
  if (c.eager_because.empty()) {
    EXPECT_TRUE(step.compiled()) << explained;
    EXPECT_EQ(explained.find("runs eagerly"), std::string::npos) << explained;
  } else {
    EXPECT_NE(explained.find(c.eager_because), std::string::npos) << explained;
  }
}

/**
 * The bits of a program that shares everything with another thread are those of one that shares nothing. Calls of ATen
 * take as many threads in both.
 */
inline void expect_same_on_threads(const Case& c) {
  const int before = torch::get_num_threads();
  torch::set_num_threads(2);
  struct Outcome {
    Subject subject;
    Tensor loss;
    bool compiled;
  };
  const auto run = [&](std::int64_t threads) {
    torch::manual_seed(1);
    Outcome outcome{.subject = c.make(), .loss = {}, .compiled = false};
    levin::optim::SGD optimizer(trained(*outcome.subject.module), {.lr = 0.1});
    auto step = levin::compile_step(*outcome.subject.module, optimizer, outcome.subject.loss,
                                    {.compile = {.threads = threads}});
    torch::manual_seed(2);
    auto tensors = c.batch(5);
    outcome.loss = step(levin::Batch{std::span<const Tensor>(tensors)});
    outcome.compiled = step.compiled();
    return outcome;
  };
  const Outcome alone = run(1);
  setenv("LEVIN_COMPILE_DEBUG", "split", 1);
  const Outcome shared = run(2);
  unsetenv("LEVIN_COMPILE_DEBUG");
  torch::set_num_threads(before);
  EXPECT_EQ(alone.compiled, shared.compiled);
  if (!alone.compiled) return;
  expect_close(alone.loss, shared.loss, 0, "loss");
  expect_same_outcome(*alone.subject.module, *shared.subject.module, {0, 0});
}

/** A positive and a signed part, so that no gradient is lost to symmetry. */
inline Tensor score(const Tensor& out) {
  const Tensor weight = torch::arange(out.numel(), out.options()).cos().view(out.sizes());
  return (out * weight).mean() + 0.5 * out.square().mean();
}

/** What a module returns, or the first of several. */
inline Tensor first(Tensor out) { return out; }
template <class... Rest>
Tensor first(const std::tuple<Tensor, Rest...>& out) {
  return std::get<0>(out);
}

inline std::vector<std::int64_t> with_rows(std::int64_t rows, std::vector<std::int64_t> shape) {
  shape.insert(shape.begin(), rows);
  return shape;
}

/** A module behind a trained factor on its input, so that the gradient of its input is looked at, too. */
template <class Make>
Case layer(std::string name, std::vector<std::int64_t> shape, Make make, std::string eager_because = {}) {
  return {.name = std::move(name),
          .make =
              [shape, make] {
                auto module = std::make_shared<nn::Module>("Probe");
                auto inner = make();
                module->register_module("inner", inner.ptr());
                const Tensor scale = module->register_parameter("scale", torch::rand(shape) + 0.5);
                return Subject{module, [inner, scale](const levin::Batch& batch) mutable {
                                 return score(first(inner->forward(batch[0] * scale)));
                               }};
              },
          .batch = [shape](std::int64_t rows) { return std::vector<Tensor>{torch::randn(with_rows(rows, shape))}; },
          .eager_because = std::move(eager_because)};
}

/** A function of the batch behind a trained factor on its first tensor. */
inline Case function(std::string name, std::vector<std::int64_t> shape,
                     std::function<Tensor(const Tensor&, const levin::Batch&)> f,
                     std::function<std::vector<Tensor>(std::int64_t rows)> others = {},
                     std::string eager_because = {}) {
  return {.name = std::move(name),
          .make =
              [shape, f = std::move(f)] {
                auto module = std::make_shared<nn::Module>("Probe");
                const Tensor scale = module->register_parameter("scale", torch::rand(shape) + 0.5);
                return Subject{module, [f, scale](const levin::Batch& batch) {
                                 const Tensor out = f(batch[0] * scale, batch);
                                 return out.numel() == 1 ? out : score(out);
                               }};
              },
          .batch =
              [shape, others = std::move(others)](std::int64_t rows) {
                std::vector<Tensor> batch{torch::randn(with_rows(rows, shape))};
                if (others) {
                  for (Tensor& tensor : others(rows)) batch.push_back(std::move(tensor));
                }
                return batch;
              },
          .eager_because = std::move(eager_because)};
}

/** gtest's name of a parameter: letters, digits, underscores. */
inline std::string test_name(std::string name) {
  std::ranges::replace_if(
      name, [](unsigned char c) { return !std::isalnum(c); }, '_');
  return name;
}

}  // namespace compile_test
