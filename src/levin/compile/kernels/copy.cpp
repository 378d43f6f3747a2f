#include <levin/compile/kernels/copy.h>

#include <algorithm>
#include <cstring>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "levin/compile/kernels/copy.cpp"
#include <hwy/foreach_target.h>

#include <levin/compile/kernels/dispatch_impl.h>
#include <levin/compile/kernels/simd-inl.h>

HWY_BEFORE_NAMESPACE();
namespace levin::compile::kernels::HWY_NAMESPACE {
namespace {

using Index = std::int64_t;

/** Four by four elements: rows of `from` become columns of `to`. */
HWY_INLINE void transpose_square(const float* from, Index from_row, float* to, Index to_row) {
  const hn::CappedTag<float, 4> d4;
  const auto r0 = hn::LoadU(d4, from), r1 = hn::LoadU(d4, from + from_row), r2 = hn::LoadU(d4, from + 2 * from_row),
             r3 = hn::LoadU(d4, from + 3 * from_row);
  const auto even_low = hn::InterleaveLower(d4, r0, r2), even_high = hn::InterleaveUpper(d4, r0, r2);
  const auto odd_low = hn::InterleaveLower(d4, r1, r3), odd_high = hn::InterleaveUpper(d4, r1, r3);
  hn::StoreU(hn::InterleaveLower(d4, even_low, odd_low), d4, to);
  hn::StoreU(hn::InterleaveUpper(d4, even_low, odd_low), d4, to + to_row);
  hn::StoreU(hn::InterleaveLower(d4, even_high, odd_high), d4, to + 2 * to_row);
  hn::StoreU(hn::InterleaveUpper(d4, even_high, odd_high), d4, to + 3 * to_row);
}

/** to[j * to_row + i] = from[i * from_row + j] for i < rows, j < columns, in tiles that both caches like. */
void transpose(const float* from, Index from_row, Index rows, Index columns, float* to, Index to_row) {
  constexpr Index tile = 32;
  for (Index i0 = 0; i0 < rows; i0 += tile) {
    const Index i1 = std::min(rows, i0 + tile);
    for (Index j0 = 0; j0 < columns; j0 += tile) {
      const Index j1 = std::min(columns, j0 + tile);
      Index i = i0;
      for (; i + 4 <= i1; i += 4) {
        Index j = j0;
        for (; j + 4 <= j1; j += 4) transpose_square(from + i * from_row + j, from_row, to + j * to_row + i, to_row);
        for (; j < j1; j++) {
          for (Index l = i; l < i + 4; l++) to[j * to_row + l] = from[l * from_row + j];
        }
      }
      for (; i < i1; i++) {
        for (Index j = j0; j < j1; j++) to[j * to_row + i] = from[i * from_row + j];
      }
    }
  }
}

/** The last dimension, of any strides. */
HWY_INLINE void line(const StridedCopy& c, const float* from, float* to) {
  const auto last = static_cast<std::size_t>(c.dims - 1);
  const Index n = c.sizes[last], fs = c.from_strides[last], ts = c.to_strides[last];
  if (ts == 1 && fs == 1 && !c.accumulate) {
    std::memcpy(to, from, static_cast<std::size_t>(n) * sizeof(float));
  } else if (ts == 1 && fs <= 1) {
    const V repeated = fs == 0 && n > 0 ? set(*from) : zero();
    each_place(0, n, [&](auto at) HWY_ATTR {
      const V v = fs == 0 ? repeated : at.read(from);
      at.write(c.accumulate ? hn::Add(at.read(to), v) : v, to);
    });
  } else if (c.accumulate) {
    for (Index i = 0; i < n; i++) to[i * ts] += from[i * fs];
  } else {
    for (Index i = 0; i < n; i++) to[i * ts] = from[i * fs];
  }
}

/** Calls f(from, to) for all positions of the first `dims` dimensions. */
template <class F>
HWY_INLINE void each_outer(const StridedCopy& c, int dims, const float* from, float* to, F f) {
  Index at[kMaxCopyDims] = {};
  for (int d = 0; d < dims; d++) {
    if (c.sizes[static_cast<std::size_t>(d)] == 0) return;
  }
  while (true) {
    f(from, to);
    int d = dims - 1;
    for (; d >= 0; d--) {
      const auto k = static_cast<std::size_t>(d);
      from += c.from_strides[k];
      to += c.to_strides[k];
      if (++at[d] < c.sizes[k]) break;
      from -= c.from_strides[k] * at[d];
      to -= c.to_strides[k] * at[d];
      at[d] = 0;
    }
    if (d < 0) return;
  }
}

void copy_lines(const StridedCopy& c, const float* from, float* to) {
  if (c.dims == 0) {
    *to = c.accumulate ? *to + *from : *from;
    return;
  }
  each_outer(c, c.dims - 1, from, to, [&](const float* f, float* t) HWY_ATTR { line(c, f, t); });
}

/** The last two dimensions exchange places. */
void copy_transposed(const StridedCopy& c, const float* from, float* to) {
  const auto i = static_cast<std::size_t>(c.dims - 2), j = static_cast<std::size_t>(c.dims - 1);
  // Contiguous in `from` along i, in `to` along j.
  each_outer(c, c.dims - 2, from, to, [&](const float* f, float* t) HWY_ATTR {
    transpose(f, c.from_strides[j], c.sizes[j], c.sizes[i], t, c.to_strides[i]);
  });
}

}  // namespace

StridedCopyFn SelectCopy(const StridedCopy& c) {
  if (c.dims >= 2 && !c.accumulate) {
    const auto i = static_cast<std::size_t>(c.dims - 2), j = static_cast<std::size_t>(c.dims - 1);
    if (c.from_strides[i] == 1 && c.to_strides[j] == 1 && c.from_strides[j] > 1) return copy_transposed;
  }
  return copy_lines;
}

void CastBytes(const std::uint8_t* from, float* to, float scale, Index n) {
  const hn::Rebind<std::int32_t, D> ints;
  const hn::Rebind<std::uint8_t, D> bytes;
  const V factor = set(scale);
  Index i = 0;
  for (; i + kLanesSigned <= n; i += kLanesSigned) {
    store(hn::Mul(hn::ConvertTo(kFloats, hn::PromoteTo(ints, hn::LoadU(bytes, from + i))), factor), to + i);
  }
  for (; i < n; i++) to[i] = static_cast<float>(from[i]) * scale;
}

}  // namespace levin::compile::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
#include <levin/compile/kernels/refuse_impl.h>

