#include <levin/compile/kernels/attention.h>
#include <levin/compile/kernels/conv.h>

#include "compile/kernels/kernels_test_impl.h"

namespace levin::compile::kernels {
namespace {

using namespace levin::compile::kernels::testing;

TEST(KernelsConv, ForwardAndBothGradients) {
  const std::vector<Conv> all = {
      {.batch = 2, .in_channels = 1, .out_channels = 8, .height = 12, .width = 12, .padding_h = 1, .padding_w = 1},
      {.batch = 5, .in_channels = 3, .out_channels = 5, .height = 9, .width = 33},
      {.batch = 6,
       .in_channels = 2,
       .out_channels = 11,
       .height = 10,
       .width = 7,
       .kernel_h = 5,
       .kernel_w = 5,
       .padding_h = 2,
       .padding_w = 2},
      {.batch = 1,
       .in_channels = 4,
       .out_channels = 2,
       .height = 3,
       .width = 4,
       .kernel_h = 3,
       .kernel_w = 4,
       .padding_h = 0,
       .padding_w = 3},
      {.batch = 2, .in_channels = 9, .out_channels = 9, .height = 5, .width = 5, .kernel_h = 1, .kernel_w = 1},
      {.batch = 1, .in_channels = 1, .out_channels = 1, .height = 7, .width = 7, .kernel_h = 7, .kernel_w = 7},
      {.batch = 3,
       .in_channels = 2,
       .out_channels = 3,
       .height = 6,
       .width = 6,
       .padding_h = 1,
       .padding_w = 1,
       .relu = true},
  };
  for_each_instruction_set([&] {
    for (const Conv& c : all) {
      ASSERT_TRUE(conv_is_served(c));
      const std::int64_t oh = c.out_height(), ow = c.out_width(), area = c.height * c.width, out = oh * ow,
                         taps = c.kernel_h * c.kernel_w;
      Random random(static_cast<unsigned>(area));
      const Floats x = random.floats(c.batch * c.in_channels * area),
                   w = random.floats(c.out_channels * c.in_channels * taps), b = random.floats(c.out_channels),
                   dy = random.floats(c.batch * c.out_channels * out);
      Floats y(dy.size()), split(dy.size()), dx(x.size()), dw(w.size()), db(c.out_channels);
      std::vector<std::byte> workspace(conv_workspace(c));
      select_conv_forward(c)(c, x.data(), w.data(), b.data(), y.data(), workspace.data(), 0, c.batch);
      select_conv_forward(c)(c, x.data(), w.data(), b.data(), split.data(), workspace.data(), 0, 1);
      select_conv_forward(c)(c, x.data(), w.data(), b.data(), split.data(), workspace.data(), 1, c.batch);
      EXPECT_TRUE(y.same_bits(split));
      select_conv_input(c)(c, dy.data(), w.data(), dx.data(), workspace.data(), 0, c.batch);
      select_conv_weight(c)(c, x.data(), dy.data(), dw.data(), db.data(), workspace.data());
      std::vector<double> ey(static_cast<std::size_t>(y.size())), edx(static_cast<std::size_t>(x.size())),
          edw(static_cast<std::size_t>(w.size())), edb(static_cast<std::size_t>(c.out_channels));
      for (std::int64_t n = 0; n < c.batch; n++) {
        for (std::int64_t o = 0; o < c.out_channels; o++) {
          for (std::int64_t p = 0; p < out; p++) {
            const std::int64_t at = (n * c.out_channels + o) * out + p;
            double total = b[o];
            edb[static_cast<std::size_t>(o)] += dy[at];
            for (std::int64_t i = 0; i < c.in_channels; i++) {
              for (std::int64_t t = 0; t < taps; t++) {
                const std::int64_t r = p / ow + t / c.kernel_w - c.padding_h, q = p % ow + t % c.kernel_w - c.padding_w;
                if (r < 0 || r >= c.height || q < 0 || q >= c.width) continue;
                const std::int64_t in = (n * c.in_channels + i) * area + r * c.width + q,
                                   tap = (o * c.in_channels + i) * taps + t;
                total += static_cast<double>(x[in]) * w[tap];
                edx[static_cast<std::size_t>(in)] += static_cast<double>(dy[at]) * w[tap];
                edw[static_cast<std::size_t>(tap)] += static_cast<double>(dy[at]) * x[in];
              }
            }
            ey[static_cast<std::size_t>(at)] = c.relu ? std::max(total, 0.0) : total;
          }
        }
      }
      const auto expect = [](const Floats& seen, const std::vector<double>& expected, double scale, const char* what) {
        EXPECT_TRUE(seen.intact());
        for (std::int64_t i = 0; i < seen.size(); i++)
          ASSERT_TRUE(close(seen[i], expected[static_cast<std::size_t>(i)], 1e-6, scale)) << what << i;
      };
      expect(y, ey, static_cast<double>(taps * c.in_channels), "y ");
      expect(dx, edx, static_cast<double>(taps * c.out_channels), "dx ");
      expect(dw, edw, static_cast<double>(c.batch * out), "dw ");
      expect(db, edb, static_cast<double>(c.batch * out), "db ");
    }
  });
  EXPECT_FALSE(conv_is_served({.batch = 1, .in_channels = 1, .out_channels = 1, .height = 2, .width = 2}));
  EXPECT_FALSE(
      conv_is_served({.batch = 1, .in_channels = 1, .out_channels = 1, .height = 9, .width = 9, .padding_h = 3}));
}

TEST(KernelsAttention, ForwardAndBackward) {
  for_each_instruction_set([] {
    for (const bool causal : {false, true}) {
      for (const bool masked : {false, true}) {
        for (const auto& [queries, keys, depth] : {std::array{1, 1, 4}, std::array{5, 5, 8}, std::array{64, 64, 32},
                                                   std::array{70, 70, 16}, std::array{9, 13, 7}}) {
          if (causal && queries != keys) continue;
          // As a model has it: [batch, time, heads, depth] for the results, q, k and v within one [batch, time, 3,
          // heads, depth].
          const std::int64_t batch = 2, heads = 3, wide = 3 * heads * depth, narrow = heads * depth,
                             longest = std::max(queries, keys);
          const HeadStrides in{longest * wide, depth, wide}, out{longest * narrow, depth, narrow};
          const Attention s{
              batch, heads, queries, keys, depth, depth, 0.4F, causal, in, in, in, out, {0, queries * keys, keys}};
          Random random(static_cast<unsigned>(queries + depth));
          const Floats qkv = random.floats(batch * longest * wide, -2, 2),
                       d_o = random.floats(batch * longest * narrow), mask = random.floats(heads * queries * keys);
          Floats o(batch * longest * narrow), split = o, lse(batch * heads * queries), d_qkv(qkv.size(), 9);
          const float *q = qkv.data(), *k = q + narrow, *v = k + narrow;
          std::vector<std::byte> workspace(attention_workspace(s));
          const float* m = masked ? mask.data() : nullptr;
          select_attention_forward(s)(s, {q, k, v, m, o.data(), lse.data()}, workspace.data(), 0, s.units());
          select_attention_forward(s)(s, {q, k, v, m, split.data(), nullptr}, workspace.data(), 0, 2);
          select_attention_forward(s)(s, {q, k, v, m, split.data(), nullptr}, workspace.data(), 2, s.units());
          EXPECT_TRUE(o.same_bits(split) && o.intact());
          AttentionBackwardArgs back{d_o.data(),
                                     q,
                                     k,
                                     v,
                                     m,
                                     o.data(),
                                     lse.data(),
                                     d_qkv.data(),
                                     d_qkv.data() + narrow,
                                     d_qkv.data() + 2 * narrow,
                                     out,
                                     in,
                                     in,
                                     in};
          select_attention_backward(s)(s, back, workspace.data(), 0, s.units());
          for (std::int64_t unit = 0; unit < s.units(); unit++) {
            const std::int64_t b = unit / heads, h = unit % heads;
            const auto element = [&](std::int64_t which, std::int64_t t, std::int64_t d) {
              return b * in.batch + t * wide + which * narrow + h * depth + d;
            };
            const auto result = [&](std::int64_t t, std::int64_t d) {
              return b * out.batch + t * narrow + h * depth + d;
            };
            std::vector<double> dk(static_cast<std::size_t>(keys * depth)), dv = dk;
            for (std::int64_t i = 0; i < queries; i++) {
              const std::int64_t seen = causal ? i + 1 : keys;
              std::vector<double> p, expected(static_cast<std::size_t>(depth)), dq(static_cast<std::size_t>(depth));
              double total = 0, delta = 0;
              for (std::int64_t j = 0; j < seen; j++) {
                double score = masked ? static_cast<double>(mask[(h * queries + i) * keys + j]) : 0;
                for (std::int64_t d = 0; d < depth; d++)
                  score += static_cast<double>(s.scale) * qkv[element(0, i, d)] * qkv[element(1, j, d)];
                p.push_back(std::exp(score));
                total += p.back();
              }
              for (std::int64_t j = 0; j < seen; j++) {
                double& each = p[static_cast<std::size_t>(j)];
                each /= total;
                for (std::int64_t d = 0; d < depth; d++) {
                  expected[static_cast<std::size_t>(d)] += each * qkv[element(2, j, d)];
                  dv[static_cast<std::size_t>(j * depth + d)] += each * d_o[result(i, d)];
                }
              }
              for (std::int64_t d = 0; d < depth; d++) {
                ASSERT_TRUE(close(o[result(i, d)], expected[static_cast<std::size_t>(d)], 2e-6, 2));
                delta += expected[static_cast<std::size_t>(d)] * d_o[result(i, d)];
              }
              ASSERT_TRUE(close(lse[unit * queries + i], std::log(total), 2e-6, 4));
              for (std::int64_t j = 0; j < seen; j++) {
                double dp = 0;
                for (std::int64_t d = 0; d < depth; d++)
                  dp += static_cast<double>(d_o[result(i, d)]) * qkv[element(2, j, d)];
                const double ds = p[static_cast<std::size_t>(j)] * (dp - delta) * static_cast<double>(s.scale);
                for (std::int64_t d = 0; d < depth; d++) {
                  dq[static_cast<std::size_t>(d)] += ds * qkv[element(1, j, d)];
                  dk[static_cast<std::size_t>(j * depth + d)] += ds * qkv[element(0, i, d)];
                }
              }
              for (std::int64_t d = 0; d < depth; d++)
                ASSERT_TRUE(close(d_qkv[element(0, i, d)], dq[static_cast<std::size_t>(d)], 5e-6, 4));
            }
            for (std::int64_t j = 0; j < keys; j++) {
              for (std::int64_t d = 0; d < depth; d++) {
                ASSERT_TRUE(close(d_qkv[element(1, j, d)], dk[static_cast<std::size_t>(j * depth + d)], 5e-6, 10));
                ASSERT_TRUE(close(d_qkv[element(2, j, d)], dv[static_cast<std::size_t>(j * depth + d)], 5e-6, 10));
              }
            }
          }
        }
      }
    }
  });
}

TEST(KernelsConv, WhatIsNotServedIsRefused) {
  EXPECT_THROW(
      select_conv_forward({.batch = 1, .in_channels = 1, .out_channels = 1, .height = 20, .width = 20, .kernel_h = 9}),
      std::runtime_error);
}

}  // namespace
}  // namespace levin::compile::kernels
