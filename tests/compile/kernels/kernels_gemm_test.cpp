#include <levin/compile/kernels/gemm.h>

#include <algorithm>

#include "compile/kernels/kernels_test_impl.h"

namespace levin::compile::kernels {
namespace {

using namespace levin::compile::kernels::testing;

struct Operands {
  Floats a, b, c, bias, mask;
};

Operands random_operands(const Gemm& g, unsigned seed) {
  Random random(seed);
  const std::int64_t a_rows = g.transpose_a ? g.k : g.m, b_rows = g.transpose_b ? g.n : g.k;
  return {random.floats((g.batch - 1) * g.stride_a + a_rows * g.lda),
          random.floats((g.batch - 1) * g.stride_b + b_rows * g.ldb),
          random.floats((g.batch - 1) * g.stride_c + g.m * g.ldc), random.floats(g.n),
          random.floats((g.batch - 1) * g.stride_mask + g.m * std::max(g.ld_mask, g.n))};
}

GemmArgs args_of(Operands& x) { return {x.a.data(), x.b.data(), x.c.data(), x.bias.data(), x.mask.data()}; }

void run(const Gemm& g, Operands& x, const std::vector<std::int64_t>& cuts = {}) {
  std::vector<std::byte> workspace(gemm_workspace(g) + 1);
  const GemmFn gemm = select_gemm(g);
  std::int64_t begin = 0;
  for (const std::int64_t cut : cuts) {
    gemm(g, args_of(x), workspace.data(), begin, cut);
    begin = cut;
  }
  gemm(g, args_of(x), workspace.data(), begin, g.rows());
}

/** Compares with sums in double; `before` is C as it was. */
void expect_right(const Gemm& g, const Operands& x, const Floats& before) {
  EXPECT_TRUE(x.c.intact());
  for (std::int64_t batch = 0; batch < g.batch; batch++) {
    for (std::int64_t i = 0; i < g.m; i++) {
      for (std::int64_t j = 0; j < g.ldc; j++) {
        const std::int64_t at = batch * g.stride_c + i * g.ldc + j;
        if (j >= g.n) {
          ASSERT_EQ(x.c[at], before[at]) << "written between the rows";
          continue;
        }
        double value = 0, scale = 1e-30;
        for (std::int64_t k = 0; k < g.k; k++) {
          const double product =
              static_cast<double>(x.a[batch * g.stride_a + (g.transpose_a ? k * g.lda + i : i * g.lda + k)]) *
              x.b[batch * g.stride_b + (g.transpose_b ? j * g.ldb + k : k * g.ldb + j)];
          value += product;
          scale += std::abs(product);
        }
        value *= g.alpha;
        scale *= std::abs(g.alpha);
        if (g.bias) value += x.bias[j];
        if (g.accumulate) value += before[at];
        scale += 2;
        if (g.epilogue == Gemm::Epilogue::relu) value = std::max(value, 0.0);
        if (g.epilogue == Gemm::Epilogue::relu_mask && !(x.mask[batch * g.stride_mask + i * g.ld_mask + j] > 0))
          value = 0;
        ASSERT_TRUE(close(x.c[at], value, 1e-6, scale)) << "batch " << batch << " row " << i << " column " << j;
      }
    }
  }
}

Gemm shape(std::int64_t m, std::int64_t n, std::int64_t k, bool ta, bool tb, std::int64_t gap = 0) {
  return {.m = m,
          .n = n,
          .k = k,
          .transpose_a = ta,
          .transpose_b = tb,
          .lda = (ta ? m : k) + gap,
          .ldb = (tb ? k : n) + gap,
          .ldc = n + gap,
          .ld_mask = n + gap};
}

std::string name(const Gemm& g) {
  return std::to_string(g.m) + "x" + std::to_string(g.n) + "x" + std::to_string(g.k) + (g.transpose_a ? " A^T" : "") +
         (g.transpose_b ? " B^T" : "");
}

TEST(KernelsGemm, EveryShapeTransposeAndEpilogue) {
  for_each_instruction_set([] {
    unsigned seed = 0;
    for (const std::int64_t m : {1, 2, 6, 7, 13, 29, 43}) {
      for (const std::int64_t n : {1, 2, 8, 10, 16, 17, 33, 47}) {
        for (const std::int64_t k : {1, 3, 4, 16, 21, 67}) {
          for (int transposes = 0; transposes < 4; transposes++) {
            Gemm g = shape(m, n, k, (transposes & 1) != 0, (transposes & 2) != 0, seed % 3 == 0 ? 3 : 0);
            g.bias = seed % 2 == 0;
            g.accumulate = seed % 5 == 0;
            g.alpha = seed % 7 == 0 ? -0.5F : 1;
            g.epilogue = static_cast<Gemm::Epilogue>(seed % 11 % 3);
            SCOPED_TRACE(name(g));
            Operands x = random_operands(g, ++seed);
            const Floats before = x.c;
            run(g, x);
            expect_right(g, x, before);
            if (::testing::Test::HasFailure()) return;
          }
        }
      }
    }
  });
}

TEST(KernelsGemm, LargeShapesInSeveralBlocks) {
  for_each_instruction_set([] {
    for (int transposes = 0; transposes < 4; transposes++) {
      for (const auto& [m, n, k] : {std::array{50, 520, 70}, std::array{20, 200, 1030}, std::array{64, 128, 784}}) {
        Gemm g = shape(m, n, k, (transposes & 1) != 0, (transposes & 2) != 0);
        g.bias = true;
        g.accumulate = true;
        g.alpha = 2;
        g.epilogue = Gemm::Epilogue::relu;
        SCOPED_TRACE(name(g));
        Operands x = random_operands(g, 5);
        const Floats before = x.c;
        run(g, x);
        expect_right(g, x, before);
      }
    }
  });
}

TEST(KernelsGemm, Batches) {
  for_each_instruction_set([] {
    for (const std::int64_t n : {1, 9, 40}) {
      for (const std::int64_t m : {1, 5, 16}) {
        Gemm g = shape(m, n, 12, false, n == 9);
        g.batch = 4;
        g.stride_a = m * 12 + 2;
        g.stride_b = n == 40 ? 0 : 12 * n;  // shared by all
        g.stride_c = m * n;
        g.stride_mask = m * n;
        g.epilogue = Gemm::Epilogue::relu_mask;
        Operands x = random_operands(g, 3);
        const Floats before = x.c;
        run(g, x);
        expect_right(g, x, before);
      }
    }
  });
}

TEST(KernelsGemm, SplitsAndAlignmentDoNotChangeBits) {
  for_each_instruction_set([] {
    Random random(9);
    for (const auto& [m, n, k] : {std::array{61, 33, 600}, std::array{61, 1, 30}, std::array{61, 1, 99},
                                  std::array{61, 20, 1}, std::array{30, 700, 65}}) {
      for (int transposes = 0; transposes < 4; transposes++) {
        Gemm g = shape(m, n, k, (transposes & 1) != 0, (transposes & 2) != 0);
        g.bias = true;
        g.epilogue = Gemm::Epilogue::relu;
        SCOPED_TRACE(name(g));
        Operands whole = random_operands(g, 17), split = whole;
        run(g, whole);
        run(g, split, {1, 18, 19, m - 2});
        EXPECT_TRUE(whole.c.same_bits(split.c));
        Operands shifted = random_operands(g, 17);
        Floats a(g.transpose_a ? g.k * g.lda : g.m * g.lda, 0, 3);
        std::copy_n(whole.a.data(), a.size(), a.data());
        shifted.a = a;
        run(g, shifted);
        EXPECT_TRUE(whole.c.same_bits(shifted.c));
      }
    }
  });
}

TEST(KernelsGemm, NanPassesReluAndNothingElseIsTouched) {
  for_each_instruction_set([] {
    for (const std::int64_t n : {1, 7, 40}) {
      for (const std::int64_t k : {1, 5, 100}) {
        Gemm g = shape(9, n, k, false, false);
        g.epilogue = Gemm::Epilogue::relu;
        Operands x = random_operands(g, 1);
        x.a[2 * k] = kNaN;
        x.a[4 * k] = kInf;
        run(g, x);
        for (std::int64_t j = 0; j < n; j++) {
          EXPECT_TRUE(std::isnan(x.c[2 * n + j]));
          EXPECT_TRUE(x.c[4 * n + j] == kInf || x.c[4 * n + j] == 0);
          EXPECT_TRUE(std::isfinite(x.c[3 * n + j]));
        }
      }
    }
  });
}

TEST(KernelsGemm, NoDepthGivesTheBias) {
  for_each_instruction_set([] {
    for (const std::int64_t m : {1, 4}) {
      Gemm g = shape(m, 5, 0, false, false);
      g.lda = 1;
      g.bias = true;
      Operands x = random_operands(g, 1);
      x.a = Floats(1);
      run(g, x);
      for (std::int64_t i = 0; i < m * 5; i++) EXPECT_EQ(x.c[i], x.bias[i % 5]);
    }
  });
}

TEST(KernelsIsa, AnUnknownSetIsRefused) {
  EXPECT_FALSE(instruction_sets().empty());
  EXPECT_EQ(instruction_set(), instruction_sets().front());
  EXPECT_THROW(use_instruction_set("MMX"), std::runtime_error);
}

TEST(KernelsGemm, SettingsThatMakeNoSenseAreRefused) {
  EXPECT_THROW(select_gemm({.m = -1, .n = 2, .k = 3}), std::runtime_error);
  EXPECT_THROW(select_gemm({.m = 4, .n = 5, .k = 3, .lda = 3, .ldb = 5, .ldc = 4}), std::runtime_error)
      << "rows overlap";
  EXPECT_THROW(
      select_gemm({.m = 4, .n = 5, .k = 3, .lda = 3, .ldb = 5, .ldc = 5, .epilogue = Gemm::Epilogue::relu_mask}),
      std::runtime_error);
}

}  // namespace
}  // namespace levin::compile::kernels
