#include <levin/compile/row_batches.h>

#include <levin/data/tensor_dataset.h>

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>

namespace levin::compile {

bool RowBatches::same_columns(const Batch& tensors) const {
  return std::ranges::equal(columns_, tensors, [](const Column& column, const at::Tensor& tensor) {
    return column.source.is_same(tensor) && column.data == tensor.const_data_ptr();
  });
}

bool RowBatches::take_columns(const Batch& tensors) {
  columns_.clear();
  sample_size_ = -1;
  for (const at::Tensor& tensor : tensors) {
    if (!plain_rows(tensor)) {
      why_not_ = "tensor " + std::to_string(columns_.size()) +
                 " of the dataset is not contiguous memory of the CPU; call contiguous() on it";
      columns_.clear();
      return false;
    }
    const auto rows = static_cast<std::size_t>(std::max<std::int64_t>(1, tensor.size(0)));
    columns_.push_back({.source = tensor,
                        .buffer = {},
                        .data = static_cast<const std::byte*>(tensor.const_data_ptr()),
                        .row_bytes = tensor.nbytes() / rows});
  }
  return true;
}

std::int64_t RowBatches::look(LoaderImpl& loader) {
  loader_ = &loader;
  taken_ = 0;
  upcoming_ = loader.upcoming_rows();
  if (upcoming_.batches == 0) {
    why_not_ =
        "the loader's batches are not rows of tensors in memory (a TensorDataset, or a Subset of one, without "
        "workers, collate_fn, transform and pin_memory)";
    return 0;
  }
  if (!same_columns(*upcoming_.tensors) && !take_columns(*upcoming_.tensors)) return upcoming_.batches = 0;
  const bool gathers = upcoming_.rows != nullptr;
  if (sample_size_ != upcoming_.batch_size || gathers_ != gathers) {
    const at::NoGradGuard no_grad;
    sample_size_ = upcoming_.batch_size;
    gathers_ = gathers;
    Batch::Tensors tensors;
    for (Column& column : columns_) {
      auto sizes = column.source.sizes().vec();
      sizes[0] = sample_size_;
      column.buffer = gathers ? at::empty(sizes, column.source.options()) : at::Tensor();
      tensors.push_back(gathers ? column.buffer : column.source.narrow(0, 0, sample_size_));
    }
    sample_ = upcoming_.tensors->with_tensors(std::move(tensors));
    addresses_.resize(columns_.size());
  }
  why_not_.clear();
  return upcoming_.batches;
}

std::span<const void* const> RowBatches::next() {
  const std::int64_t begin = taken_++ * sample_size_;
  loader_->skip(1);
  if (upcoming_.rows == nullptr) {
    const auto row = static_cast<std::size_t>(upcoming_.first + begin);
    for (std::size_t i = 0; i < columns_.size(); ++i) addresses_[i] = columns_[i].data + row * columns_[i].row_bytes;
    return addresses_;
  }
  const std::span rows(upcoming_.rows + begin, static_cast<std::size_t>(sample_size_));
  const bool in_place = consecutive(rows);  // as gather_rows, which gives a view then
  for (std::size_t i = 0; i < columns_.size(); ++i) {
    const Column& column = columns_[i];
    if (in_place) {
      addresses_[i] = column.data + static_cast<std::size_t>(rows[0]) * column.row_bytes;
    } else {
      void* target = column.buffer.mutable_data_ptr();
      copy_rows(column.data, target, column.row_bytes, rows);
      addresses_[i] = target;
    }
  }
  return addresses_;
}

}  // namespace levin::compile
