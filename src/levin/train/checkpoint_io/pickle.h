// Pickle protocol 2, the subset that torch.load(weights_only=True) accepts.
#pragma once

#include <levin/core/export.h>
#include <levin/train/checkpoint_io/pickle_value.h>

#include <functional>
#include <string>
#include <string_view>

namespace levin {

/** What a pickle says of a storage that lies beside it. */
struct StorageRef {
  std::string key;                   ///< name of the record, data/<key>
  at::ScalarType dtype = at::kByte;  ///< of the storage's class; kByte when untyped
  int64_t numel = 0;                 ///< in elements of that dtype
};

/** Finds the bytes of a storage; called for every mention, and has to hand out the same memory for the same key. */
using StorageLoader = std::function<c10::Storage(const StorageRef&)>;
/** Stores a tensor's memory and says where: the key of its storage, and the tensor as a view of it (CPU). */
struct StoredTensor {
  std::string key;
  int64_t storage_numel = 0;  ///< elements of the storage
  int64_t offset = 0;         ///< in elements
  std::vector<int64_t> strides;
};
using StorageWriter = std::function<StoredTensor(const at::Tensor&)>;

/**
 * Reads `bytes`, running nothing. Memory and time are bounded by their number, nesting by 250 levels. Throws Error for
 * an opcode or a global outside of the subset, for damage, and for a tensor that reaches outside of its storage.
 */
LEVIN_API PickleValue read_pickle(std::string_view bytes, const StorageLoader& load);

/** `value` as a pickle. Throws Error for text that is not UTF-8, nesting over 250 levels and other dict keys. */
LEVIN_API std::string write_pickle(const PickleValue& value, const StorageWriter& store);

/** PyTorch's storage class of a dtype ("FloatStorage"), or "" when only untyped storages hold it. */
LEVIN_API std::string_view storage_class(at::ScalarType dtype);
/** The dtype by PyTorch's name ("float32"); Undefined when there is none. */
LEVIN_API at::ScalarType dtype_by_name(std::string_view name);
LEVIN_API std::string_view name_of_dtype(at::ScalarType dtype);

}  // namespace levin
