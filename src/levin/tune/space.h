// Search spaces written down up front: the words uniform, loguniform, choice, ... in C++ and as text.
#pragma once

#include <levin/core/export.h>
#include <levin/tune/distribution.h>
#include <levin/tune/relation.h>

#include <concepts>
#include <functional>
#include <initializer_list>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace levin::tune {

LEVIN_API Distribution uniform(double low, double high);     ///< floats in [low, high]
LEVIN_API Distribution loguniform(double low, double high);  ///< floats in [low, high], uniform in the logarithm
/** Floats low, low + q, low + 2q, ... up to and including high. */
LEVIN_API Distribution quniform(double low, double high, double q);
/** As loguniform, rounded to multiples of q; both ends must be such multiples. */
LEVIN_API Distribution qloguniform(double low, double high, double q);
LEVIN_API Distribution randn(double mean = 0, double sd = 1);            ///< floats, normally distributed
LEVIN_API Distribution qrandn(double mean, double sd, double q);         ///< as randn, rounded to multiples of q
LEVIN_API Distribution randint(std::int64_t low, std::int64_t high);     ///< ints in [low, high), as Ray Tune has it
LEVIN_API Distribution lograndint(std::int64_t low, std::int64_t high);  ///< ints in [low, high), in the logarithm
/** Ints low, low + q, low + 2q, ... up to and including high. */
LEVIN_API Distribution qrandint(std::int64_t low, std::int64_t high, std::int64_t q);
/** Ints in [low, high], uniform in the logarithm, rounded to multiples of q. */
LEVIN_API Distribution qlograndint(std::int64_t low, std::int64_t high, std::int64_t q);
LEVIN_API Distribution choice(List choices);   ///< one of null, bools, ints, floats, strings: choice({"adam", "sgd"})
LEVIN_API Distribution ordinal(List choices);  ///< a choice whose order means something: ordinal({16, 32, 64})
LEVIN_API Distribution grid_search(List values);  ///< every one of the values, each `num_samples` times

/**
 * Reads a text such as `loguniform(1e-5, 1e-1)`; the words and their ends are those of the functions above.
 *
 * The elements of `choice(adam, 2, 0.5, true, null, "two words")`, `ordinal` and `grid_search` take the type they
 * spell; quotes make a string of anything. Returns nothing for text that is no call of one of the words (a plain
 * setting); throws Error for a misspelt word, a wrong number of arguments, or an argument that is no number.
 */
LEVIN_API std::optional<Distribution> parse_distribution(std::string_view text);

class Domain;

/** What one trial runs with: names to values; groups of the space are nested maps. */
using Config = Map;

/** A value computed from what was chosen so far. */
struct SampleFrom {
  std::function<Value(const Config&)> function;
};

/** Computes a value from the config: sample_from([](const Config& config) { return 2 * config.get<int>("width"); }). */
LEVIN_API SampleFrom sample_from(std::function<Value(const Config&)> function);

/** A parameter is there only while `parent` has one of `values`. */
struct Condition {
  std::string parent;
  List values;
};

/** A value computed from others, or a constant, beside the parameters of a space. */
struct Derived {
  std::string name;
  std::vector<Condition> conditions;
  std::function<Value(const Config&)> function;
};

/**
 * Names to distributions in order of insertion: `SearchSpace space{{"lr", loguniform(1e-4, 1e-1)}, ...}`.
 *
 * An entry may also be a constant, a `sample_from`, a space of its own (a group: its parameters are called
 * "group/name") or any of these under a condition (`when`). Iterating a space yields its parameters alone.
 */
class LEVIN_API SearchSpace {
 public:
  using value_type = std::pair<std::string, Distribution>;
  using const_iterator = std::vector<value_type>::const_iterator;
  struct Entry;

  SearchSpace() = default;
  /** Throws Error when a name stands twice, or holds a '/', or a condition's parent does not stand before it. */
  SearchSpace(std::initializer_list<Entry> entries);

  std::size_t size() const noexcept { return entries_.size(); }
  bool empty() const noexcept { return entries_.empty(); }
  const_iterator begin() const noexcept { return entries_.begin(); }
  const_iterator end() const noexcept { return entries_.end(); }

  bool contains(std::string_view name) const { return find(name) != nullptr; }
  const Distribution* find(std::string_view name) const;
  /** The same, looking at entry number `guess` first: for readers of many names in order. */
  const Distribution* find(std::string_view name, std::size_t guess) const {
    return guess < entries_.size() && entries_[guess].first == name ? &entries_[guess].second : find(name);
  }
  /** The distribution of `name`; throws Error naming the nearest name when it is missing. */
  const Distribution& at(std::string_view name) const;
  /** Adds a name, or replaces its distribution in place. */
  void set(std::string_view name, Distribution distribution);
  /** Adds a name that is not there yet. */
  void append(std::string_view name, Distribution distribution) {
    entries_.emplace_back(std::string(name), std::move(distribution));
  }
  void erase(std::string_view name);
  /** Makes room for `n` names. */
  void reserve(std::size_t n) { entries_.reserve(n); }

  /** Adds relations that all configs must keep. Throws Error when one names a parameter that is not a number here. */
  SearchSpace& relate(std::vector<Relation> relations);

  const std::vector<Relation>& relations() const;
  /** Constants and computed values in order of insertion. */
  const std::vector<Derived>& derived() const;
  /** All of which must hold for the parameter to be there; mostly none. */
  const std::vector<Condition>& conditions(std::string_view name) const;
  /** Whether the parameter is there, given the parameters chosen so far (by their flat names). */
  bool active(std::string_view name, const Map& chosen) const;

  friend LEVIN_API bool operator==(const SearchSpace& a, const SearchSpace& b);

 private:
  struct Extra;
  void add(const std::string& name, const Domain& domain, std::vector<Condition> conditions);
  Extra& extra();

  std::vector<value_type> entries_;
  std::shared_ptr<const Extra> extra_;  ///< what is beyond names and distributions; mostly null
};

/** The right-hand side of an entry: a distribution, a constant, a `sample_from`, a group, or one of these `when`. */
class LEVIN_API Domain {
 public:
  template <class T>
  requires std::convertible_to<T, Distribution> Domain(T&& range) : what_(Distribution(std::forward<T>(range))) {}
  template <class T>
  requires(std::convertible_to<T, Value> && !std::convertible_to<T, Distribution>) Domain(T&& constant)
      : what_(Value(std::forward<T>(constant))) {}
  Domain(SampleFrom computed) : what_(std::move(computed)) {}
  Domain(SearchSpace group) : what_(std::move(group)) {}

 private:
  friend class SearchSpace;
  friend LEVIN_API Domain when(std::string parent, List values, Domain domain);

  std::variant<Value, Distribution, SampleFrom, SearchSpace> what_;
  std::vector<Condition> conditions_;
};

/**
 * `domain` while the parameter `parent` has one of `values`: {"momentum", when("optimizer", {"sgd"}, uniform(0, 1))}.
 * The parent stands before it in the same space; a group as a whole may depend on a parent outside. Conditions may be
 * nested.
 */
LEVIN_API Domain when(std::string parent, List values, Domain domain);

struct SearchSpace::Entry {
  std::string name;
  Domain domain;
};

class Trial;

/** The parameters of `space` that are there, suggested in order, with constants and computed values among them. */
LEVIN_API Config suggest(Trial& trial, const SearchSpace& space);
/** The config that these parameters (by their flat names) make: groups nested, constants and computed values added. */
LEVIN_API Config make_config(const SearchSpace& space, const Map& params);

}  // namespace levin::tune
