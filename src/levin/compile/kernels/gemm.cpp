#include <levin/compile/kernels/gemm.h>

#include <algorithm>
#include <cstring>
#include <type_traits>
#include <utility>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "levin/compile/kernels/gemm.cpp"
#include <hwy/foreach_target.h>

#include <levin/compile/kernels/dispatch_impl.h>
#include <levin/compile/kernels/simd-inl.h>

HWY_BEFORE_NAMESPACE();
namespace levin::compile::kernels::HWY_NAMESPACE {
namespace {

using Index = std::int64_t;

// A tile of C is kept in registers: up to kTileRows rows of two vectors. With 32 registers 14 rows, with 16 six.
#if HWY_TARGET == HWY_AVX3 || HWY_TARGET == HWY_NEON
constexpr int kTileRows = 14;
#else
constexpr int kTileRows = 6;
#endif
constexpr Index kPanel = 2 * kLanesSigned;  // columns of a tile
constexpr Index kDepth = 512;               // of k at a time: a panel of B stays in the second cache
constexpr Index kWidth = 512;               // of n at a time

/** Where op(A) or op(B) lies: element (i, j) at data[i * rows + j * columns]. */
struct Matrix {
  const float* data;
  Index row, column;
};

/** What happens to a finished element. */
struct Finish {
  float alpha;
  bool add_c;
  const float* bias;  // of the tile's first column, or null
  const float* mask;  // of the tile's first element, or null
  Index ld_mask;
  bool relu;
  bool plain = false;  // none of these
};

/** One vector of C at (c, mask, bias), of `count` elements unless `whole`. */
template <bool whole>
HWY_INLINE void finish(V sum, float* c, const float* bias, const float* mask, std::size_t count, const Finish& f) {
  const auto read = [count](const float* p) HWY_ATTR { return whole ? load(p) : load_n(p, count); };
  V value = hn::Mul(sum, set(f.alpha));
  if (f.add_c) value = hn::Add(value, read(c));
  if (bias) value = hn::Add(value, read(bias));
  if (f.relu) value = relu(value);
  if (mask) value = where_positive(read(mask), value);
  if (whole) {
    store(value, c);
  } else {
    store_n(value, c, count);
  }
}

/**
 * C[rows, count] from op(A)[rows, depth] and a panel of op(B). Each element is one chain of multiply-adds in the order
 * of k, whatever tile it is in. `last`: how many columns the last of `vectors` vectors has if it is partial.
 */
template <int rows, int vectors, bool whole, bool a_packed>
HWY_INLINE void tile(Index depth, const Matrix& a, const float* b, Index b_row, float* c, Index ldc, std::size_t last,
                     const Finish& f) {
  V sums[rows][vectors];
#pragma GCC unroll 14
  for (int r = 0; r < rows; r++) {
#pragma GCC unroll 2
    for (int v = 0; v < vectors; v++) sums[r][v] = zero();
  }
  const float* a_k = a.data;
  const Index a_row = a_packed ? 1 : a.row, a_column = a_packed ? rows : a.column;
  for (Index k = 0; k < depth; k++, a_k += a_column, b += b_row) {
    V b_k[vectors];
#pragma GCC unroll 2
    for (int v = 0; v < vectors; v++) {
      b_k[v] = whole || v + 1 < vectors ? load(b + v * kLanesSigned) : load_n(b + v * kLanesSigned, last);
    }
#pragma GCC unroll 14
    for (int r = 0; r < rows; r++) {
      const V a_rk = set(a_k[r * a_row]);
#pragma GCC unroll 2
      for (int v = 0; v < vectors; v++) sums[r][v] = hn::MulAdd(a_rk, b_k[v], sums[r][v]);
    }
  }
  if (f.plain && whole) {
#pragma GCC unroll 14
    for (int r = 0; r < rows; r++) {
#pragma GCC unroll 2
      for (int v = 0; v < vectors; v++) store(sums[r][v], c + r * ldc + v * kLanesSigned);
    }
    return;
  }
#pragma GCC unroll 14
  for (int r = 0; r < rows; r++) {
#pragma GCC unroll 2
    for (int v = 0; v < vectors; v++) {
      float* c_rv = c + r * ldc + v * kLanesSigned;
      const float* bias = f.bias ? f.bias + v * kLanesSigned : nullptr;
      const float* mask = f.mask ? f.mask + r * f.ld_mask + v * kLanesSigned : nullptr;
      if (whole || v + 1 < vectors) {
        finish<true>(sums[r][v], c_rv, bias, mask, kLanes, f);
      } else {
        finish<false>(sums[r][v], c_rv, bias, mask, last, f);
      }
    }
  }
}

using TileFn = void (*)(Index depth, const Matrix& a, const float* b, Index b_row, float* c, Index ldc,
                        std::size_t last, const Finish& f);

template <int rows, int vectors, bool whole, bool a_packed>
void tile_function(Index depth, const Matrix& a, const float* b, Index b_row, float* c, Index ldc, std::size_t last,
                   const Finish& f) {
  tile<rows, vectors, whole, a_packed>(depth, a, b, b_row, c, ldc, last, f);
}

template <int vectors, bool whole, bool a_packed, int... rows>
TileFn tile_of(int count, std::integer_sequence<int, rows...>) {
  static constexpr TileFn table[] = {tile_function<rows + 1, vectors, whole, a_packed>...};
  return table[count - 1];
}

/** `a_packed`: A's block is contiguous, [depth, rows]. */
TileFn tile_of(Index rows, int vectors, bool whole, bool a_packed) {
  constexpr std::make_integer_sequence<int, kTileRows> all;
  const int count = static_cast<int>(rows);
  if (vectors == 2 && whole) return a_packed ? tile_of<2, true, true>(count, all) : tile_of<2, true, false>(count, all);
  if (vectors == 2) return tile_of<2, false, false>(count, all);
  return whole ? tile_of<1, true, false>(count, all) : tile_of<1, false, false>(count, all);
}

/** Four floats of kLanes / 4 rows: block i of the vector is from p + 4 i * stride. */
HWY_INLINE V load_blocks(const float* p, Index stride) {
#if HWY_TARGET == HWY_AVX3
  const hn::CappedTag<float, 4> d4;
  const hn::CappedTag<float, 8> d8;
  const auto low = hn::Combine(d8, hn::LoadU(d4, p + 4 * stride), hn::LoadU(d4, p));
  const auto high = hn::Combine(d8, hn::LoadU(d4, p + 12 * stride), hn::LoadU(d4, p + 8 * stride));
  return hn::Combine(kFloats, high, low);
#elif HWY_TARGET == HWY_AVX2
  const hn::CappedTag<float, 4> d4;
  return hn::Combine(kFloats, hn::LoadU(d4, p + 4 * stride), hn::LoadU(d4, p));
#else
  (void)stride;
  return load(p);
#endif
}

/** Reads kLanes rows of four floats and gives the four columns as vectors. */
HWY_INLINE void load_transposed(const float* p, Index stride, V columns[4]) {
  const V r0 = load_blocks(p, stride), r1 = load_blocks(p + stride, stride);
  const V r2 = load_blocks(p + 2 * stride, stride), r3 = load_blocks(p + 3 * stride, stride);
  const V even_low = hn::InterleaveLower(kFloats, r0, r2), even_high = hn::InterleaveUpper(kFloats, r0, r2);
  const V odd_low = hn::InterleaveLower(kFloats, r1, r3), odd_high = hn::InterleaveUpper(kFloats, r1, r3);
  columns[0] = hn::InterleaveLower(kFloats, even_low, odd_low);
  columns[1] = hn::InterleaveUpper(kFloats, even_low, odd_low);
  columns[2] = hn::InterleaveLower(kFloats, even_high, odd_high);
  columns[3] = hn::InterleaveUpper(kFloats, even_high, odd_high);
}

/** to[k * pitch + r] = from[r * stride + k], in squares of four. */
void interleave_rows(const float* from, Index stride, Index rows, Index depth, float* to, Index pitch) {
  const hn::CappedTag<float, 4> d4;
  Index r = 0;
  for (; r + 4 <= rows; r += 4) {
    const float *p0 = from + r * stride, *p1 = p0 + stride, *p2 = p1 + stride, *p3 = p2 + stride;
    float* t = to + r;
    Index k = 0;
    for (; k + 4 <= depth; k += 4, t += 4 * pitch) {
      const auto r0 = hn::LoadU(d4, p0 + k), r1 = hn::LoadU(d4, p1 + k), r2 = hn::LoadU(d4, p2 + k),
                 r3 = hn::LoadU(d4, p3 + k);
      const auto even_low = hn::InterleaveLower(d4, r0, r2), even_high = hn::InterleaveUpper(d4, r0, r2);
      const auto odd_low = hn::InterleaveLower(d4, r1, r3), odd_high = hn::InterleaveUpper(d4, r1, r3);
      hn::StoreU(hn::InterleaveLower(d4, even_low, odd_low), d4, t);
      hn::StoreU(hn::InterleaveUpper(d4, even_low, odd_low), d4, t + pitch);
      hn::StoreU(hn::InterleaveLower(d4, even_high, odd_high), d4, t + 2 * pitch);
      hn::StoreU(hn::InterleaveUpper(d4, even_high, odd_high), d4, t + 3 * pitch);
    }
    for (; k < depth; k++, t += pitch) {
      t[0] = p0[k];
      t[1] = p1[k];
      t[2] = p2[k];
      t[3] = p3[k];
    }
  }
  for (; r < rows; r++) {
    const float* p = from + r * stride;
    float* t = to + r;
    for (Index k = 0; k < depth; k++, t += pitch) *t = p[k];
  }
}

/** to[k * pitch + j] = from[j * stride + k] for j < rows <= pitch and k < depth; columns up to the pitch become 0. */
void pack_transposed(const float* from, Index stride, Index rows, Index depth, float* to, Index pitch) {
  Index j = 0;
  for (; j + kLanesSigned <= rows; j += kLanesSigned) {
    const float* p = from + j * stride;
    Index k = 0;
    for (; k + 4 <= depth; k += 4) {
      V columns[4];
      load_transposed(p + k, stride, columns);
      for (int i = 0; i < 4; i++) store(columns[i], to + (k + i) * pitch + j);
    }
    for (; k < depth; k++) {
      for (Index l = 0; l < kLanesSigned; l++) to[k * pitch + j + l] = p[l * stride + k];
    }
  }
  if (j < rows) interleave_rows(from + j * stride, stride, rows - j, depth, to + j, pitch);
  for (j = rows; j < pitch; j++) {
    for (Index k = 0; k < depth; k++) to[k * pitch + j] = 0;
  }
}

/** to[k * pitch + j] = from[k * stride + j] for j < columns <= pitch; columns up to the pitch become 0. */
void pack_rows(const float* from, Index stride, Index columns, Index depth, float* to, Index pitch) {
  for (Index k = 0; k < depth; k++, from += stride, to += pitch) {
    each_place(0, columns, [=](auto at) HWY_ATTR { store(at.read(from), to + at.i); });
    for (Index j = (columns + kLanesSigned - 1) / kLanesSigned * kLanesSigned; j < pitch; j += kLanesSigned) {
      store(zero(), to + j);
    }
  }
}

/** The width of the panel that begins at column j: one vector where that holds the rest. */
HWY_INLINE Index panel_width(Index columns_left) { return columns_left <= kLanesSigned ? kLanesSigned : kPanel; }

/** Whether B is copied into panels: always if it is transposed, else if enough rows use it. */
bool packs_b(const Gemm& g) { return g.transpose_b || (g.m > 8 * kTileRows && g.n > kLanesSigned && g.k >= 32); }
/** Whether blocks of A are copied, so that a tile reads it in one stream: if enough columns use them. */
bool packs_a(const Gemm& g) { return g.n >= 4 * kPanel && g.k >= 32; }

std::size_t floats_of_b(const Gemm& g) {
  if (!packs_b(g)) return 0;
  const Index depth = std::min(g.k, kDepth), width = (std::min(g.n, kWidth) + kPanel - 1) / kPanel * kPanel;
  return static_cast<std::size_t>(depth * width);
}

/** One product, rows [begin, end). */
void blocked(const Gemm& g, const GemmArgs& x, float* workspace, Index begin, Index end) {
  const Matrix a{x.a, g.transpose_a ? 1 : g.lda, g.transpose_a ? g.lda : 1};
  const bool pack_b = packs_b(g), pack_a = packs_a(g);
  // Vectors that straddle cache lines cost twice.
  float* const packed_b = workspace + (64 - reinterpret_cast<std::uintptr_t>(workspace) % 64) % 64 / sizeof(float);
  float* const packed_a = packed_b + floats_of_b(g);
  // Equal parts rather than a short last one.
  const Index parts = std::max<Index>(1, (g.k + kDepth - 1) / kDepth);
  const Index part = (g.k + parts - 1) / parts;
  const Index blocks = (end - begin + kTileRows - 1) / kTileRows;
  for (Index j0 = 0; j0 < g.n; j0 += kWidth) {
    const Index width = std::min(kWidth, g.n - j0);
    for (Index p = 0; p < parts; p++) {
      const Index k0 = p * part, depth = std::min(part, g.k - k0);
      const bool first = p == 0, last = p + 1 == parts;
      if (pack_b) {
        float* to = packed_b;
        for (Index j = 0; j < width;) {
          const Index pitch = panel_width(width - j), columns = std::min(pitch, width - j);
          if (g.transpose_b) {
            pack_transposed(x.b + (j0 + j) * g.ldb + k0, g.ldb, columns, depth, to, pitch);
          } else {
            pack_rows(x.b + k0 * g.ldb + j0 + j, g.ldb, columns, depth, to, pitch);
          }
          to += pitch * depth;
          j += pitch;
        }
      }
      Index i = begin;
      for (Index block = 0; block < blocks; block++) {
        const Index rows = (end - i + (blocks - block) - 1) / (blocks - block);
        Matrix a_block{a.data + i * a.row + k0 * a.column, a.row, a.column};
        if (pack_a) {
          if (a.row == 1) {
            for (Index k = 0; k < depth; k++) {
              std::memcpy(packed_a + k * rows, a_block.data + k * a.column,
                          static_cast<std::size_t>(rows) * sizeof(float));
            }
          } else {
            interleave_rows(a_block.data, a.row, rows, depth, packed_a, rows);
          }
          a_block = {packed_a, 1, rows};
        }
        const float* panel = packed_b;
        for (Index j = 0; j < width;) {
          const Index pitch = panel_width(width - j), columns = std::min(pitch, width - j);
          const bool whole = columns == pitch;
          Finish f{.alpha = g.alpha,
                   .add_c = g.accumulate || !first,
                   .bias = g.bias && first ? x.bias + j0 + j : nullptr,
                   .mask = g.epilogue == Gemm::Epilogue::relu_mask && last ? x.mask + i * g.ld_mask + j0 + j : nullptr,
                   .ld_mask = g.ld_mask,
                   .relu = g.epilogue == Gemm::Epilogue::relu && last};
          f.plain = f.alpha == 1 && !f.add_c && !f.bias && !f.mask && !f.relu;
          const float* b = pack_b ? panel : x.b + k0 * g.ldb + j0 + j;
          const Index b_row = pack_b ? pitch : g.ldb;
          const int vectors = pitch == kPanel && columns > kLanesSigned ? 2 : 1;
          tile_of(rows, vectors, whole, pack_a)(depth, a_block, b, b_row, x.c + i * g.ldc + j0 + j, g.ldc,
                                                static_cast<std::size_t>(columns - (vectors - 1) * kLanesSigned), f);
          panel += pitch * depth;
          j += pitch;
        }
        i += rows;
      }
    }
  }
}

// The narrow products. They finish one vector of the result at a time, whose elements may lie apart.

struct Line {
  float* c;
  Index stride;  // between elements of the result
  const float* bias;
  Index bias_stride;
  const float* mask;
  Index mask_stride;
};

HWY_INLINE void finish_line(V sum, const Line& line, Index i, std::size_t count, const Gemm& g) {
  float* c = line.c + i * line.stride;
  if (line.stride == 1 && line.bias_stride == 1 && line.mask_stride == 1) {
    const Finish f{g.alpha, g.accumulate, nullptr, nullptr, 0, g.epilogue == Gemm::Epilogue::relu};
    const float* bias = line.bias ? line.bias + i : nullptr;
    const float* mask = line.mask ? line.mask + i : nullptr;
    if (count == kLanes) {
      finish<true>(sum, c, bias, mask, count, f);
    } else {
      finish<false>(sum, c, bias, mask, count, f);
    }
    return;
  }
  if (line.stride == 1 && line.bias_stride == 0 && !line.mask) {
    V value = hn::Mul(sum, set(g.alpha));
    if (g.accumulate) value = hn::Add(value, count == kLanes ? load(c) : load_n(c, count));
    if (line.bias) value = hn::Add(value, set(*line.bias));
    if (g.epilogue == Gemm::Epilogue::relu) value = relu(value);
    if (count == kLanes) {
      store(value, c);
    } else {
      store_n(value, c, count);
    }
    return;
  }
  HWY_ALIGN float lanes[kLanes];
  hn::Store(sum, kFloats, lanes);
  for (std::size_t l = 0; l < count; l++, i++, c += line.stride) {
    float value = lanes[l] * g.alpha;
    if (g.accumulate) value += *c;
    if (line.bias) value += line.bias[i * line.bias_stride];
    if (g.epilogue == Gemm::Epilogue::relu && value < 0) value = 0;
    if (line.mask && line.mask[i * line.mask_stride] <= 0) value = 0;
    *c = value;
  }
}

/** result[i] = sum over k of x[k] * matrix[k * stride + i]: columns in lanes, four sums of every fourth k. */
void combine_rows(const Gemm& g, const float* matrix, Index stride, const float* x, Index x_stride, Index k_end,
                  const Line& line, Index begin, Index end) {
  each_place(begin, end, [&](auto at) HWY_ATTR {
    Sums sums;
    const float* p = matrix;
    Index k = 0;
    for (; k + 4 <= k_end; k += 4, p += 4 * stride) {
#pragma GCC unroll 4
      for (int u = 0; u < 4; u++) {
        sums.v[u] = hn::MulAdd(set(x[(k + u) * x_stride]), at.read(p + u * stride), sums.v[u]);
      }
    }
    for (; k < k_end; k++, p += stride) sums.v[0] = hn::MulAdd(set(x[k * x_stride]), at.read(p), sums.v[0]);
    finish_line(sums.combined(), line, at.i, at.count, g);
  });
}

/** result[i] = sum over k of x[k] * matrix[i * stride + k], k in lanes; x contiguous. For long rows. */
void dot_rows(const Gemm& g, const float* matrix, Index stride, const float* x, Index k_end, const Line& line,
              Index begin, Index end) {
  HWY_ALIGN float results[kLanes] = {};
  for (Index i = begin; i < end; i += kLanesSigned) {
    const Index count = std::min(kLanesSigned, end - i);
    for (Index l = 0; l < count; l++) {
      const float* p = matrix + (i + l) * stride;
      Sums sums;
      Index k = 0;
      for (; k + 4 * kLanesSigned <= k_end; k += 4 * kLanesSigned) {
#pragma GCC unroll 4
        for (int u = 0; u < 4; u++) {
          sums.v[u] = hn::MulAdd(load(p + k + u * kLanesSigned), load(x + k + u * kLanesSigned), sums.v[u]);
        }
      }
      for (int u = 0; k + kLanesSigned <= k_end; k += kLanesSigned, u++) {
        sums.v[u] = hn::MulAdd(load(p + k), load(x + k), sums.v[u]);
      }
      if (k < k_end) {
        const auto rest = static_cast<std::size_t>(k_end - k);
        sums.v[3] = hn::MulAdd(load_n(p + k, rest), load_n(x + k, rest), sums.v[3]);
      }
      results[l] = sums.total();
    }
    finish_line(hn::Load(kFloats, results), line, i, static_cast<std::size_t>(count), g);
  }
}

/** The same of kLanes rows, in lanes: they are transposed on the way. */
HWY_INLINE V dot_lanes(const float* matrix, Index stride, const float* x, Index k_end) {
  Sums sums;
  Index k = 0;
  for (; k + 4 <= k_end; k += 4) {
    V columns[4];
    load_transposed(matrix + k, stride, columns);
#pragma GCC unroll 4
    for (int u = 0; u < 4; u++) sums.v[u] = hn::MulAdd(set(x[k + u]), columns[u], sums.v[u]);
  }
  for (; k < k_end; k++) {
    HWY_ALIGN float column[kLanes];
    for (Index l = 0; l < kLanesSigned; l++) column[l] = matrix[l * stride + k];
    sums.v[0] = hn::MulAdd(set(x[k]), hn::Load(kFloats, column), sums.v[0]);
  }
  return sums.combined();
}

/** dot_rows for short rows; the matrix has `rows` in all. */
void dot_short_rows(const Gemm& g, const float* matrix, Index stride, Index rows, const float* x, Index k_end,
                    const Line& line, Index begin, Index end) {
  Index i = begin;
  for (; i + kLanesSigned <= end; i += kLanesSigned) {
    finish_line(dot_lanes(matrix + i * stride, stride, x, k_end), line, i, kLanes, g);
  }
  if (i >= end) return;
  const auto count = static_cast<std::size_t>(end - i);
  HWY_ALIGN float lanes[2 * kLanes] = {};
  if (rows >= kLanesSigned) {
    // A whole vector of rows around those that are left, of which only those are used.
    const Index first = std::min(i, rows - kLanesSigned);
    hn::Store(dot_lanes(matrix + first * stride, stride, x, k_end), kFloats, lanes);
    finish_line(load(lanes + (i - first)), line, i, count, g);
    return;
  }
  Sums sums;
  for (Index k = 0; k < k_end; k++) {
    for (Index l = i; l < end; l++) lanes[l - i] = matrix[l * stride + k];
    V& s = sums.v[k < k_end / 4 * 4 ? k % 4 : 0];
    s = hn::MulAdd(set(x[k]), hn::Load(kFloats, lanes), s);
  }
  finish_line(sums.combined(), line, i, count, g);
}

constexpr Index kShortRow = 48;

/** m = 1 or n = 1: a vector and a matrix. `begin` and `end` are rows of C. */
void matrix_vector(const Gemm& g, const GemmArgs& x, float* workspace, Index begin, Index end) {
  if (begin >= end) return;
  const bool column = g.n == 1;  // C is a column, or else a row
  const bool has_mask = g.epilogue == Gemm::Epilogue::relu_mask;
  const Line line{x.c,
                  column ? g.ldc : 1,
                  g.bias ? x.bias : nullptr,
                  column ? 0 : 1,
                  has_mask ? x.mask : nullptr,
                  column ? g.ld_mask : 1};
  const float* matrix = column ? x.a : x.b;
  const Index stride = column ? g.lda : g.ldb;
  const bool rows_are_results = column ? !g.transpose_a : g.transpose_b;
  const float* v = column ? x.b : x.a;
  const Index v_stride = column ? (g.transpose_b ? 1 : g.ldb) : (g.transpose_a ? g.lda : 1);
  const Index first = column ? begin : 0, last = column ? end : g.n;
  if (!rows_are_results) {
    combine_rows(g, matrix, stride, v, v_stride, g.k, line, first, last);
    return;
  }
  if (v_stride != 1) {
    for (Index k = 0; k < g.k; k++) workspace[k] = v[k * v_stride];
    v = workspace;
  }
  if (g.k < kShortRow) {
    dot_short_rows(g, matrix, stride, column ? g.m : g.n, v, g.k, line, first, last);
  } else {
    dot_rows(g, matrix, stride, v, g.k, line, first, last);
  }
}

/** Some vectors of columns of an outer product, over all rows: B stays in registers. */
template <int vectors, bool whole>
HWY_INLINE void outer_columns(const Gemm& g, const GemmArgs& x, Index begin, Index end, Index j, std::size_t count) {
  const Index a_row = g.transpose_a ? 1 : g.lda;
  const auto read = [=](const float* p) HWY_ATTR { return whole ? load(p) : load_n(p, count); };
  V b[vectors], bias[vectors];
#pragma GCC unroll 4
  for (int v = 0; v < vectors; v++) {
    b[v] = hn::Mul(read(x.b + j + v * kLanesSigned), set(g.alpha));
    bias[v] = g.bias ? read(x.bias + j + v * kLanesSigned) : zero();
  }
  // `epilogue` gets the value and where it goes.
  const auto rows = [&](auto epilogue) HWY_ATTR {
    const float* a = x.a + begin * a_row;
    for (Index i = begin; i < end; i++, a += a_row) {
      const V a_i = set(*a);
#pragma GCC unroll 4
      for (int v = 0; v < vectors; v++) {
        const Index column = j + v * kLanesSigned;
        float* c = x.c + i * g.ldc + column;
        const V start = g.accumulate ? hn::Add(bias[v], read(c)) : bias[v];
        const V value = epilogue(hn::MulAdd(a_i, b[v], start), i, column);
        whole ? store(value, c) : store_n(value, c, count);
      }
    }
  };
  switch (g.epilogue) {
    case Gemm::Epilogue::none: rows([](V value, Index, Index) HWY_ATTR { return value; }); break;
    case Gemm::Epilogue::relu: rows([](V value, Index, Index) HWY_ATTR { return relu(value); }); break;
    case Gemm::Epilogue::relu_mask:
      rows([&](V value, Index i, Index column)
               HWY_ATTR { return where_positive(read(x.mask + i * g.ld_mask + column), value); });
      break;
  }
}

/** k = 1 and B's row contiguous: an outer product. */
void outer_product(const Gemm& g, const GemmArgs& x, float*, Index begin, Index end) {
  Index j = 0;
  for (; j + 4 * kLanesSigned <= g.n; j += 4 * kLanesSigned) outer_columns<4, true>(g, x, begin, end, j, kLanes);
  for (; j + 2 * kLanesSigned <= g.n; j += 2 * kLanesSigned) outer_columns<2, true>(g, x, begin, end, j, kLanes);
  for (; j + kLanesSigned <= g.n; j += kLanesSigned) outer_columns<1, true>(g, x, begin, end, j, kLanes);
  if (j < g.n) outer_columns<1, false>(g, x, begin, end, j, static_cast<std::size_t>(g.n - j));
}

/** Calls `one` for each matrix of the batch that has rows in [begin, end). */
template <void one(const Gemm&, const GemmArgs&, float*, Index, Index)>
void each_matrix(const Gemm& g, const GemmArgs& x, void* workspace, Index begin, Index end) {
  float* floats = static_cast<float*>(workspace);
  if (g.batch == 1) {
    one(g, x, floats, begin, end);
    return;
  }
  while (begin < end) {
    const Index matrix = begin / g.m, first = begin - matrix * g.m, last = std::min(g.m, end - matrix * g.m);
    one(g,
        {x.a + matrix * g.stride_a, x.b + matrix * g.stride_b, x.c + matrix * g.stride_c, x.bias,
         x.mask ? x.mask + matrix * g.stride_mask : nullptr},
        floats, first, last);
    begin += last - first;
  }
}

}  // namespace

GemmFn Select(const Gemm& g) {
  if (g.m == 1 || g.n == 1) return each_matrix<matrix_vector>;
  if (g.k == 1 && (!g.transpose_b || g.ldb == 1)) return each_matrix<outer_product>;
  return each_matrix<blocked>;
}

std::size_t Workspace(const Gemm& g) {
  if (g.m == 1 || g.n == 1) return static_cast<std::size_t>(g.k) * sizeof(float);
  const std::size_t a = packs_a(g) ? static_cast<std::size_t>(kTileRows * std::min(g.k, kDepth)) : 0;
  return (floats_of_b(g) + a) * sizeof(float) + 64;
}

}  // namespace levin::compile::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
#include <levin/compile/kernels/refuse_impl.h>

namespace levin::compile::kernels {

HWY_EXPORT(Select);
HWY_EXPORT(Workspace);

GemmFn select_gemm(const Gemm& g) {
  constexpr const char* where = "a matrix product";
  require_size(g.m, 0, "m", where);
  require_size(g.n, 0, "n", where);
  require_size(g.k, 0, "k", where);
  require_size(g.batch, 0, "batch", where);
  if (g.m > 1) require_size(g.ldc, g.n, "ldc", where);
  if (g.m > 1 && g.epilogue == Gemm::Epilogue::relu_mask) require_size(g.ld_mask, 1, "ld_mask", where);
  return LEVIN_BEST(Select)(g);
}
std::size_t gemm_workspace(const Gemm& gemm) { return LEVIN_BEST(Workspace)(gemm); }

}  // namespace levin::compile::kernels
#endif
