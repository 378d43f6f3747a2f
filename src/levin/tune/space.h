// Search spaces written down up front: the words uniform, loguniform, choice, ... in C++ and as text.
#pragma once

#include <levin/core/export.h>
#include <levin/tune/distribution.h>

#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace levin::tune {

LEVIN_API Distribution uniform(double low, double high);     ///< floats in [low, high]
LEVIN_API Distribution loguniform(double low, double high);  ///< floats in [low, high], uniform in the logarithm
/** Floats low, low + q, low + 2q, ... up to and including high. */
LEVIN_API Distribution quniform(double low, double high, double q);
LEVIN_API Distribution randint(std::int64_t low, std::int64_t high);     ///< ints in [low, high), as Ray Tune has it
LEVIN_API Distribution lograndint(std::int64_t low, std::int64_t high);  ///< ints in [low, high), in the logarithm
/** Ints low, low + q, low + 2q, ... up to and including high. */
LEVIN_API Distribution qrandint(std::int64_t low, std::int64_t high, std::int64_t q);
LEVIN_API Distribution choice(List choices);  ///< one of null, bools, ints, floats, strings: choice({"adam", "sgd"})

/**
 * Reads a text such as `loguniform(1e-5, 1e-1)`; the words and their ends are those of the functions above.
 *
 * The elements of `choice(adam, 2, 0.5, true, null, "two words")` take the type they spell; quotes make a string of
 * anything. Returns nothing for text that is no call of one of the words (a plain setting); throws Error for a
 * misspelt word, a wrong number of arguments, or an argument that is no number.
 */
LEVIN_API std::optional<Distribution> parse_distribution(std::string_view text);

/** Names to distributions in order of insertion: `SearchSpace space{{"lr", loguniform(1e-4, 1e-1)}, ...}`. */
class LEVIN_API SearchSpace {
 public:
  using value_type = std::pair<std::string, Distribution>;
  using const_iterator = std::vector<value_type>::const_iterator;

  SearchSpace() = default;
  /** Throws Error when a name stands twice. */
  SearchSpace(std::initializer_list<value_type> entries);

  std::size_t size() const noexcept { return entries_.size(); }
  bool empty() const noexcept { return entries_.empty(); }
  const_iterator begin() const noexcept { return entries_.begin(); }
  const_iterator end() const noexcept { return entries_.end(); }

  bool contains(std::string_view name) const { return find(name) != nullptr; }
  const Distribution* find(std::string_view name) const;
  /** The distribution of `name`; throws Error naming the nearest name when it is missing. */
  const Distribution& at(std::string_view name) const;
  /** Adds a name, or replaces its distribution in place. */
  void set(std::string_view name, Distribution distribution);
  void erase(std::string_view name);

  friend LEVIN_API bool operator==(const SearchSpace& a, const SearchSpace& b);

 private:
  std::vector<value_type> entries_;
};

}  // namespace levin::tune
