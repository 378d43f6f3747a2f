#include <levin/compile/kernels/loss.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "levin/compile/kernels/loss.cpp"
#include <hwy/foreach_target.h>

#include <levin/compile/kernels/dispatch_impl.h>
#include <levin/compile/kernels/math-inl.h>

HWY_BEFORE_NAMESPACE();
namespace levin::compile::kernels::HWY_NAMESPACE {
namespace {

using Index = std::int64_t;
constexpr float kInfinity = std::numeric_limits<float>::infinity();

/** The first row whose target is neither a class nor ignored. */
Index first_bad_target(const std::int64_t* target, Index rows, Index classes, std::int64_t ignore_index) {
  for (Index r = 0; r < rows; r++) {
    if ((target[r] < 0 || target[r] >= classes) && target[r] != ignore_index) return r;
  }
  return kAllInRange;
}

/** The largest of a row, NaN if one is. */
HWY_INLINE float row_max(const float* x, Index n) {
  V largest = set(-kInfinity);
  each_place(0, n, [&](auto at) HWY_ATTR { largest = max_nan(largest, at.read_or(x, -kInfinity)); });
  if (hn::AllTrue(kFloats, hn::Not(hn::IsNaN(largest)))) return hn::GetLane(hn::MaxOfLanes(kFloats, largest));
  return std::numeric_limits<float>::quiet_NaN();
}

/** The sum of exp(x - largest), whose terms go to `terms` unless null. A row of -inf alone gives NaN, as ATen's. */
HWY_INLINE float sum_of_exp(const float* x, Index n, float largest, float* terms = nullptr) {
  const V top = set(largest);
  V total = zero();
  each_place(0, n, [&](auto at) HWY_ATTR {
    const V e = exp_nonpositive(hn::Sub(at.read_or(x, -kInfinity), top));
    total = hn::Add(total, at.cut(e));
    if (terms) at.write(e, terms);
  });
  return sum(total);
}

/** y = f(x) over a row. */
template <class F>
HWY_INLINE void map_row(const float* x, float* y, Index n, F f) {
  each_place(0, n, [&](auto at) HWY_ATTR { at.write(f(at.read(x)), y); });
}

HWY_INLINE float row_sum(const float* x, Index n) {
  V total = zero();
  each_place(0, n, [&](auto at) HWY_ATTR { total = hn::Add(total, at.read(x)); });
  return sum(total);
}

/** The sum of x[i] y[i]. */
HWY_INLINE float row_dot(const float* x, const float* y, Index n) {
  V total = zero();
  each_place(0, n, [&](auto at) HWY_ATTR { total = hn::MulAdd(at.read(x), at.read(y), total); });
  return sum(total);
}

/** The weights of the targets that count. */
double total_weight_of(const std::int64_t* target, Index rows, std::int64_t ignore_index, const float* weight) {
  double total = 0;
  for (Index r = 0; r < rows; r++) {
    if (target[r] != ignore_index) total += weight ? static_cast<double>(weight[target[r]]) : 1;
  }
  return total;
}

}  // namespace

Index RunCrossEntropy(const CrossEntropy& s, const CrossEntropyArgs& x, void*) {
  const Index bad = first_bad_target(x.target, s.rows, s.classes, s.ignore_index);
  if (bad != kAllInRange) return bad;
  const bool each = s.reduction == Reduction::none, smooth = s.label_smoothing > 0;
  const double total_weight =
      s.reduction == Reduction::mean ? total_weight_of(x.target, s.rows, s.ignore_index, x.weight) : 1;
  const auto inverse = static_cast<float>(1 / total_weight);
  // With smoothing the loss is (1 - e) nll + e / classes * the weighted sum of -log p over all classes.
  const float spread = s.label_smoothing / static_cast<float>(s.classes);
  const float weights = smooth ? (x.weight ? row_sum(x.weight, s.classes) : static_cast<float>(s.classes)) : 0;
  double loss = 0;
  for (Index r = 0; r < s.rows; r++) {
    const float* logits = x.logits + r * s.classes;
    float* gradient = x.gradient ? x.gradient + r * s.classes : nullptr;
    const std::int64_t target = x.target[r];
    if (target == s.ignore_index) {
      if (each && x.loss) x.loss[r] = 0;
      if (gradient) std::memset(gradient, 0, static_cast<std::size_t>(s.classes) * sizeof(float));
      continue;
    }
    const float weight = x.weight ? x.weight[target] : 1;
    // The maximum and the logarithm stay apart: their sum would lose the latter's digits.
    const float largest = row_max(logits, s.classes), sum_of_terms = sum_of_exp(logits, s.classes, largest, gradient);
    const float log_sum = std::log(sum_of_terms);
    float row_loss = weight * ((largest - logits[target]) + log_sum);
    if (smooth) {
      const float weighted = x.weight ? row_dot(logits, x.weight, s.classes) : row_sum(logits, s.classes);
      row_loss = (1 - s.label_smoothing) * row_loss + spread * ((weights * largest - weighted) + weights * log_sum);
    }
    if (each && x.loss) x.loss[r] = row_loss;
    loss += static_cast<double>(row_loss);
    if (!gradient) continue;
    float scale = each ? 1 : inverse;
    if (x.upstream) scale *= each ? x.upstream[r] : *x.upstream;
    // d(loss) / d(logit) = p (sum of the targets' weights) - weight of this target
    const float of_probability = scale * (smooth ? (1 - s.label_smoothing) * weight + spread * weights : weight);
    const V factor = set(of_probability / sum_of_terms);
    const float each_class = smooth ? scale * spread : 0;
    if (smooth && !x.weight) {
      map_row(gradient, gradient, s.classes,
              [&](V term) HWY_ATTR { return hn::MulSub(term, factor, set(each_class)); });
    } else {
      map_row(gradient, gradient, s.classes, [&](V term) HWY_ATTR { return hn::Mul(term, factor); });
      for (Index c = 0; smooth && c < s.classes; c++) gradient[c] -= each_class * x.weight[c];
    }
    gradient[target] -= scale * (1 - s.label_smoothing) * weight;
  }
  if (!each && x.loss) *x.loss = static_cast<float>(loss / total_weight);
  return kAllInRange;
}

Index RunNllForward(const Nll& s, const NllForwardArgs& x) {
  const Index bad = first_bad_target(x.target, s.rows, s.classes, s.ignore_index);
  if (bad != kAllInRange) return bad;
  double loss = 0, total = 0;
  for (Index r = 0; r < s.rows; r++) {
    const std::int64_t target = x.target[r];
    const float weight = target == s.ignore_index ? 0 : x.weight ? x.weight[target] : 1;
    const float row_loss = target == s.ignore_index ? 0 : -weight * x.log_probabilities[r * s.classes + target];
    if (s.reduction == Reduction::none) x.loss[r] = row_loss;
    loss += static_cast<double>(row_loss);
    total += static_cast<double>(weight);
  }
  if (s.reduction != Reduction::none)
    *x.loss = static_cast<float>(s.reduction == Reduction::mean ? loss / total : loss);
  if (x.total_weight) *x.total_weight = s.reduction == Reduction::none ? 0 : static_cast<float>(total);
  return kAllInRange;
}

Index RunNllBackward(const Nll& s, const NllBackwardArgs& x) {
  const Index bad = first_bad_target(x.target, s.rows, s.classes, s.ignore_index);
  if (bad != kAllInRange) return bad;
  std::memset(x.gradient, 0, static_cast<std::size_t>(s.rows * s.classes) * sizeof(float));
  const bool each = s.reduction == Reduction::none;
  const float scale = each ? -1 : s.reduction == Reduction::mean ? -*x.upstream / *x.total_weight : -*x.upstream;
  for (Index r = 0; r < s.rows; r++) {
    const std::int64_t target = x.target[r];
    if (target == s.ignore_index) continue;
    x.gradient[r * s.classes + target] = (each ? scale * x.upstream[r] : scale) * (x.weight ? x.weight[target] : 1);
  }
  return kAllInRange;
}

void RunSoftmaxForward(const Softmax& s, const float* x, float* y, Index begin, Index end) {
  for (Index r = begin; r < end; r++) {
    const float* from = x + r * s.columns;
    float* to = y + r * s.columns;
    const float largest = row_max(from, s.columns);
    const V top = set(largest);
    if (s.log) {
      // Subtracted one after the other: their sum would lose the logarithm beside a large maximum.
      const V log_sum = set(std::log(sum_of_exp(from, s.columns, largest)));
      map_row(from, to, s.columns, [&](V v) HWY_ATTR { return hn::Sub(hn::Sub(v, top), log_sum); });
    } else {
      const V inverse = set(1 / sum_of_exp(from, s.columns, largest, to));
      map_row(to, to, s.columns, [&](V v) HWY_ATTR { return hn::Mul(v, inverse); });
    }
  }
}

void RunSoftmaxBackward(const Softmax& s, const float* dy, const float* y, float* dx, Index begin, Index end) {
  for (Index r = begin; r < end; r++) {
    const float* g = dy + r * s.columns;
    const float* result = y + r * s.columns;
    float* to = dx + r * s.columns;
    const V total = set(s.log ? row_sum(g, s.columns) : row_dot(g, result, s.columns));
    each_place(0, s.columns, [&](auto at) HWY_ATTR {
      const V v = at.read(result), u = at.read(g);
      at.write(s.log ? hn::NegMulAdd(exp(v), total, u) : hn::Mul(v, hn::Sub(u, total)), to);
    });
  }
}

void RunMse(const Mse& s, const MseArgs& x) {
  const Index n = s.rows * s.columns;
  const double scale = s.reduction == Reduction::mean ? 1 / static_cast<double>(n) : 1;
  const V factor = set(static_cast<float>(2 * scale) * (x.upstream ? *x.upstream : 1));
  const bool one_column = s.columns == 1 && x.column_sums && x.gradient;
  double loss = 0;
  Sums column;
  // Blocks bound the error of long sums.
  constexpr Index kBlock = 4096;
  for (Index begin = 0; begin < n; begin += kBlock) {
    const Index end = std::min(n, begin + kBlock);
    Sums squares;
    const auto element = [&](auto whole, Index i, int u, std::size_t count) HWY_ATTR {
      const V error = whole ? hn::Sub(load(x.input + i), load(x.target + i))
                            : hn::Sub(load_n(x.input + i, count), load_n(x.target + i, count));
      squares.v[u] = hn::MulAdd(error, error, squares.v[u]);
      if (!x.gradient) return;
      const V gradient = hn::Mul(error, factor);
      whole ? store(gradient, x.gradient + i) : store_n(gradient, x.gradient + i, count);
      if (one_column) column.v[u] = hn::Add(column.v[u], gradient);
    };
    Index i = begin;
    for (; i + 4 * kLanesSigned <= end; i += 4 * kLanesSigned) {
#pragma GCC unroll 4
      for (int u = 0; u < 4; u++) element(std::true_type(), i + u * kLanesSigned, u, kLanes);
    }
    for (int u = 0; i + kLanesSigned <= end; i += kLanesSigned, u++) element(std::true_type(), i, u, kLanes);
    if (i < end) element(std::false_type(), i, 3, static_cast<std::size_t>(end - i));
    loss += static_cast<double>(squares.total());
  }
  if (x.loss) *x.loss = static_cast<float>(loss * scale);
  if (!x.column_sums) return;
  if (one_column) {
    *x.column_sums = column.total();
    return;
  }
  each_place(0, s.columns, [&](auto at) HWY_ATTR {
    V total = zero();
    for (Index r = 0; r < s.rows; r++) {
      const Index row = r * s.columns;
      total = hn::MulAdd(hn::Sub(at.read(x.input + row), at.read(x.target + row)), factor, total);
    }
    at.write(total, x.column_sums);
  });
}

}  // namespace levin::compile::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace levin::compile::kernels {

HWY_EXPORT(RunCrossEntropy);
HWY_EXPORT(RunNllForward);
HWY_EXPORT(RunNllBackward);
HWY_EXPORT(RunSoftmaxForward);
HWY_EXPORT(RunSoftmaxBackward);
HWY_EXPORT(RunMse);

CrossEntropyFn select_cross_entropy(const CrossEntropy&) { return LEVIN_BEST(RunCrossEntropy); }
std::size_t cross_entropy_workspace(const CrossEntropy&) { return 0; }
NllForwardFn select_nll_forward(const Nll&) { return LEVIN_BEST(RunNllForward); }
NllBackwardFn select_nll_backward(const Nll&) { return LEVIN_BEST(RunNllBackward); }
SoftmaxForwardFn select_softmax_forward(const Softmax&) { return LEVIN_BEST(RunSoftmaxForward); }
SoftmaxBackwardFn select_softmax_backward(const Softmax&) { return LEVIN_BEST(RunSoftmaxBackward); }
MseFn select_mse(const Mse&) { return LEVIN_BEST(RunMse); }

}  // namespace levin::compile::kernels
#endif
