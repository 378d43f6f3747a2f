#include <levin/compile/kernels/pool.h>

#include "compile/kernels/kernels_test_impl.h"

namespace levin::compile::kernels {
namespace {

using namespace levin::compile::kernels::testing;

std::vector<Pool> pools() {
  return {
      {.planes = 3, .height = 8, .width = 40},
      {.planes = 2, .height = 7, .width = 67},
      {.planes = 2, .height = 7, .width = 9, .ceil_mode = true},
      {.planes = 2,
       .height = 9,
       .width = 10,
       .kernel_h = 3,
       .kernel_w = 3,
       .stride_h = 2,
       .stride_w = 2,
       .padding_h = 1,
       .padding_w = 1},
      {.planes = 1,
       .height = 6,
       .width = 11,
       .kernel_h = 2,
       .kernel_w = 3,
       .stride_h = 1,
       .stride_w = 3,
       .padding_h = 0,
       .padding_w = 1,
       .ceil_mode = true},
      {.planes = 1, .height = 1, .width = 1, .kernel_h = 1, .kernel_w = 1, .stride_h = 1, .stride_w = 1},
      {.planes = 2,
       .height = 9,
       .width = 9,
       .kernel_h = 3,
       .kernel_w = 2,
       .stride_h = 1,
       .stride_w = 2,
       .padding_h = 1,
       .padding_w = 1,
       .dilation_h = 2,
       .dilation_w = 3},
  };
}

TEST(KernelsPool, MaxPoolForwardAndBackward) {
  for_each_instruction_set([] {
    for (Pool p : pools()) {
      for (const bool relu : {false, true}) {
        p.relu = relu;
        const std::int64_t oh = p.out_height(), ow = p.out_width(), area = p.height * p.width;
        Random random(static_cast<unsigned>(area));
        Floats x = random.floats(p.planes * area, -2, 1);
        for (std::int64_t i = 0; i < x.size(); i++) x[i] = std::round(x[i] * 4) / 4;  // equals are common
        if (area > 60) x[17] = kNaN;
        const Floats dy = random.floats(p.planes * oh * ow);
        Floats y(p.planes * oh * ow), again = y, dx(p.planes * area, 9);
        std::vector<std::int64_t> places(static_cast<std::size_t>(y.size()));
        select_max_pool_forward(p)(p, x.data(), y.data(), places.data(), 0, p.planes);
        select_max_pool_forward(p)(p, x.data(), again.data(), nullptr, 0, p.planes / 2);
        select_max_pool_forward(p)(p, x.data(), again.data(), nullptr, p.planes / 2, p.planes);
        EXPECT_TRUE(y.same_bits(again) && y.intact());
        select_max_pool_backward(p)(p, dy.data(), places.data(), dx.data(), 0, p.planes);
        std::vector<double> expected(static_cast<std::size_t>(dx.size()));
        for (std::int64_t plane = 0; plane < p.planes; plane++) {
          for (std::int64_t i = 0; i < oh; i++) {
            for (std::int64_t j = 0; j < ow; j++) {
              float largest = -kInf;
              std::int64_t place = -1;
              for (std::int64_t a = 0; a < p.kernel_h; a++) {
                for (std::int64_t b = 0; b < p.kernel_w; b++) {
                  const std::int64_t r = i * p.stride_h - p.padding_h + a * p.dilation_h,
                                     c = j * p.stride_w - p.padding_w + b * p.dilation_w;
                  if (r < 0 || r >= p.height || c < 0 || c >= p.width) continue;
                  const float value = x[plane * area + r * p.width + c];
                  if (place < 0 || value > largest || std::isnan(value)) largest = value, place = r * p.width + c;
                }
              }
              if (relu && largest <= 0) largest = 0, place = -1;
              const std::int64_t at = (plane * oh + i) * ow + j;
              ASSERT_TRUE(close(y[at], largest, 0, 1)) << at;
              ASSERT_EQ(places[static_cast<std::size_t>(at)], place) << at;
              if (place >= 0) expected[static_cast<std::size_t>(plane * area + place)] += dy[at];
            }
          }
        }
        for (std::int64_t i = 0; i < dx.size(); i++)
          ASSERT_TRUE(close(dx[i], expected[static_cast<std::size_t>(i)], 1e-6, 4));
      }
    }
  });
}

TEST(KernelsPool, AveragePoolForwardAndBackward) {
  for_each_instruction_set([] {
    for (Pool p : pools()) {
      p.dilation_h = p.dilation_w = 1;
      for (int variant = 0; variant < 3; variant++) {
        p.count_include_pad = variant == 0;
        p.divisor_override = variant == 2 ? 5 : 0;
        const std::int64_t oh = p.out_height(), ow = p.out_width(), area = p.height * p.width;
        Random random(static_cast<unsigned>(area));
        const Floats x = random.floats(p.planes * area), dy = random.floats(p.planes * oh * ow);
        Floats y(p.planes * oh * ow), dx(p.planes * area, 9);
        select_avg_pool_forward(p)(p, x.data(), y.data(), 0, p.planes);
        select_avg_pool_backward(p)(p, dy.data(), dx.data(), 0, p.planes);
        std::vector<double> expected(static_cast<std::size_t>(dx.size()));
        for (std::int64_t plane = 0; plane < p.planes; plane++) {
          for (std::int64_t i = 0; i < oh; i++) {
            for (std::int64_t j = 0; j < ow; j++) {
              double total = 0, inside = 0, padded = 0;
              std::vector<std::size_t> members;
              for (std::int64_t r = i * p.stride_h - p.padding_h; r < i * p.stride_h - p.padding_h + p.kernel_h; r++) {
                for (std::int64_t c = j * p.stride_w - p.padding_w; c < j * p.stride_w - p.padding_w + p.kernel_w;
                     c++) {
                  if (r < p.height + p.padding_h && c < p.width + p.padding_w) padded++;
                  if (r < 0 || r >= p.height || c < 0 || c >= p.width) continue;
                  inside++;
                  total += x[plane * area + r * p.width + c];
                  members.push_back(static_cast<std::size_t>(plane * area + r * p.width + c));
                }
              }
              const double divisor = variant == 2 ? 5 : variant == 0 ? padded : inside;
              const std::int64_t at = (plane * oh + i) * ow + j;
              ASSERT_TRUE(close(y[at], total / divisor, 1e-6, 1));
              for (const std::size_t m : members) expected[m] += dy[at] / divisor;
            }
          }
        }
        for (std::int64_t i = 0; i < dx.size(); i++)
          ASSERT_TRUE(close(dx[i], expected[static_cast<std::size_t>(i)], 1e-6, 4));
      }
    }
  });
  Floats dy(2, 6), dx(8);
  mean_of_planes_backward(dy.data(), dx.data(), 2, 4);
  EXPECT_EQ(dx[7], 1.5F);
}

TEST(KernelsPool, SettingsThatMakeNoSenseAreRefused) {
  EXPECT_THROW(select_max_pool_forward({.planes = 1, .height = 4, .width = 4, .stride_w = 0}), std::runtime_error);
  EXPECT_THROW(select_avg_pool_forward({.planes = 1, .height = 4, .width = 4, .padding_h = 2}), std::runtime_error);
  EXPECT_THROW(select_max_pool_backward({.planes = 1, .height = 1, .width = 4}), std::runtime_error);
}

}  // namespace
}  // namespace levin::compile::kernels