namespace levin::compile::kernels {

HWY_EXPORT(SelectCopy);
HWY_EXPORT(CastBytes);

StridedCopy simplify(const StridedCopy& copy) {
  if (copy.dims < 0 || copy.dims > kMaxCopyDims) {
    refuse("a strided copy has 0 to 6 dimensions", std::to_string(copy.dims), "a strided copy");
  }
  StridedCopy result{.accumulate = copy.accumulate};
  // Dimensions of one element go; the others, largest stride of the target first.
  std::array<std::size_t, kMaxCopyDims> order{};
  for (std::size_t d = 0; d < static_cast<std::size_t>(copy.dims); d++) {
    require_size(copy.sizes[d], 0, "a size", "a strided copy");
    if (copy.sizes[d] != 1) order[static_cast<std::size_t>(result.dims++)] = d;
  }
  std::stable_sort(order.begin(), order.begin() + result.dims,
                   [&](std::size_t a, std::size_t b) { return copy.to_strides[a] > copy.to_strides[b]; });
  int dims = 0;
  for (int i = 0; i < result.dims; i++) {
    const std::size_t d = order[static_cast<std::size_t>(i)];
    if (dims > 0) {
      // Two that lie without a gap in both are one.
      const auto before = static_cast<std::size_t>(dims - 1);
      if (result.to_strides[before] == copy.to_strides[d] * copy.sizes[d] &&
          result.from_strides[before] == copy.from_strides[d] * copy.sizes[d]) {
        result.sizes[before] *= copy.sizes[d];
        result.to_strides[before] = copy.to_strides[d];
        result.from_strides[before] = copy.from_strides[d];
        continue;
      }
    }
    const auto at = static_cast<std::size_t>(dims++);
    result.sizes[at] = copy.sizes[d];
    result.to_strides[at] = copy.to_strides[d];
    result.from_strides[at] = copy.from_strides[d];
  }
  result.dims = dims;
  if (dims >= 3 && result.to_strides[static_cast<std::size_t>(dims - 1)] == 1) {
    // Where a transposition is in it, the dimension along which `from` is contiguous comes second to last.
    for (int d = 0; d + 2 < dims; d++) {
      const auto k = static_cast<std::size_t>(d);
      if (result.from_strides[k] != 1 || result.sizes[k] < 4) continue;
      for (auto* values : {&result.sizes, &result.to_strides, &result.from_strides}) {
        std::rotate(values->begin() + d, values->begin() + d + 1, values->begin() + dims - 1);
      }
      break;
    }
  }
  return result;
}

StridedCopyFn select_strided_copy(const StridedCopy& copy) { return LEVIN_BEST(SelectCopy)(copy); }

void fill(float* to, float value, std::int64_t n) { std::fill_n(to, n, value); }

std::int64_t gather_rows(const void* from, std::int64_t from_rows, std::size_t row_bytes, const std::int64_t* index,
                         std::int64_t n, void* to) {
  for (std::int64_t i = 0; i < n; i++) {
    if (index[i] < -from_rows || index[i] >= from_rows) return i;
  }
  const auto* source = static_cast<const std::byte*>(from);
  auto* target = static_cast<std::byte*>(to);
  for (std::int64_t i = 0; i < n; i++, target += row_bytes) {
    const std::int64_t row = index[i] < 0 ? index[i] + from_rows : index[i];
    std::memcpy(target, source + static_cast<std::size_t>(row) * row_bytes, row_bytes);
  }
  return -1;
}

CastBytesFn select_cast_bytes() { return LEVIN_BEST(CastBytes); }
void cast_int64(const std::int64_t* from, float* to, std::int64_t n) {
  for (std::int64_t i = 0; i < n; i++) to[i] = static_cast<float>(from[i]);
}

}  // namespace levin::compile::kernels
#endif
