#include <levin/compile/kernels/embedding.h>

#include <levin/compile/kernels/copy.h>

#include <cstring>
#include <vector>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "levin/compile/kernels/embedding.cpp"
#include <hwy/foreach_target.h>

#include <levin/compile/kernels/dispatch_impl.h>
#include <levin/compile/kernels/simd-inl.h>

HWY_BEFORE_NAMESPACE();
namespace levin::compile::kernels::HWY_NAMESPACE {

std::int64_t Backward(const Embedding& e, const float* dy, const std::int64_t* ids, float* dtable, bool accumulate) {
  for (std::int64_t i = 0; i < e.count; i++) {
    if (ids[i] < 0 || ids[i] >= e.rows) return i;
  }
  if (!accumulate) std::memset(dtable, 0, static_cast<std::size_t>(e.rows * e.columns) * sizeof(float));
  std::vector<std::int64_t> times(e.scale_by_frequency ? static_cast<std::size_t>(e.rows) : 0);
  if (e.scale_by_frequency) {
    for (std::int64_t i = 0; i < e.count; i++) times[static_cast<std::size_t>(ids[i])]++;
  }
  for (std::int64_t i = 0; i < e.count; i++) {
    if (ids[i] == e.padding_idx) continue;
    const V factor = set(e.scale_by_frequency ? 1 / static_cast<float>(times[static_cast<std::size_t>(ids[i])]) : 1);
    float* to = dtable + ids[i] * e.columns;
    each_place(0, e.columns, [&, from = dy + i * e.columns](auto at) HWY_ATTR {
      at.write(hn::MulAdd(at.read(from), factor, at.read(to)), to);
    });
  }
  return -1;
}

}  // namespace levin::compile::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace levin::compile::kernels {

HWY_EXPORT(Backward);

std::int64_t embedding_forward(const Embedding& e, const float* table, const std::int64_t* ids, float* y) {
  for (std::int64_t i = 0; i < e.count; i++) {
    if (ids[i] < 0 || ids[i] >= e.rows) return i;
  }
  return gather_rows(table, e.rows, static_cast<std::size_t>(e.columns) * sizeof(float), ids, e.count, y);
}
EmbeddingBackwardFn select_embedding_backward(const Embedding&) { return LEVIN_BEST(Backward); }

}  // namespace levin::compile::kernels
#endif
