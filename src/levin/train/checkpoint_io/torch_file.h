// PyTorch's file format (zip container, pickle protocol 2), restricted to what torch.load(weights_only=True) accepts.
#pragma once

#include <levin/core/atomic_file.h>
#include <levin/core/export.h>
#include <levin/train/checkpoint_io/pickle_value.h>

#include <ATen/core/Tensor.h>

#include <filesystem>
#include <string>
#include <utility>
#include <vector>

namespace levin {

/** Memory that is kept from one use to the next, so that its pages are there already. */
class LEVIN_API StagingBuffer {
 public:
  StagingBuffer() = default;
  StagingBuffer(const StagingBuffer&) = delete;
  StagingBuffer& operator=(const StagingBuffer&) = delete;
  ~StagingBuffer();

  /** At least `bytes` of memory, aligned to a page; what was handed out before is void. */
  char* reserve(size_t bytes);
  /** Has the system supply the pages of what is reserved now, instead of one by one at their first use. */
  void fault_in() noexcept;

 private:
  char* data_ = nullptr;
  size_t size_ = 0;
};

/**
 * A value made ready to be written: its pickle, and the memory of its tensors as one record per storage. The records
 * are the live tensors' own memory until `copy_into` makes them a snapshot.
 */
class LEVIN_API TorchFileImage {
 public:
  /** Throws Error for what cannot be written; see save_torch_file. */
  explicit TorchFileImage(const PickleValue& value);

  /** Copies the records into `buffer`, which has to outlive the image: later changes of the tensors are not seen. */
  void copy_into(StagingBuffer& buffer);
  /** Writes the content, without a commit; may run on any thread. Throws Error when the disk is full and so on. */
  void write(AtomicFile& file) const;
  /** The bytes of all tensors. */
  size_t tensor_bytes() const;

 private:
  std::string pickle_;
  std::vector<std::pair<std::string, at::Tensor>> records_;  // name and contiguous CPU memory
};

/**
 * Reads a file written by torch.save or save_torch_file.
 *
 * Nothing in the file is ever executed. Tensors land on the CPU; those that shared memory when saved share it again; a
 * Parameter becomes a tensor that requires a gradient; attributes of an OrderedDict (`_metadata`) are dropped. Memory
 * and nesting are bounded by the size of the file. Throws Error when the file is missing, damaged, of another format,
 * or needs code to be executed.
 */
LEVIN_API PickleValue load_torch_file(const std::filesystem::path& path);

/**
 * Writes `value` so that torch.load(path, weights_only=True) reads it, atomically: the file is whole or as it was.
 *
 * A tensor brings only the memory it spans, not the buffer it is a view of; tensors that overlap stay shared. Tensors
 * of other devices are stored as CPU tensors. Throws Error for sparse and quantized tensors and for strings that are
 * not UTF-8.
 */
LEVIN_API void save_torch_file(const std::filesystem::path& path, const PickleValue& value);

}  // namespace levin
