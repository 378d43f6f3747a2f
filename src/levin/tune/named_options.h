// Samplers and pruners by name: how their options are listed, read from a map and checked.
#pragma once

#include <levin/core/value.h>

#include <concepts>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace levin::tune {

struct NamedOption {
  std::string name;
  std::string help;
  std::string fallback;  ///< the default, as text
};

/** Reads options into the fields of a struct, and says which one is wrong. */
class OptionReader {
 public:
  /** `kind`: "sampler" or "pruner". */
  OptionReader(std::string kind, std::string name, const Map& options)
      : owner_(std::move(kind) + " " + std::move(name)), options_(options) {}

  template <class T>
  void operator()(const std::string& name, T& field) const {
    if (const Value* value = options_.find(name)) field = as<T>(name, *value);
  }
  template <class T>
  void operator()(const std::string& name, std::optional<T>& field) const {
    if (const Value* value = options_.find(name); value != nullptr && !value->is_null()) field = as<T>(name, *value);
  }
  const Map& options() const noexcept { return options_; }
  std::string where(const std::string& name) const { return "option \"" + name + "\" of " + owner_; }

 private:
  template <class T>
  T as(const std::string& name, const Value& value) const {
    try {
      if constexpr (std::same_as<T, std::uint64_t>) {
        return static_cast<std::uint64_t>(value.as_int());
      } else {
        return value.as<T>();
      }
    } catch (const Error& error) {
      auto info = error.info();
      info.where = where(name);
      throw Error(std::move(info));
    }
  }

  std::string owner_;
  const Map& options_;
};

}  // namespace levin::tune
