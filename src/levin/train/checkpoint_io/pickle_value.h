// PickleValue: what a PyTorch file may hold, without anything that would need code to be run.
#pragma once

#include <levin/core/export.h>
#include <levin/core/value.h>

#include <ATen/core/Tensor.h>

#include <concepts>
#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace levin {

class PickleValue;
using PickleList = std::vector<PickleValue>;

/** A Python tuple. */
struct LEVIN_API PickleTuple {
  PickleList items;
};

/** A Python bytes (or bytearray, on reading). */
struct LEVIN_API PickleBytes {
  std::string data;
  friend bool operator==(const PickleBytes&, const PickleBytes&) = default;
};

/** A torch.Size. */
struct LEVIN_API PickleSize {
  std::vector<int64_t> sizes;
  friend bool operator==(const PickleSize&, const PickleSize&) = default;
};

/** A Python dict, or OrderedDict: keys in order of insertion, each a str, int, bool, float or None. */
class LEVIN_API PickleDict {
 public:
  using value_type = std::pair<PickleValue, PickleValue>;
  using iterator = std::vector<value_type>::iterator;
  using const_iterator = std::vector<value_type>::const_iterator;

  PickleDict() = default;
  PickleDict(std::initializer_list<value_type> entries);

  bool ordered = false;  ///< an OrderedDict, as Module.state_dict() returns

  size_t size() const noexcept;
  bool empty() const noexcept;
  iterator begin() noexcept;
  iterator end() noexcept;
  const_iterator begin() const noexcept;
  const_iterator end() const noexcept;

  const PickleValue* find(std::string_view key) const;
  const PickleValue* find(int64_t key) const;
  PickleValue* find(std::string_view key);
  bool contains(std::string_view key) const { return find(key) != nullptr; }
  /** The value of `key`; throws Error naming the nearest key when it is missing. */
  const PickleValue& at(std::string_view key) const;
  /** The value of `key`, inserted as None when missing. */
  PickleValue& operator[](std::string_view key);
  /** Sets `key`, replacing what it had; throws Error when it is not a scalar. */
  void set(PickleValue key, PickleValue value);
  /** Appends without looking whether the key is there already. */
  void append(PickleValue key, PickleValue value);

 private:
  std::vector<value_type> entries_;
};

class LEVIN_API PickleValue {
 public:
  enum class Type { none, boolean, integer, floating, string, bytes, list, tuple, dict, tensor, dtype, device, size };

  PickleValue() = default;
  PickleValue(std::nullptr_t) {}
  template <class T>
  requires std::same_as<T, bool> PickleValue(T value) : data_(value) {}
  template <std::integral T>
  requires(!std::same_as<T, bool>) PickleValue(T value) : data_(static_cast<int64_t>(value)) {}
  template <std::floating_point T>
  PickleValue(T value) : data_(static_cast<double>(value)) {}
  PickleValue(const char* value) : data_(std::string(value)) {}
  PickleValue(std::string_view value) : data_(std::string(value)) {}
  PickleValue(std::string value) : data_(std::move(value)) {}
  PickleValue(PickleBytes value) : data_(std::move(value)) {}
  PickleValue(PickleList value) : data_(std::move(value)) {}
  PickleValue(PickleTuple value) : data_(std::move(value)) {}
  PickleValue(PickleDict value) : data_(std::move(value)) {}
  PickleValue(at::Tensor value) : data_(std::move(value)) {}
  PickleValue(at::ScalarType value) : data_(value) {}
  PickleValue(at::Device value) : data_(value) {}
  PickleValue(PickleSize value) : data_(std::move(value)) {}
  /** The same value; lists and maps recursively. Throws Error for an opaque handle. */
  PickleValue(const Value& value);
  PickleValue(const Map& value);
  PickleValue(const List& value);

  Type type() const noexcept { return static_cast<Type>(data_.index()); }
  /** Python's word for the type: "None", "int", "dict", "Tensor", ... */
  std::string type_name() const;
  bool is_none() const noexcept { return type() == Type::none; }
  bool is_bool() const noexcept { return type() == Type::boolean; }
  bool is_int() const noexcept { return type() == Type::integer; }
  bool is_float() const noexcept { return type() == Type::floating; }
  bool is_string() const noexcept { return type() == Type::string; }
  bool is_bytes() const noexcept { return type() == Type::bytes; }
  bool is_list() const noexcept { return type() == Type::list; }
  bool is_tuple() const noexcept { return type() == Type::tuple; }
  bool is_dict() const noexcept { return type() == Type::dict; }
  bool is_tensor() const noexcept { return type() == Type::tensor; }
  bool is_dtype() const noexcept { return type() == Type::dtype; }
  bool is_device() const noexcept { return type() == Type::device; }
  bool is_size() const noexcept { return type() == Type::size; }

  // Each throws Error naming both types when the value is something else.
  bool as_bool() const;
  int64_t as_int() const;    ///< an int, or a float that is a whole number
  double as_double() const;  ///< a float or an int
  const std::string& as_string() const;
  const PickleBytes& as_bytes() const;
  const PickleList& as_list() const;  ///< a list, or the items of a tuple
  const PickleDict& as_dict() const;
  PickleDict& as_dict();
  const at::Tensor& as_tensor() const;
  at::ScalarType as_dtype() const;
  at::Device as_device() const;
  const PickleSize& as_size() const;

  /** As a Value: tuples and sizes become lists. Throws Error for tensors, bytes, dtypes, devices and other keys than
   * str. */
  Value to_value() const;

  /** Equal type and content; tensors by dtype, shape and bitwise content (NaN equals itself). */
  friend LEVIN_API bool operator==(const PickleValue& a, const PickleValue& b);

 private:
  std::variant<std::monostate, bool, int64_t, double, std::string, PickleBytes, PickleList, PickleTuple, PickleDict,
               at::Tensor, at::ScalarType, at::Device, PickleSize>
      data_;
};

inline size_t PickleDict::size() const noexcept { return entries_.size(); }
inline bool PickleDict::empty() const noexcept { return entries_.empty(); }
inline PickleDict::iterator PickleDict::begin() noexcept { return entries_.begin(); }
inline PickleDict::iterator PickleDict::end() noexcept { return entries_.end(); }
inline PickleDict::const_iterator PickleDict::begin() const noexcept { return entries_.begin(); }
inline PickleDict::const_iterator PickleDict::end() const noexcept { return entries_.end(); }

}  // namespace levin
