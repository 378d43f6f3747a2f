// Fused pointwise computation: operations over virtual registers, run in tiles that stay in the first cache.
#pragma once

#include <levin/core/export.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

namespace levin::compile::kernels {

/**
 * Operations on elements; a, b and c are registers, p and q the operation's parameters. As ATen's, NaN and infinity
 * included.
 */
enum class Opcode : std::uint8_t {
  // Arithmetic
  copy,
  add,
  sub,
  mul,
  div,
  add_scaled,    ///< a + p b
  sub_scaled,    ///< a - p b
  scale_shift,   ///< p a + q
  add_product,   ///< a + p b c (addcmul)
  add_quotient,  ///< a + p b / c (addcdiv)
  lerp,          ///< a + p (b - a), as ATen's on both sides of p = 0.5
  neg,
  abs,
  sign,
  square,
  reciprocal,
  sqrt,
  rsqrt,
  minimum,
  maximum,  ///< NaN if one of both is
  clamp,    ///< to [p, q]; NaN stays
  floor,
  ceil,
  round,
  trunc,
  frac,
  // Comparisons give 0 or 1
  equal,
  not_equal,
  less,
  less_equal,
  greater,
  greater_equal,
  is_nan,
  logical_not,
  logical_and,
  logical_or,
  where,  ///< a != 0 ? b : c
  // Elementary functions
  exp,
  exp2,
  expm1,
  log,
  log2,
  log10,
  log1p,
  sin,
  cos,
  tan,
  sinh,
  cosh,
  atan,
  erf,
  pow,         ///< a to the power b
  pow_scalar,  ///< a to the power p
  // Activations and their derivatives; the latter take the arriving gradient as a
  relu,
  threshold,           ///< a > p ? a : q
  threshold_backward,  ///< b > p ? a : 0 (relu's with p = 0, of relu's argument or result)
  tanh,
  tanh_backward,  ///< b: the result
  sigmoid,
  sigmoid_backward,  ///< b: the result
  log_sigmoid,
  log_sigmoid_backward,  ///< b: the argument
  leaky_relu,
  leaky_relu_backward,  ///< slope p; b: the argument or, if p > 0, the result
  elu,                  ///< a > 0 ? s a : n (exp(t a) - 1): p = n, q = s, r = t (celu, selu too)
  elu_backward,         ///< b: the argument; p, q, r as elu's
  elu_backward_result,  ///< b: the result; p, q, r as elu's
  gelu,
  gelu_backward,  ///< by erf; b: the argument
  gelu_tanh,
  gelu_tanh_backward,  ///< b: the argument
  silu,
  silu_backward,
  mish,
  mish_backward,  ///< b: the argument
  softplus,
  softplus_backward,  ///< beta p, threshold q; b: the argument
  hardtanh_backward,  ///< p < b < q ? a : 0 (hardtanh and relu6 are clamp)
  clamp_backward,     ///< p <= b <= q ? a : 0
  hardswish,
  hardswish_backward,
  hardsigmoid,
  hardsigmoid_backward,  ///< b: the argument
  softsign,
  hardshrink,
  softshrink,       ///< lambda p
  shrink_backward,  ///< -p <= b <= p ? 0 : a; b: the argument
  // Losses of an element: a the prediction, b the target
  squared_error,
  absolute_error,
  huber,      ///< delta p
  smooth_l1,  ///< beta p
  bce,        ///< of a probability, logarithms cut at -100
  bce_logits,
  huber_backward,       ///< c: the arriving gradient; delta p
  smooth_l1_backward,   ///< c: the arriving gradient; beta p
  bce_backward,         ///< c: the arriving gradient
  bce_logits_backward,  ///< c: the arriving gradient
  count_
};

/** How an input of a group is laid over its [outer, inner] elements. */
enum class Layout : std::uint8_t {
  full,      ///< [outer, inner], contiguous
  row,       ///< [inner], the same for each row
  column,    ///< [outer], the same along each row
  scalar,    ///< one element in memory
  constant,  ///< a value; its pointer is not read
};

struct PointwiseInput {
  Layout layout = Layout::full;
  float value = 0;  ///< of a constant
};

struct PointwiseOp {
  Opcode code = Opcode::copy;
  int a = 0, b = -1, c = -1;  ///< registers; -1 where the operation has fewer
  float p = 0, q = 0, r = 0;
};

struct PointwiseOutput {
  int from = 0;      ///< a register
  bool sum = false;  ///< one element, the sum of all, times `scale`; else [outer, inner]
  float scale = 1;
};

/**
 * A group: registers 0, 1, ... are the inputs, then comes one for each operation's result. An output may be the same
 * memory as a full input (relu_): an element is read before it is written.
 */
struct Pointwise {
  std::int64_t outer = 1, inner = 1;
  std::vector<PointwiseInput> inputs;
  std::vector<PointwiseOp> ops;
  std::vector<PointwiseOutput> outputs;

  /** Throws levin::Error when registers, operands or shapes make no sense. */
  LEVIN_API void check() const;
};

/** The lower-case name of an operation, for dumps: "add_scaled". */
LEVIN_API std::string_view name_of(Opcode code);
/** How many registers it reads: 1, 2 or 3. */
LEVIN_API int arity(Opcode code);

/** A group made ready to run; immutable, shared by threads. */
class PointwiseProgram {
 public:
  /** Checks the group, and drops operations whose results nobody uses. */
  LEVIN_API explicit PointwiseProgram(const Pointwise& group);
  LEVIN_API ~PointwiseProgram();
  LEVIN_API PointwiseProgram(PointwiseProgram&&) noexcept;
  LEVIN_API PointwiseProgram& operator=(PointwiseProgram&&) noexcept;

  /** Bytes that run() needs, of each thread. */
  std::size_t workspace() const { return workspace_; }
  /** begin and end of a range have to be multiples of this: 1, `inner` with broadcasts, everything with sums. */
  std::int64_t grain() const { return grain_; }
  std::int64_t size() const { return size_; }

  /** Computes elements [begin, end) of outer * inner. One pointer for each input, one for each output. */
  void run(const float* const* inputs, float* const* outputs, void* workspace, std::int64_t begin,
           std::int64_t end) const {
    run_(*plan_, inputs, outputs, workspace, begin, end);
  }

  struct Plan;

 private:
  using Run = void (*)(const Plan&, const float* const* inputs, float* const* outputs, void* workspace,
                       std::int64_t begin, std::int64_t end);
  std::unique_ptr<Plan> plan_;
  Run run_ = nullptr;
  std::size_t workspace_ = 0;
  std::int64_t grain_ = 1, size_ = 0;
};

}  // namespace levin::compile::kernels
