#include <levin/compile/kernels/pointwise.h>

#include <levin/core/error.h>

#include <functional>
#include <optional>

#include "compile/kernels/kernels_test_impl.h"

namespace levin::compile::kernels {
namespace {

using namespace levin::compile::kernels::testing;

double phi(double x) { return 0.5 * std::erfc(-x * std::sqrt(0.5)); }
double logistic(double x) { return 1 / (1 + std::exp(-x)); }
double soft(double x) { return x > 30 ? x : std::log1p(std::exp(x)); }
double step(bool condition) { return condition ? 1 : 0; }
double gelu_inner(double x) { return std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x); }

struct Case {
  Opcode code;
  std::function<double(double, double, double)> f;
  double ulps = 2;      // allowed, beside `absolute`
  double absolute = 0;  // for functions that cancel: of the size of their terms
  float p = 0, q = 0, r = 0;
  float low = -4, high = 4;  // of a and of b, c
  std::optional<float> b_low = {}, b_high = {};
};

const std::vector<Case>& cases() {
  using enum Opcode;
  static const std::vector<Case> all = {
      {copy, [](double a, double, double) { return a; }, 0},
      {add, [](double a, double b, double) { return a + b; }, 1},
      {sub, [](double a, double b, double) { return a - b; }, 1},
      {mul, [](double a, double b, double) { return a * b; }, 1},
      {div, [](double a, double b, double) { return a / b; }, 1},
      {add_scaled, [](double a, double b, double) { return a + 0.75 * b; }, 1, 5e-7, 0.75F},
      {sub_scaled, [](double a, double b, double) { return a - 0.75 * b; }, 1, 5e-7, 0.75F},
      {scale_shift, [](double a, double, double) { return 0.75 * a + 2; }, 1, 5e-7, 0.75F, 2},
      {add_product, [](double a, double b, double c) { return a + 0.5 * b * c; }, 1, 1e-6, 0.5F},
      {add_quotient,
       [](double a, double b, double c) { return a + 0.5 * b / c; }, 1, 1e-6, 0.5F, 0, 0, -4, 4, 1.F, 4.F},
      {lerp, [](double a, double b, double) { return a + 0.25 * (b - a); }, 2, 1e-6, 0.25F},
      {lerp, [](double a, double b, double) { return a + 0.75 * (b - a); }, 2, 1e-6, 0.75F},
      {neg, [](double a, double, double) { return -a; }, 0},
      {abs, [](double a, double, double) { return std::abs(a); }, 0},
      {sign, [](double a, double, double) { return step(a > 0) - step(a < 0); }, 0},
      {square, [](double a, double, double) { return a * a; }, 1},
      {reciprocal, [](double a, double, double) { return 1 / a; }, 1},
      {sqrt, [](double a, double, double) { return std::sqrt(a); }, 1, 0, 0, 0, 0, 0, 9},
      {rsqrt, [](double a, double, double) { return 1 / std::sqrt(a); }, 2, 0, 0, 0, 0, 0.01F, 9},
      {minimum, [](double a, double b, double) { return std::min(a, b); }, 0},
      {maximum, [](double a, double b, double) { return std::max(a, b); }, 0},
      {clamp, [](double a, double, double) { return std::min(std::max(a, -1.0), 2.0); }, 0, 0, -1, 2},
      {floor, [](double a, double, double) { return std::floor(a); }, 0},
      {ceil, [](double a, double, double) { return std::ceil(a); }, 0},
      {round, [](double a, double, double) { return std::nearbyint(a); }, 0},
      {trunc, [](double a, double, double) { return std::trunc(a); }, 0},
      {frac, [](double a, double, double) { return a - std::trunc(a); }, 0},
      {equal, [](double a, double b, double) { return step(a == b); }, 0},
      {not_equal, [](double a, double b, double) { return step(a != b); }, 0},
      {less, [](double a, double b, double) { return step(a < b); }, 0},
      {less_equal, [](double a, double b, double) { return step(a <= b); }, 0},
      {greater, [](double a, double b, double) { return step(a > b); }, 0},
      {greater_equal, [](double a, double b, double) { return step(a >= b); }, 0},
      {is_nan, [](double, double, double) { return 0.0; }, 0},
      {logical_not, [](double a, double, double) { return step(a == 0); }, 0},
      {logical_and, [](double a, double b, double) { return step(a != 0 && b != 0); }, 0},
      {logical_or, [](double a, double b, double) { return step(a != 0 || b != 0); }, 0},
      {where, [](double a, double b, double c) { return a != 0 ? b : c; }, 0},
      {exp, [](double a, double, double) { return std::exp(a); }, 2, 0, 0, 0, 0, -100, 88},
      {exp2, [](double a, double, double) { return std::exp2(a); }, 2, 0, 0, 0, 0, -100, 100},
      {expm1, [](double a, double, double) { return std::expm1(a); }, 3, 0, 0, 0, 0, -20, 88},
      {expm1, [](double a, double, double) { return std::expm1(a); }, 3, 0, 0, 0, 0, -0.5F, 0.5F},
      {log, [](double a, double, double) { return std::log(a); }, 2, 0, 0, 0, 0, 1e-6F, 50},
      {log2, [](double a, double, double) { return std::log2(a); }, 3, 0, 0, 0, 0, 1e-6F, 50},
      {log10, [](double a, double, double) { return std::log10(a); }, 3, 0, 0, 0, 0, 1e-6F, 50},
      {log1p, [](double a, double, double) { return std::log1p(a); }, 3, 0, 0, 0, 0, -0.99F, 10},
      {sin, [](double a, double, double) { return std::sin(a); }, 4, 1e-7, 0, 0, 0, -300, 300},
      {cos, [](double a, double, double) { return std::cos(a); }, 4, 1e-7, 0, 0, 0, -300, 300},
      {sin, [](double a, double, double) { return std::sin(a); }, 4, 1e-7, 0, 0, 0, -1e6F, 1e6F},
      {tan, [](double a, double, double) { return std::tan(a); }, 2},
      {sinh, [](double a, double, double) { return std::sinh(a); }, 2},
      {cosh, [](double a, double, double) { return std::cosh(a); }, 2},
      {atan, [](double a, double, double) { return std::atan(a); }, 2},
      {erf, [](double a, double, double) { return std::erf(a); }, 2},
      {pow, [](double a, double b, double) { return std::pow(a, b); }, 2, 0, 0, 0, 0, 0.1F, 4},
      {pow_scalar, [](double a, double, double) { return std::pow(a, 1.5); }, 2, 0, 1.5F, 0, 0, 0, 9},
      {pow_scalar, [](double a, double, double) { return a * a * a; }, 2, 0, 3},
      {pow_scalar, [](double a, double, double) { return 1 / (a * a); }, 2, 0, -2},
      {pow_scalar, [](double a, double, double) { return std::sqrt(a); }, 1, 0, 0.5F, 0, 0, 0, 9},
      {relu, [](double a, double, double) { return std::max(a, 0.0); }, 0},
      {threshold, [](double a, double, double) { return a > 0.5 ? a : -7; }, 0, 0, 0.5F, -7},
      {threshold_backward, [](double a, double b, double) { return b > 0.5 ? a : 0; }, 0, 0, 0.5F},
      {tanh, [](double a, double, double) { return std::tanh(a); }, 4, 0, 0, 0, 0, -12, 12},
      {tanh, [](double a, double, double) { return std::tanh(a); }, 4, 0, 0, 0, 0, -0.1F, 0.1F},
      {tanh_backward, [](double a, double b, double) { return a * (1 - b * b); }, 2, 1e-6},
      {sigmoid, [](double a, double, double) { return logistic(a); }, 3, 0, 0, 0, 0, -80, 80},
      {sigmoid_backward, [](double a, double b, double) { return a * (1 - b) * b; }, 3},
      {log_sigmoid, [](double a, double, double) { return -soft(-a); }, 4, 0, 0, 0, 0, -50, 50},
      {log_sigmoid_backward, [](double a, double b, double) { return a * logistic(-b); }, 4},
      {leaky_relu, [](double a, double, double) { return a > 0 ? a : 0.0625 * a; }, 1, 0, 0.0625F},
      {leaky_relu_backward, [](double a, double b, double) { return b > 0 ? a : 0.0625 * a; }, 1, 0, 0.0625F},
      {elu, [](double a, double, double) { return a > 0 ? 1.5 * a : 2 * std::expm1(0.5 * a); }, 4, 0, 2, 1.5F, 0.5F},
      {elu_backward,
       [](double a, double b, double) { return b > 0 ? 1.5 * a : a * std::exp(0.5 * b); }, 4, 0, 2, 1.5F, 0.5F},
      {elu_backward_result,
       [](double a, double b, double) { return b > 0 ? 1.5 * a : a * 0.5 * (b + 2); }, 4, 1e-6, 2, 1.5F, 0.5F},
      {gelu, [](double a, double, double) { return a * phi(a); }, 4, 2e-7},
      {gelu_backward,
       [](double a, double b, double) { return a * (phi(b) + b * std::exp(-b * b / 2) / std::sqrt(2 * M_PI)); },
        4, 1e-6},
      {gelu_tanh, [](double a, double, double) { return a / 2 * (1 + std::tanh(gelu_inner(a))); }, 4, 5e-7},
      {gelu_tanh_backward,
       [](double a, double b, double) {
         const double t = std::tanh(gelu_inner(b));
         return a * (0.5 * (1 + t) + 0.5 * b * (1 - t * t) * std::sqrt(2 / M_PI) * (1 + 3 * 0.044715 * b * b));
       }, 4, 3e-6},
      {silu, [](double a, double, double) { return a * logistic(a); }, 4},
      {silu_backward,
       [](double a, double b, double) { return a * logistic(b) * (1 + b * (1 - logistic(b))); }, 4, 1e-6},
      {mish, [](double a, double, double) { return a * std::tanh(soft(a)); }, 4, 0, 0, 0, 0, -30, 30},
      {mish_backward,
       [](double a, double b, double) {
         const double t = std::tanh(soft(b));
         return a * (t + b * logistic(b) * (1 - t * t));
       }, 4, 1e-6},
      {softplus, [](double a, double, double) { return 2 * a > 20 ? a : soft(2 * a) / 2; }, 4, 0, 2, 20, 0, -15, 15},
      {softplus_backward,
       [](double a, double b, double) { return 2 * b > 20 ? a : a * logistic(2 * b); }, 4, 0, 2, 20, 0, -15, 15},
      {hardtanh_backward, [](double a, double b, double) { return b > -1 && b < 2 ? a : 0; }, 0, 0, -1, 2},
      {clamp_backward, [](double a, double b, double) { return b >= -1 && b <= 2 ? a : 0; }, 0, 0, -1, 2},
      {hardswish, [](double a, double, double) { return a * std::min(std::max(a + 3, 0.0), 6.0) / 6; }, 3, 2e-7},
      {hardswish_backward,
       [](double a, double b, double) { return b <= -3 ? 0 : b < 3 ? a * (b / 3 + 0.5) : a; }, 3, 1e-6},
      {hardsigmoid, [](double a, double, double) { return std::min(std::max(a + 3, 0.0), 6.0) / 6; }, 2, 1e-7},
      {hardsigmoid_backward, [](double a, double b, double) { return b > -3 && b < 3 ? a / 6 : 0; }, 1},
      {softsign, [](double a, double, double) { return a / (1 + std::abs(a)); }, 2},
      {hardshrink, [](double a, double, double) { return std::abs(a) <= 0.5 ? 0 : a; }, 0, 0, 0.5F},
      {softshrink, [](double a, double, double) { return a > 0.5 ? a - 0.5 : a < -0.5 ? a + 0.5 : 0; }, 1, 0, 0.5F},
      {shrink_backward, [](double a, double b, double) { return std::abs(b) <= 0.5 ? 0 : a; }, 0, 0, 0.5F},
      {squared_error, [](double a, double b, double) { return (a - b) * (a - b); }, 3},
      {absolute_error, [](double a, double b, double) { return std::abs(a - b); }, 1},
      {huber,
       [](double a, double b, double) { const double z = std::abs(a - b); return z < 1.5 ? z * z / 2 : 1.5 * (z - 0.75); },
        4, 0, 1.5F},
      {smooth_l1,
       [](double a, double b, double) { const double z = std::abs(a - b); return z < 1.5 ? z * z / 3 : z - 0.75; },
        4, 0, 1.5F},
      {bce,
       [](double a, double b, double) {
         return -b * std::max(std::log(a), -100.0) - (1 - b) * std::max(std::log1p(-a), -100.0);
       },
       4, 3e-7, 0, 0, 0, 0.001F, 0.999F},
      {bce_logits, [](double a, double b, double) { return (1 - b) * a + soft(-a); }, 4, 2e-6},
      {huber_backward,
       [](double a, double b, double c) { return c * std::min(std::max(a - b, -1.5), 1.5); }, 2, 0, 1.5F},
      {smooth_l1_backward,
       [](double a, double b, double c) { return c * std::min(std::max((a - b) / 1.5, -1.0), 1.0); }, 3, 0, 1.5F},
      {bce_backward,
       [](double a, double b, double c) { return c * (a - b) / std::max((1 - a) * a, 1e-12); },
        4, 0, 0, 0, 0, 0.001F, 0.999F},
      {bce_logits_backward, [](double a, double b, double c) { return c * (logistic(a) - b); }, 4, 2e-6},
  };
  return all;
}

std::vector<float*> pointers(std::vector<Floats>& all) {
  std::vector<float*> result;
  for (Floats& each : all) result.push_back(each.data());
  return result;
}

/** Runs a group over fresh memory and gives its outputs. */
std::vector<Floats> run(const Pointwise& group, std::vector<Floats>& inputs, std::int64_t pieces = 1) {
  const PointwiseProgram program(group);
  std::vector<Floats> outputs;
  for (const PointwiseOutput& output : group.outputs) outputs.emplace_back(output.sum ? 1 : group.outer * group.inner);
  std::vector<std::byte> workspace(program.workspace() + 8);
  const std::vector<float*> in = pointers(inputs), out = pointers(outputs);
  const std::int64_t grains = program.grain() == 0 ? 0 : program.size() / program.grain();
  for (std::int64_t i = 0; i < pieces; i++) {
    program.run(in.data(), out.data(), workspace.data(), grains * i / pieces * program.grain(),
                grains * (i + 1) / pieces * program.grain());
  }
  for (const Floats& output : outputs) EXPECT_TRUE(output.intact());
  return outputs;
}

TEST(KernelsPointwise, EveryOperationAgainstDouble) {
  std::vector<bool> seen(static_cast<std::size_t>(Opcode::count_), false);
  for_each_instruction_set([&] {
    unsigned seed = 0;
    for (const Case& c : cases()) {
      SCOPED_TRACE(name_of(c.code));
      seen[static_cast<std::size_t>(c.code)] = true;
      const int operands = arity(c.code);
      constexpr std::int64_t n = 203;
      Random random(++seed);
      std::vector<Floats> inputs = {random.floats(n, c.low, c.high)};
      for (int i = 1; i < operands; i++)
        inputs.push_back(random.floats(n, c.b_low.value_or(c.low), c.b_high.value_or(c.high)));
      inputs[0][5] = std::max(0.F, c.low);
      if (operands > 1) inputs[1][7] = inputs[0][7];
      Pointwise group{.outer = 1, .inner = n, .outputs = {{.from = operands}}};
      group.inputs.resize(static_cast<std::size_t>(operands));
      group.ops = {{.code = c.code,
                    .a = 0,
                    .b = operands > 1 ? 1 : -1,
                    .c = operands > 2 ? 2 : -1,
                    .p = c.p,
                    .q = c.q,
                    .r = c.r}};
      const Floats out = run(group, inputs)[0];
      for (std::int64_t i = 0; i < n; i++) {
        const double expected = c.f(inputs[0][i], operands > 1 ? inputs[1][i] : 0, operands > 2 ? inputs[2][i] : 0);
        const double off = ulps(out[i], expected);
        ASSERT_TRUE(off <= c.ulps || std::abs(out[i] - expected) <= c.absolute * (1 + std::abs(expected)))
            << out[i] << " instead of " << expected << " (" << off << " ulp) of " << inputs[0][i]
            << (operands > 1 ? " and " + std::to_string(inputs[1][i]) : "");
      }
    }
  });
  for (std::size_t i = 0; i < seen.size(); i++)
    EXPECT_TRUE(seen[i]) << name_of(static_cast<Opcode>(i)) << " has no case";
}

TEST(KernelsPointwise, SpecialValuesOfFunctions) {
  struct Special {
    Opcode code;
    float argument, result;
  };
  using enum Opcode;
  const std::vector<Special> all = {
      {exp, -kInf, 0},
      {exp, kInf, kInf},
      {exp, kNaN, kNaN},
      {exp, 89, kInf},
      {exp, -104, 0},
      {exp, 0, 1},
      {expm1, -kInf, -1},
      {expm1, kInf, kInf},
      {expm1, kNaN, kNaN},
      {expm1, 0, 0},
      {expm1, 1e-20F, 1e-20F},
      {log, 0, -kInf},
      {log, -1, kNaN},
      {log, kInf, kInf},
      {log, kNaN, kNaN},
      {log, 1, 0},
      {log2, 0, -kInf},
      {log2, 8, 3},
      {log2, kInf, kInf},
      {log10, 0, -kInf},
      {log10, kInf, kInf},
      {log10, -1, kNaN},
      {log1p, -1, -kInf},
      {log1p, -2, kNaN},
      {log1p, kInf, kInf},
      {log1p, kNaN, kNaN},
      {log1p, 1e-20F, 1e-20F},
      {sin, kInf, kNaN},
      {sin, kNaN, kNaN},
      {cos, -kInf, kNaN},
      {cos, 0, 1},
      {atan, kNaN, kNaN},
      {erf, kInf, 1},
      {erf, -kInf, -1},
      {erf, kNaN, kNaN},
      {erf, 0, 0},
      {tanh, kInf, 1},
      {tanh, -kInf, -1},
      {tanh, kNaN, kNaN},
      {tanh, 1e-20F, 1e-20F},
      {sigmoid, kInf, 1},
      {sigmoid, -kInf, 0},
      {sigmoid, kNaN, kNaN},
      {log_sigmoid, -kInf, -kInf},
      {log_sigmoid, kInf, 0},
      {relu, kNaN, kNaN},
      {relu, -kInf, 0},
      {relu, kInf, kInf},
      {clamp, kNaN, kNaN},
      {sign, kNaN, 0},
      {is_nan, kNaN, 1},
      {gelu, kNaN, kNaN},
      {silu, kNaN, kNaN},
      {mish, kInf, kInf},
      {mish, kNaN, kNaN},
      {sqrt, -1, kNaN},
      {reciprocal, 0, kInf},
      {hardswish, kNaN, kNaN},
      {leaky_relu, kNaN, kNaN},
      {elu, kNaN, kNaN},
      {round, 2.5F, 2},
      {round, -0.5F, 0},
      {softplus, kNaN, kNaN},
  };
  for_each_instruction_set([&] {
    for (const Special& s : all) {
      SCOPED_TRACE(std::string(name_of(s.code)) + " of " + std::to_string(s.argument));
      std::vector<Floats> inputs = {Floats(19, s.argument)};
      const Pointwise group{
          .inner = 19, .inputs = {{}}, .ops = {{.code = s.code, .p = 0, .q = 1}}, .outputs = {{.from = 1}}};
      const Floats out = run(group, inputs)[0];
      for (const std::int64_t i : {0, 18}) {
        if (std::isnan(s.result)) {
          EXPECT_TRUE(std::isnan(out[i])) << out[i];
        } else {
          EXPECT_EQ(out[i], s.result);
        }
      }
    }
    for (const Opcode code : {Opcode::minimum, Opcode::maximum}) {
      for (const auto& [a, b] : {std::pair(kNaN, 1.F), std::pair(1.F, kNaN)}) {
        std::vector<Floats> inputs = {Floats(3, a), Floats(3, b)};
        const Pointwise group{
            .inner = 3, .inputs = {{}, {}}, .ops = {{.code = code, .a = 0, .b = 1}}, .outputs = {{.from = 2}}};
        EXPECT_TRUE(std::isnan(run(group, inputs)[0][1]));
      }
    }
    std::vector<Floats> inputs = {Floats(5, 2), Floats(5, kNaN)};
    const Pointwise backward{.inner = 5,
                             .inputs = {{}, {}},
                             .ops = {{.code = Opcode::threshold_backward, .a = 0, .b = 1}},
                             .outputs = {{.from = 2}}};
    EXPECT_EQ(run(backward, inputs)[0][0], 2) << "as ATen's";
  });
}

/** logistic((x + row) * column - scalar) * 3, with the sum of it and of x, against doubles. */
TEST(KernelsPointwise, BroadcastsAndSums) {
  for_each_instruction_set([] {
    for (const std::int64_t outer : {1, 2, 7, 100}) {
      for (const std::int64_t inner : {1, 3, 16, 65, 511, 513, 1500}) {
        SCOPED_TRACE(std::to_string(outer) + " x " + std::to_string(inner));
        Random random(static_cast<unsigned>(outer * 10000 + inner));
        std::vector<Floats> inputs = {random.floats(outer * inner), random.floats(inner), random.floats(outer),
                                      random.floats(1), Floats(1)};
        Pointwise group{.outer = outer,
                        .inner = inner,
                        .inputs = {{}, {Layout::row}, {Layout::column}, {Layout::scalar}, {Layout::constant, 3}},
                        .ops = {{Opcode::add, 0, 1},
                                {Opcode::mul, 5, 2},
                                {Opcode::exp, 0},
                                {Opcode::sub, 6, 3},
                                {Opcode::sigmoid, 8},
                                {Opcode::mul, 9, 4}},
                        .outputs = {{.from = 10}, {.from = 6}}};
        const std::vector<Floats> whole = run(group, inputs), parts = run(group, inputs, 3);
        EXPECT_TRUE(whole[0].same_bits(parts[0]));
        EXPECT_TRUE(whole[1].same_bits(parts[1]));
        group.outputs.push_back({.from = 10, .sum = true, .scale = 0.5F});
        group.outputs.push_back({.from = 0, .sum = true, .scale = 1});
        const std::vector<Floats> summed = run(group, inputs);
        EXPECT_TRUE(whole[0].same_bits(summed[0]));
        double sum = 0, sum_x = 0;
        for (std::int64_t i = 0; i < outer; i++) {
          for (std::int64_t j = 0; j < inner; j++) {
            const double product = (static_cast<double>(inputs[0][i * inner + j]) + inputs[1][j]) * inputs[2][i];
            const double value = 3 * logistic(product - inputs[3][0]);
            ASSERT_TRUE(close(whole[0][i * inner + j], value, 1e-6, 3));
            ASSERT_TRUE(close(whole[1][i * inner + j], product, 1e-6, 2));
            sum += value;
            sum_x += inputs[0][i * inner + j];
          }
        }
        EXPECT_TRUE(close(summed[2][0], sum / 2, 1e-6, sum + 1));
        EXPECT_TRUE(close(summed[3][0], sum_x, 1e-6, static_cast<double>(outer * inner)));
      }
    }
  });
}

TEST(KernelsPointwise, InPlaceAndManyRegisters) {
  for_each_instruction_set([] {
    constexpr std::int64_t n = 1300;
    Random random(3);
    const Floats x = random.floats(n), y = random.floats(n);
    // z = relu(x) into x's own memory, then x + y, which needs x as it was.
    Pointwise group{.inner = n,
                    .inputs = {{}, {}},
                    .ops = {{Opcode::relu, 0}, {Opcode::add, 0, 1}},
                    .outputs = {{.from = 2}, {.from = 3}}};
    const PointwiseProgram program(group);
    std::vector<std::byte> workspace(program.workspace());
    Floats in_place = x, sum(n);
    const float* inputs[] = {in_place.data(), y.data()};
    float* outputs[] = {in_place.data(), sum.data()};
    program.run(inputs, outputs, workspace.data(), 0, n);
    for (std::int64_t i = 0; i < n; i++) {
      ASSERT_EQ(in_place[i], std::max(x[i], 0.F));
      ASSERT_EQ(sum[i], x[i] + y[i]);
    }
    // A chain whose registers all stay alive to the end.
    Pointwise chain{.inner = n, .inputs = {{}}};
    for (int i = 0; i < 30; i++) chain.ops.push_back({.code = Opcode::scale_shift, .a = i, .p = 1, .q = 1});
    for (int i = 0; i < 30; i++) chain.ops.push_back({.code = Opcode::add, .a = 30 + i, .b = 29 - i});
    chain.outputs = {{.from = 60}};
    std::vector<Floats> only = {x};
    const Floats out = run(chain, only)[0];
    double counts = 30;
    for (int i = 0; i < 30; i++) counts += i;
    for (std::int64_t i = 0; i < n; i++) ASSERT_TRUE(close(out[i], 31.0 * x[i] + counts, 1e-6, 500));
  });
}

TEST(KernelsPointwise, MistakesAreRefused) {
  const Pointwise unknown{.inner = 4, .inputs = {{}}, .ops = {{Opcode::add, 0, 1}}, .outputs = {{.from = 1}}};
  EXPECT_THROW(PointwiseProgram{unknown}, Error);
  const Pointwise no_output{.inner = 4, .inputs = {{}}, .ops = {{Opcode::relu, 0}}};
  EXPECT_THROW(PointwiseProgram{no_output}, Error);
  const Pointwise bad_output{.inner = 4, .inputs = {{}}, .ops = {}, .outputs = {{.from = 3}}};
  EXPECT_THROW(PointwiseProgram{bad_output}, Error);
  EXPECT_EQ(name_of(Opcode::gelu_tanh_backward), "gelu_tanh_backward");
  EXPECT_EQ(arity(Opcode::where), 3);
}

}  // namespace
}  // namespace levin::compile::kernels
