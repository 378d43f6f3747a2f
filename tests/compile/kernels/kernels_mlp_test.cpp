#include <levin/compile/kernels/mlp.h>

#include "compile/kernels/kernels_test_impl.h"

namespace levin::compile::kernels {
namespace {

using namespace levin::compile::kernels::testing;

TEST(KernelsMlp, ForwardAndBackward) {
  for_each_instruction_set([] {
    for (const std::int64_t inputs : {1, 2, 3, 4}) {
      for (const std::int64_t rows : {1, 5, 100, 131}) {
        for (const std::int64_t width : {1, 7, 16, 40}) {
          for (const bool accumulate : {false, true}) {
            const Mlp m{rows, inputs, width};
            Random random(static_cast<unsigned>(rows * width + inputs));
            const Floats x = random.floats(rows * inputs), w1 = random.floats(width * inputs),
                         b1 = random.floats(width), w2 = random.floats(width), b2 = random.floats(1),
                         dy = random.floats(rows);
            Floats y(rows), dw1(width * inputs, 1), db1(width, 1), dw2(width, 1), db2(1, 1);
            select_mlp_forward(m)(m, {x.data(), w1.data(), b1.data(), w2.data(), b2.data(), y.data()});
            select_mlp_backward(m)(m, {x.data(), w1.data(), b1.data(), w2.data(), dy.data(), dw1.data(), db1.data(),
                                       dw2.data(), db2.data(), accumulate});
            const double start = accumulate ? 1 : 0, size = static_cast<double>(rows + width);
            std::vector<double> out(static_cast<std::size_t>(rows), b2[0]);
            double sum_dy = start;
            for (std::int64_t r = 0; r < rows; r++) sum_dy += dy[r];
            for (std::int64_t h = 0; h < width; h++) {
              double of_w2 = start, of_b1 = start;
              std::vector<double> of_w1(static_cast<std::size_t>(inputs), start);
              for (std::int64_t r = 0; r < rows; r++) {
                double hidden = b1[h];
                for (std::int64_t i = 0; i < inputs; i++)
                  hidden += static_cast<double>(x[r * inputs + i]) * w1[h * inputs + i];
                out[static_cast<std::size_t>(r)] += std::max(hidden, 0.0) * w2[h];
                of_w2 += std::max(hidden, 0.0) * dy[r];
                const double d = hidden > 0 ? static_cast<double>(dy[r]) * w2[h] : 0;
                of_b1 += d;
                for (std::int64_t i = 0; i < inputs; i++) of_w1[static_cast<std::size_t>(i)] += d * x[r * inputs + i];
              }
              ASSERT_TRUE(close(dw2[h], of_w2, 1e-6, size));
              ASSERT_TRUE(close(db1[h], of_b1, 1e-6, size));
              for (std::int64_t i = 0; i < inputs; i++)
                ASSERT_TRUE(close(dw1[h * inputs + i], of_w1[static_cast<std::size_t>(i)], 1e-6, size));
            }
            EXPECT_TRUE(close(db2[0], sum_dy, 1e-6, size));
            for (std::int64_t r = 0; r < rows; r++)
              ASSERT_TRUE(close(y[r], out[static_cast<std::size_t>(r)], 1e-6, size));
            EXPECT_TRUE(y.intact() && dw1.intact() && db1.intact() && dw2.intact());
          }
        }
      }
    }
  });
}

TEST(KernelsMlp, NanIsNotLost) {
  for_each_instruction_set([] {
    const Mlp m{4, 1, 16};
    Floats x(4, 1), y(4);
    x[2] = kNaN;
    const Floats ones(16, 1), b(1);
    select_mlp_forward(m)(m, {x.data(), ones.data(), ones.data(), ones.data(), b.data(), y.data()});
    EXPECT_TRUE(std::isnan(y[2]) && y[1] == 32);
  });
}

TEST(KernelsMlp, ManyInputsAreNotServed) {
  EXPECT_FALSE(mlp_is_fused({10, 5, 16}));
  EXPECT_THROW(select_mlp_forward({10, 5, 16}), std::runtime_error);
}

}  // namespace
}  // namespace levin::compile::kernels
