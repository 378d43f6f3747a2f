#include <levin/data/tensor_dataset.h>

#include <levin/core/error.h>

#include <ATen/EmptyTensor.h>
#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/from_blob.h>

#include <algorithm>
#include <cstring>
#include <sstream>

namespace levin {
namespace {

// Below this many bytes a thread, waking another thread costs more than it copies.
constexpr std::int64_t kBytesPerThread = 256 * 1024;

void check_range(std::span<const std::int64_t> indices, std::int64_t rows) {
  for (const auto index : indices) {
    if (index < 0 || index >= rows) {
      throw Error({.what = "a dataset of " + std::to_string(rows) + " samples has none at this index",
                   .value = std::to_string(index),
                   .where = {},
                   .hint = {}});
    }
  }
}

// Rows of a size known to the compiler: a plain load and store instead of a call to memcpy.
template <std::size_t Size>
void copy_small_rows(const char* source, char* target, std::span<const std::int64_t> indices) {
  for (const auto index : indices) {
    std::memcpy(target, source + static_cast<std::size_t>(index) * Size, Size);
    target += Size;
  }
}

void copy_some_rows(const char* source, char* target, std::size_t row_bytes, std::span<const std::int64_t> indices) {
  switch (row_bytes) {
    case 1: return copy_small_rows<1>(source, target, indices);
    case 2: return copy_small_rows<2>(source, target, indices);
    case 4: return copy_small_rows<4>(source, target, indices);
    case 8: return copy_small_rows<8>(source, target, indices);
    case 16: return copy_small_rows<16>(source, target, indices);
    default: break;
  }
  // Shuffled rows are out of reach of the processor's own prefetching: before one is copied, the next is asked for. Long
  // rows come by themselves.
  constexpr std::size_t kLine = 64, kLong = 32 * 1024;
  for (std::size_t i = 0; i < indices.size(); ++i) {
    if (i + 1 < indices.size() && row_bytes <= kLong) {
      const char* next = source + static_cast<std::size_t>(indices[i + 1]) * row_bytes;
      for (std::size_t at = 0; at < row_bytes; at += kLine) __builtin_prefetch(next + at, 0, 2);
    }
    std::memcpy(target + i * row_bytes, source + static_cast<std::size_t>(indices[i]) * row_bytes, row_bytes);
  }
}

class TensorDatasetImpl : public DatasetImpl {
 public:
  explicit TensorDatasetImpl(Batch tensors) : tensors_(std::move(tensors)) {}

  std::int64_t size() const override { return tensors_[0].size(0); }

  Batch get(std::int64_t index) const override {
    Batch::Tensors sample;
    for (const auto& tensor : tensors_) sample.push_back(tensor.select(0, index));
    return tensors_.with_tensors(std::move(sample));
  }

  Batch get_batch(std::span<const std::int64_t> indices) const override {
    Batch::Tensors rows;
    for (const auto& tensor : tensors_) rows.push_back(gather_rows(tensor, indices));
    return tensors_.with_tensors(std::move(rows));
  }

  std::optional<RowsInMemory> rows_in_memory() const override { return RowsInMemory{.tensors = &tensors_}; }

  const Batch& tensors() const { return tensors_; }

 private:
  Batch tensors_;
};

std::shared_ptr<const DatasetImpl> make_impl(Batch tensors) {
  if (tensors.empty()) throw Error("a TensorDataset needs at least one tensor");
  std::ostringstream shapes;
  bool agree = true;
  for (std::int64_t i = 0; i < tensors.size(); ++i) {
    const auto& tensor = tensors[i];
    if (!tensor.defined()) {
      throw Error("tensor " + std::to_string(i) + " of a TensorDataset is undefined");
    }
    if (tensor.dim() == 0) {
      throw Error({.what = "tensor " + std::to_string(i) + " of a TensorDataset is a scalar and has no rows",
                   .value = {},
                   .where = {},
                   .hint = "unsqueeze(0) makes it one row"});
    }
    shapes << (i ? ", " : "") << tensor.sizes();
    agree = agree && tensor.size(0) == tensors[0].size(0);
  }
  if (!agree) {
    throw Error({.what = "the tensors of a TensorDataset differ in their number of rows (dimension 0)",
                 .value = shapes.str(),
                 .where = {},
                 .hint = {}});
  }
  return std::make_shared<TensorDatasetImpl>(std::move(tensors));
}

}  // namespace

TensorDataset::TensorDataset(Batch tensors) : Dataset(make_impl(std::move(tensors))) {}

const Batch& TensorDataset::tensors() const { return static_cast<const TensorDatasetImpl&>(impl()).tensors(); }

bool plain_rows(const at::Tensor& source) {
  return source.device().is_cpu() && source.layout() == at::kStrided && source.is_contiguous() &&
         !source.requires_grad() && !source.is_conj() && !source.is_neg() && !source.is_quantized();
}

bool consecutive(std::span<const std::int64_t> indices) {
  for (std::size_t i = 1; i < indices.size(); ++i) {
    if (indices[i] != indices[0] + static_cast<std::int64_t>(i)) return false;
  }
  return true;
}

void copy_rows(const void* source, void* target, std::size_t row_bytes, std::span<const std::int64_t> indices) {
  const auto* from = static_cast<const char*>(source);
  auto* to = static_cast<char*>(target);
  const auto count = static_cast<std::int64_t>(indices.size());
  const auto grain =
      std::max<std::int64_t>(1, kBytesPerThread / std::max<std::int64_t>(1, static_cast<std::int64_t>(row_bytes)));
  if (count <= grain) return copy_some_rows(from, to, row_bytes, indices);
  at::parallel_for(0, count, grain, [&](std::int64_t begin, std::int64_t end) {
    const auto first = static_cast<std::size_t>(begin);
    copy_some_rows(from, to + first * row_bytes, row_bytes,
                   indices.subspan(first, static_cast<std::size_t>(end - begin)));
  });
}

at::Tensor gather_rows(const at::Tensor& source, std::span<const std::int64_t> indices) {
  check_range(indices, source.size(0));
  const auto count = static_cast<std::int64_t>(indices.size());
  if (count > 0 && consecutive(indices)) return source.narrow(0, indices[0], count);
  if (!plain_rows(source)) {
    auto index = at::from_blob(const_cast<std::int64_t*>(indices.data()), {count}, at::kLong);
    return source.index_select(0, index.to(source.device()));
  }

  auto sizes = at::DimVector(source.sizes());
  sizes[0] = count;
  auto result = at::Tensor(at::detail::empty_cpu(sizes, source.scalar_type(), false, std::nullopt));
  const auto row_bytes =
      source.size(0) == 0 ? std::size_t{0} : source.nbytes() / static_cast<std::size_t>(source.size(0));
  copy_rows(source.const_data_ptr(), result.mutable_data_ptr(), row_bytes, indices);
  return result;
}

}  // namespace levin
