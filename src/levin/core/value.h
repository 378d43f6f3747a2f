// Value: the typed scalar, list or ordered map that configs, hyperparameters and checkpoints share.
#pragma once

#include <levin/core/error.h>
#include <levin/core/export.h>

#include <concepts>
#include <cstdint>
#include <initializer_list>
#include <iosfwd>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace levin {

class Value;
using List = std::vector<Value>;

/** A handle that Value carries without looking inside, for instance a tensor in an in-memory checkpoint. */
struct LEVIN_API Opaque {
  virtual ~Opaque();
  virtual std::string describe() const = 0;
};

/** String keys to values in order of insertion, as a Python dict keeps them. */
class LEVIN_API Map {
 public:
  using value_type = std::pair<std::string, Value>;
  using iterator = std::vector<value_type>::iterator;
  using const_iterator = std::vector<value_type>::const_iterator;

  Map() noexcept;
  Map(std::initializer_list<value_type> entries);
  Map(const Map&);
  Map(Map&&) noexcept;
  Map& operator=(const Map&);
  Map& operator=(Map&&) noexcept;
  ~Map();

  std::size_t size() const noexcept;
  bool empty() const noexcept;
  iterator begin() noexcept;
  iterator end() noexcept;
  const_iterator begin() const noexcept;
  const_iterator end() const noexcept;

  bool contains(std::string_view key) const { return find(key) != nullptr; }
  const Value* find(std::string_view key) const;
  Value* find(std::string_view key);
  /** The value of `key`; throws Error naming the nearest key when it is missing. */
  const Value& at(std::string_view key) const;
  /** The value of `key`, inserted as null when missing. */
  Value& operator[](std::string_view key);
  /** Adds `key`, which must not be there yet; cheaper than [] as nothing is looked for. */
  void append(std::string key, Value value);
  /** Makes room for so many entries. */
  void reserve(std::size_t n);
  void erase(std::string_view key);

  /** The value of `key` as T (bool, an integer or floating type, std::string, List, Map); throws Error otherwise. */
  template <class T>
  T get(std::string_view key) const;
  /** As `get`, or `fallback` when the key is missing. */
  template <class T>
  T get(std::string_view key, T fallback) const;

  /** JSON-like text: {"lr": 0.1, "layers": 2}. */
  std::string to_string() const;

  friend LEVIN_API bool operator==(const Map&, const Map&);

 private:
  std::vector<value_type> entries_;
};

class LEVIN_API Value {
 public:
  enum class Type { null, boolean, integer, floating, string, list, map, opaque };

  Value() = default;
  Value(std::nullptr_t) {}
  template <class T>
    requires std::same_as<T, bool>
  Value(T value) : data_(value) {}
  template <std::integral T>
    requires(!std::same_as<T, bool>)
  Value(T value) : data_(static_cast<std::int64_t>(value)) {}
  template <std::floating_point T>
  Value(T value) : data_(static_cast<double>(value)) {}
  Value(const char* value) : data_(std::string(value)) {}
  Value(std::string_view value) : data_(std::string(value)) {}
  Value(std::string value) : data_(std::move(value)) {}
  Value(List value) : data_(std::move(value)) {}
  Value(Map value) : data_(std::move(value)) {}
  Value(std::shared_ptr<const Opaque> value) : data_(std::move(value)) {}

  Type type() const noexcept { return static_cast<Type>(data_.index()); }
  /** "null", "bool", "int", "float", "string", "list", "map" or what the opaque handle says of itself. */
  std::string type_name() const;
  bool is_null() const noexcept { return type() == Type::null; }
  bool is_bool() const noexcept { return type() == Type::boolean; }
  bool is_int() const noexcept { return type() == Type::integer; }
  bool is_float() const noexcept { return type() == Type::floating; }
  bool is_number() const noexcept { return is_int() || is_float(); }
  bool is_string() const noexcept { return type() == Type::string; }
  bool is_list() const noexcept { return type() == Type::list; }
  bool is_map() const noexcept { return type() == Type::map; }

  bool as_bool() const;
  std::int64_t as_int() const;   ///< an int, or a float that is a whole number
  double as_double() const;      ///< a float or an int
  const std::string& as_string() const;
  const List& as_list() const;
  List& as_list();
  const Map& as_map() const;
  Map& as_map();
  const std::shared_ptr<const Opaque>& as_opaque() const;

  /** The value as T; throws Error naming both types when it is something else. */
  template <class T>
  T as() const {
    if constexpr (std::same_as<T, Value>) {
      return *this;
    } else if constexpr (std::same_as<T, bool>) {
      return as_bool();
    } else if constexpr (std::integral<T>) {
      if (!std::in_range<T>(as_int())) throw_out_of_range();
      return static_cast<T>(as_int());
    } else if constexpr (std::floating_point<T>) {
      return static_cast<T>(as_double());
    } else if constexpr (std::same_as<T, std::string>) {
      return as_string();
    } else if constexpr (std::same_as<T, List>) {
      return as_list();
    } else {
      static_assert(std::same_as<T, Map>, "Value holds bool, int, float, string, list or map");
      return as_map();
    }
  }

  /** Text for people: strings bare, floats as short as they can be read back exactly, the rest JSON-like. */
  std::string to_string() const;

  /** Equal type and content; an int equals the float of the same number. */
  friend LEVIN_API bool operator==(const Value&, const Value&);
  friend LEVIN_API std::ostream& operator<<(std::ostream&, const Value&);

 private:
  [[noreturn]] void throw_out_of_range() const;

  std::variant<std::monostate, bool, std::int64_t, double, std::string, List, Map, std::shared_ptr<const Opaque>> data_;
};

/** A float in its shortest text that reads back to the same number: 0.1, 1e-05, 3.0, nan, inf. */
LEVIN_API std::string format_double(double value);

// Only here is a Map's entry complete.
inline Map::Map() noexcept = default;
inline Map::Map(const Map&) = default;
inline Map::Map(Map&&) noexcept = default;
inline Map& Map::operator=(const Map&) = default;
inline Map& Map::operator=(Map&&) noexcept = default;
inline Map::~Map() = default;
inline std::size_t Map::size() const noexcept { return entries_.size(); }
inline bool Map::empty() const noexcept { return entries_.empty(); }
inline Map::iterator Map::begin() noexcept { return entries_.begin(); }
inline Map::iterator Map::end() noexcept { return entries_.end(); }
inline Map::const_iterator Map::begin() const noexcept { return entries_.begin(); }
inline Map::const_iterator Map::end() const noexcept { return entries_.end(); }

template <class T>
T Map::get(std::string_view key) const {
  const Value& value = at(key);
  try {
    return value.as<T>();
  } catch (const Error& error) {
    auto info = error.info();
    info.where = "key \"" + std::string(key) + "\"";
    throw Error(std::move(info));
  }
}

template <class T>
T Map::get(std::string_view key, T fallback) const {
  return contains(key) ? get<T>(key) : fallback;
}

}  // namespace levin
