// Dataset: samples by index, whole batches at once where the memory allows it.
#pragma once

#include <levin/core/export.h>
#include <levin/data/batch.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace levin {

/** Samples that are rows of tensors in memory: what a program reads where they lie. */
struct RowsInMemory {
  const Batch* tensors = nullptr;              ///< of the dataset; sample i is row i of each
  std::span<const std::int64_t> indices = {};  ///< of a subset: sample i is row indices[i]
};

/**
 * What a dataset implements. Reading must be safe from several threads at once. A dataset whose samples lie in memory
 * or come in blocks overrides `get_batch`, which is all that a DataLoader calls.
 */
class LEVIN_API DatasetImpl {
 public:
  virtual ~DatasetImpl();

  /** Number of samples. */
  virtual std::int64_t size() const = 0;
  /** Sample `index` in [0, size()), its tensors without a batch dimension. */
  virtual Batch get(std::int64_t index) const = 0;
  /** The samples at `indices` (at least one) as one batch; by default stacks `get` of each. */
  virtual Batch get_batch(std::span<const std::int64_t> indices) const;
  /** For messages; by default the name of the class. */
  virtual std::string name() const;
  /** The tensors whose rows the samples are, where they are nothing else; by default none. */
  virtual std::optional<RowsInMemory> rows_in_memory() const { return std::nullopt; }

 protected:
  /** `get`, whose exceptions come as an Error that names the sample and the dataset, with the original nested in it. */
  Batch get_named(std::int64_t index) const;
  friend class Dataset;
};

/** A handle to a dataset, shared by its copies: `Dataset(std::make_shared<MyDataset>(...))`. */
class LEVIN_API Dataset {
 public:
  Dataset() = default;
  Dataset(std::shared_ptr<const DatasetImpl> impl) : impl_(std::move(impl)) {}

  bool defined() const noexcept { return impl_ != nullptr; }
  explicit operator bool() const noexcept { return defined(); }

  std::int64_t size() const { return impl().size(); }
  /** Sample `index` without a batch dimension; throws Error outside [0, size()). */
  Batch get(std::int64_t index) const;
  Batch get_batch(std::span<const std::int64_t> indices) const { return impl().get_batch(indices); }
  /** The samples at `indices`, one by one; exceptions name the sample. */
  std::vector<Batch> get_samples(std::span<const std::int64_t> indices) const;

  /** The implementation; throws Error when undefined. */
  const DatasetImpl& impl() const {
    if (!impl_) throw_undefined();
    return *impl_;
  }

 private:
  [[noreturn]] static void throw_undefined();

  std::shared_ptr<const DatasetImpl> impl_;
};

}  // namespace levin
