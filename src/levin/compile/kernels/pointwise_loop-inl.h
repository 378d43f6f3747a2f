// The loop around an operation on vectors. Compiled anew for each instruction set.
#if defined(LEVIN_KERNELS_POINTWISE_LOOP_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef LEVIN_KERNELS_POINTWISE_LOOP_INL_H
#undef LEVIN_KERNELS_POINTWISE_LOOP_INL_H
#else
#define LEVIN_KERNELS_POINTWISE_LOOP_INL_H
#endif

#include <levin/compile/kernels/math-inl.h>
#include <levin/compile/kernels/pointwise_ops_impl.h>

#include <cstring>

HWY_BEFORE_NAMESPACE();
namespace levin::compile::kernels::HWY_NAMESPACE {

/** The parameters of an operation in all lanes. */
struct P {
  V p, q, r;
};

// An operation is a struct with `static constexpr int arity` and `static V of(a, [b, [c,]] const P&)`.

template <class Op>
void pointwise_loop(const float* a, const float* b, const float* c, float* out, std::size_t n,
                    const PointwiseParameters& parameters) {
  const P p{set(parameters.p), set(parameters.q), set(parameters.r)};
  std::size_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    if constexpr (Op::arity == 1) {
      store(Op::of(load(a + i), p), out + i);
    } else if constexpr (Op::arity == 2) {
      store(Op::of(load(a + i), load(b + i), p), out + i);
    } else {
      store(Op::of(load(a + i), load(b + i), load(c + i), p), out + i);
    }
  }
  if (i == n) return;
  // The rest as a whole vector in memory of our own: one copy of the arithmetic is enough.
  const std::size_t bytes = (n - i) * sizeof(float);
  float x[kLanes] = {}, y[kLanes] = {}, z[kLanes] = {};
  std::memcpy(x, a + i, bytes);
  if constexpr (Op::arity >= 2) std::memcpy(y, b + i, bytes);
  if constexpr (Op::arity >= 3) std::memcpy(z, c + i, bytes);
  pointwise_loop<Op>(x, y, z, x, kLanes, parameters);
  std::memcpy(out + i, x, bytes);
}

}  // namespace levin::compile::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#define LEVIN_UNARY(NAME, ...)                                                            \
  struct NAME {                                                                           \
    static constexpr int arity = 1;                                                       \
    static HWY_INLINE V of([[maybe_unused]] V a, [[maybe_unused]] const P& p) __VA_ARGS__ \
  };
#define LEVIN_BINARY(NAME, ...)                                                                                 \
  struct NAME {                                                                                                 \
    static constexpr int arity = 2;                                                                             \
    static HWY_INLINE V of([[maybe_unused]] V a, [[maybe_unused]] V b, [[maybe_unused]] const P& p) __VA_ARGS__ \
  };
#define LEVIN_TERNARY(NAME, ...)                                                             \
  struct NAME {                                                                              \
    static constexpr int arity = 3;                                                          \
    static HWY_INLINE V of([[maybe_unused]] V a, [[maybe_unused]] V b, [[maybe_unused]] V c, \
                           [[maybe_unused]] const P& p) __VA_ARGS__                          \
  };

#endif  // LEVIN_KERNELS_POINTWISE_LOOP_INL_H
