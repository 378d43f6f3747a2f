#include <levin/compile/kernels/copy.h>
#include <levin/compile/kernels/embedding.h>

#include <levin/core/error.h>

#include <numeric>

#include "compile/kernels/kernels_test_impl.h"

namespace levin::compile::kernels {
namespace {

using namespace levin::compile::kernels::testing;

/** Row-major strides of sizes laid out in the order that `order` gives, outermost first. */
std::array<std::int64_t, kMaxCopyDims> strides_in_order(const std::vector<std::int64_t>& sizes,
                                                        const std::vector<std::size_t>& order, std::int64_t gap) {
  std::array<std::int64_t, kMaxCopyDims> strides{};
  std::int64_t stride = 1;
  for (std::size_t i = order.size(); i-- > 0;) {
    strides[order[i]] = stride;
    stride = stride * sizes[order[i]] + (i + 1 == order.size() ? gap : 0);
  }
  return strides;
}

TEST(KernelsCopy, EveryOrderOfDimensions) {
  for_each_instruction_set([] {
    for (const std::vector<std::int64_t>& sizes :
         {std::vector<std::int64_t>{}, {7}, {37, 45}, {3, 1, 5}, {2, 9, 8, 5}, {2, 3, 1, 4, 5, 3}, {4, 0, 3}}) {
      std::vector<std::size_t> from_order(sizes.size()), to_order(sizes.size());
      std::iota(from_order.begin(), from_order.end(), std::size_t{0});
      std::iota(to_order.begin(), to_order.end(), std::size_t{0});
      int tried = 0;
      do {
        for (const std::int64_t gap : {0, 2}) {
          for (const bool accumulate : {false, true}) {
            StridedCopy c{.dims = static_cast<int>(sizes.size()),
                          .from_strides = strides_in_order(sizes, from_order, gap),
                          .to_strides = strides_in_order(sizes, to_order, gap),
                          .accumulate = accumulate};
            std::copy(sizes.begin(), sizes.end(), c.sizes.begin());
            if (tried % 5 == 4 && c.dims > 1) c.from_strides[1] = 0;  // a dimension that is expanded
            const std::int64_t room = 2 * (c.numel() + 1) * 3;
            Random random(static_cast<unsigned>(tried));
            const Floats from = random.floats(room);
            Floats to(room, 1), expected = to, plain = to;
            std::array<std::int64_t, kMaxCopyDims> at{};
            for (std::int64_t n = 0; n < c.numel(); n++) {
              std::int64_t f = 0, t = 0, rest = n;
              for (std::size_t d = sizes.size(); d-- > 0;) {
                at[d] = rest % sizes[d];
                rest /= sizes[d];
                f += at[d] * c.from_strides[d];
                t += at[d] * c.to_strides[d];
              }
              expected[t] = from[f] + (accumulate ? expected[t] : 0);
            }
            const StridedCopy simple = simplify(c);
            select_strided_copy(simple)(simple, from.data(), to.data());
            ASSERT_TRUE(to.same_bits(expected)) << "dims " << c.dims << " order " << tried;
            select_strided_copy(c)(c, from.data(), plain.data());
            ASSERT_TRUE(plain.same_bits(expected)) << "as it is, dims " << c.dims;
          }
        }
        tried++;
      } while (std::next_permutation(from_order.begin(), from_order.end()) && tried < 200);
    }
  });
}

TEST(KernelsCopy, DimensionsAreMerged) {
  const StridedCopy contiguous{.dims = 3, .sizes = {4, 5, 6}, .from_strides = {30, 6, 1}, .to_strides = {30, 6, 1}};
  EXPECT_EQ(simplify(contiguous).dims, 1);
  EXPECT_EQ(simplify(contiguous).sizes[0], 120);
  EXPECT_THROW(simplify({.dims = 7}), Error);
  EXPECT_THROW(simplify({.dims = 1, .sizes = {-1}}), Error);
}

TEST(KernelsCopy, RowsByNumber) {
  std::vector<std::int64_t> from(40), to(8, -7);
  std::iota(from.begin(), from.end(), 0);
  const std::vector<std::int64_t> index = {3, -1, 0, 9};
  EXPECT_EQ(gather_rows(from.data(), 10, 2 * sizeof(std::int64_t), index.data(), 2, to.data()), -1);
  EXPECT_EQ(to, (std::vector<std::int64_t>{6, 7, 18, 19, -7, -7, -7, -7}));
}

TEST(KernelsCopy, RowsOutOfRangeAreReported) {
  const std::vector<float> from(20);
  std::vector<float> to(6, 5);
  for (const std::int64_t bad : {std::int64_t{10}, std::int64_t{-11}, std::int64_t{1} << 50}) {
    const std::vector<std::int64_t> index = {0, bad, 0};
    EXPECT_EQ(gather_rows(from.data(), 10, 8, index.data(), 3, to.data()), 1);
    EXPECT_EQ(to[0], 5);
    const Embedding e{.rows = 10, .columns = 2, .count = 3};
    EXPECT_EQ(embedding_forward(e, from.data(), index.data(), to.data()), 1);
    EXPECT_EQ(select_embedding_backward(e)(e, from.data(), index.data(), to.data(), false), 1);
    EXPECT_EQ(to[0], 5);
  }
}

TEST(KernelsCopy, Casts) {
  for_each_instruction_set([] {
    std::vector<std::uint8_t> bytes(53);
    std::iota(bytes.begin(), bytes.end(), std::uint8_t{203});
    Floats out(53);
    select_cast_bytes()(bytes.data(), out.data(), 1 / 255.F, 53);
    for (std::int64_t i = 0; i < 53; i++)
      EXPECT_EQ(out[i], static_cast<float>(bytes[static_cast<std::size_t>(i)]) * (1 / 255.F));
    EXPECT_TRUE(out.intact());
  });
  const std::int64_t wide[] = {-3, 16777216};
  float out[2];
  cast_int64(wide, out, 2);
  EXPECT_EQ(out[0], -3);
  EXPECT_EQ(out[1], 16777216);
}

TEST(KernelsEmbedding, ForwardAndBackward) {
  for_each_instruction_set([] {
    for (const bool frequency : {false, true}) {
      for (const std::int64_t columns : {1, 16, 37}) {
        const Embedding e{
            .rows = 9, .columns = columns, .count = 20, .padding_idx = 4, .scale_by_frequency = frequency};
        Random random(5);
        const Floats table = random.floats(e.rows * columns), dy = random.floats(e.count * columns);
        std::vector<std::int64_t> ids;
        for (int i = 0; i < 20; i++) ids.push_back(random.below(8));  // 8 is never there
        ids[3] = 4;
        Floats y(e.count * columns), d(e.rows * columns, 7), added(e.rows * columns, 1);
        ASSERT_EQ(embedding_forward(e, table.data(), ids.data(), y.data()), -1);
        ASSERT_EQ(select_embedding_backward(e)(e, dy.data(), ids.data(), d.data(), false), -1);
        ASSERT_EQ(select_embedding_backward(e)(e, dy.data(), ids.data(), added.data(), true), -1);
        std::vector<double> expected(static_cast<std::size_t>(e.rows * columns));
        for (std::int64_t i = 0; i < e.count; i++) {
          const std::int64_t id = ids[static_cast<std::size_t>(i)];
          const auto times = static_cast<double>(std::count(ids.begin(), ids.end(), id));
          for (std::int64_t c = 0; c < columns; c++) {
            ASSERT_EQ(y[i * columns + c], table[id * columns + c]);
            if (id != 4)
              expected[static_cast<std::size_t>(id * columns + c)] += dy[i * columns + c] / (frequency ? times : 1);
          }
        }
        for (std::int64_t i = 0; i < d.size(); i++) {
          ASSERT_TRUE(close(d[i], expected[static_cast<std::size_t>(i)], 1e-6, 10));
          ASSERT_TRUE(close(added[i], expected[static_cast<std::size_t>(i)] + 1, 1e-6, 10));
        }
        EXPECT_EQ(d[8 * columns], 0);
        EXPECT_TRUE(y.intact() && d.intact());
      }
    }
  });
}

}  // namespace
}  // namespace levin::compile::kernels
