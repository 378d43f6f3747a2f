#include <levin/compile/kernels/reduce.h>

#include "compile/kernels/kernels_test_impl.h"

namespace levin::compile::kernels {
namespace {

using namespace levin::compile::kernels::testing;
using Kind = Reduce::Kind;

double reduced(const Reduce& r, const Floats& x, std::int64_t o, std::int64_t i) {
  double value = r.kind == Kind::maximum ? -kInf : r.kind == Kind::minimum ? kInf : 0;
  for (std::int64_t k = 0; k < r.reduced; k++) {
    const double each = x[(o * r.reduced + k) * r.inner + i];
    if (r.kind == Kind::maximum) {
      value = std::isnan(each) || std::isnan(value) ? kNaN : std::max(value, each);
    } else if (r.kind == Kind::minimum) {
      value = std::isnan(each) || std::isnan(value) ? kNaN : std::min(value, each);
    } else {
      value += each;
    }
  }
  return r.kind == Kind::mean ? value / static_cast<double>(r.reduced) : value;
}

TEST(KernelsReduce, EveryKindAndDimension) {
  for_each_instruction_set([] {
    for (const Kind kind : {Kind::sum, Kind::mean, Kind::maximum, Kind::minimum}) {
      for (const auto& [outer, n, inner] :
           {std::array{1, 1, 1}, std::array{1, 100, 1}, std::array{1, 10000, 1}, std::array{1, 100, 16},
            std::array{1, 37, 77}, std::array{5, 33, 1}, std::array{3, 21, 19}, std::array{2, 64, 64},
            std::array{4, 1, 7}, std::array{3, 0, 5}, std::array{3, 0, 1}}) {
        Reduce r{.kind = kind, .outer = outer, .reduced = n, .inner = inner};
        Random random(static_cast<unsigned>(outer + n + inner));
        Floats x = random.floats(outer * n * inner);
        if (x.size() > 2000) x[1234] = kNaN;
        Floats y(r.results(), 3), split = y, added = y;
        select_reduce(r)(r, x.data(), y.data(), 0, r.results());
        select_reduce(r)(r, x.data(), split.data(), 0, r.results() / 3);
        select_reduce(r)(r, x.data(), split.data(), r.results() / 3, r.results());
        EXPECT_TRUE(y.same_bits(split) && y.intact());
        r.accumulate = kind == Kind::sum || kind == Kind::mean;
        select_reduce(r)(r, x.data(), added.data(), 0, r.results());
        for (std::int64_t o = 0; o < outer; o++) {
          for (std::int64_t i = 0; i < inner; i++) {
            const double expected = reduced(r, x, o, i);
            ASSERT_TRUE(close(y[o * inner + i], expected, 1e-6, kind == Kind::sum ? 1.0 + n : 1))
                << outer << " " << n << " " << inner;
            if (!r.accumulate) continue;
            ASSERT_TRUE(close(added[o * inner + i], expected + 3, 1e-6, kind == Kind::sum ? 4.0 + n : 4));
          }
        }
      }
    }
  });
}

TEST(KernelsReduce, LongSumsKeepTheirDigits) {
  for_each_instruction_set([] {
    const Reduce r{.reduced = 3000001};
    const Floats x(r.reduced, 0.1F);
    float y = 0;
    select_reduce(r)(r, x.data(), &y, 0, 1);
    EXPECT_TRUE(close(y, static_cast<double>(0.1F) * 3000001, 5e-6, 300000));
  });
}

}  // namespace
}  // namespace levin::compile::kernels
