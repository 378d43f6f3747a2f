#include <levin/compile/kernels/lstm.h>

#include "compile/kernels/kernels_test_impl.h"

namespace levin::compile::kernels {
namespace {

using namespace levin::compile::kernels::testing;

double logistic(double x) { return 1 / (1 + std::exp(-x)); }

TEST(KernelsLstm, CellForwardAndBackward) {
  for_each_instruction_set([] {
    for (const std::int64_t width : {1, 7, 16, 33}) {
      constexpr std::int64_t rows = 5;
      const std::int64_t n = rows * width;
      Random random(6);
      const Floats x = random.floats(4 * n, -3, 3), h = random.floats(4 * n, -3, 3), bx = random.floats(4 * width),
                   bh = random.floats(4 * width), c = random.floats(n), dh = random.floats(n), dc = random.floats(n);
      Floats new_h(n), new_c(n), gates(4 * n), d_gates(4 * n), d_c(n), split_h(n), split_c(n);
      const LstmCell s{rows, width};
      const LstmForwardArgs f{x.data(), h.data(),     bx.data(),    bh.data(),
                              c.data(), new_h.data(), new_c.data(), gates.data()};
      select_lstm_forward(s)(s, f, 0, rows);
      LstmForwardArgs g = f;
      g.new_hidden = split_h.data(), g.new_cell = split_c.data(), g.gates = nullptr;
      select_lstm_forward(s)(s, g, 0, 2);
      select_lstm_forward(s)(s, g, 2, rows);
      EXPECT_TRUE(split_h.same_bits(new_h) && split_c.same_bits(new_c));
      select_lstm_backward(s)(
          s, {dh.data(), dc.data(), c.data(), new_c.data(), gates.data(), d_gates.data(), d_c.data()}, 0, rows);
      for (std::int64_t r = 0; r < rows; r++) {
        for (std::int64_t j = 0; j < width; j++) {
          const std::int64_t at = r * width + j;
          const auto pre = [&](std::int64_t k) {
            const std::int64_t q = (4 * r + k) * width + j;
            return static_cast<double>(x[q]) + h[q] + bx[k * width + j] + bh[k * width + j];
          };
          const double i = logistic(pre(0)), forget = logistic(pre(1)), candidate = std::tanh(pre(2)),
                       o = logistic(pre(3));
          const double cell = forget * c[at] + i * candidate, t = std::tanh(cell);
          ASSERT_TRUE(close(new_c[at], cell, 1e-6, 1));
          ASSERT_TRUE(close(new_h[at], o * t, 1e-6, 1));
          const double d_cell = dc[at] + dh[at] * o * (1 - t * t);
          const double expected[] = {d_cell * candidate * i * (1 - i), d_cell * c[at] * forget * (1 - forget),
                                     d_cell * i * (1 - candidate * candidate), dh[at] * t * o * (1 - o)};
          for (std::int64_t k = 0; k < 4; k++)
            ASSERT_TRUE(close(d_gates[(4 * r + k) * width + j], expected[k], 2e-6, 1)) << k;
          ASSERT_TRUE(close(d_c[at], d_cell * forget, 1e-6, 2));
        }
      }
      EXPECT_TRUE(new_h.intact() && new_c.intact() && gates.intact() && d_gates.intact() && d_c.intact());
    }
  });
}

}  // namespace
}  // namespace levin::compile::kernels
