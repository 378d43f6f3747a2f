// RowBatches: the batches of a loader over tensors in memory, as addresses for programs. No tensor is made of a batch.
#pragma once

#include <levin/data/loader.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace levin::compile {

class RowBatches {
 public:
  /**
   * Looks where the loader stands, which has to be asked again when somebody else has moved it. Returns how many
   * batches of one size come next; 0 where they are not rows of dense tensors in memory, and why_not() says so.
   */
  std::int64_t look(LoaderImpl& loader);
  /** A batch as the loader would give it, for its shapes. */
  const Batch& sample() const { return sample_; }
  std::int64_t batch_size() const { return upcoming_.batch_size; }
  const std::string& why_not() const { return why_not_; }

  /**
   * The addresses of the next batch's tensors, in order, and the loader goes past it. Good until the next call. At most
   * as often as look() has said.
   */
  std::span<const void* const> next();

 private:
  struct Column {
    at::Tensor source, buffer;  ///< `buffer`: of the sample, where rows are gathered
    const std::byte* data = nullptr;
    std::size_t row_bytes = 0;
  };
  bool same_columns(const Batch& tensors) const;
  bool take_columns(const Batch& tensors);

  LoaderImpl* loader_ = nullptr;
  UpcomingRows upcoming_;
  std::int64_t taken_ = 0;  // of upcoming_
  std::vector<Column> columns_;
  std::int64_t sample_size_ = -1;
  bool gathers_ = false;  // rows of the sample are gathered, not consecutive
  Batch sample_;
  std::vector<const void*> addresses_;
  std::string why_not_;
};

}  // namespace levin::compile
