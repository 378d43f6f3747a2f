// Typed configuration: settings known beforehand by dotted key, set by YAML files and by text from the command line,
// each remembering where it was set.
#pragma once

#include <levin/core/export.h>
#include <levin/core/value.h>

#include <cstdint>
#include <filesystem>
#include <functional>
#include <limits>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace levin::config {

/** What a setting holds. A duration is a number of seconds, also written 90s, 10m, 1.5h or 1h30m. */
enum class Type { boolean, integer, real, text, duration, list_of_texts, list_of_integers };

/** The numbers that a setting (or each entry of its list) may take. */
struct LEVIN_API Range {
  double low = -std::numeric_limits<double>::infinity();
  double high = std::numeric_limits<double>::infinity();
  bool low_open = false;   ///< `low` itself is out
  bool high_open = false;  ///< `high` itself is out

  static Range at_least(double low) { return {.low = low}; }
  static Range above(double low) { return {.low = low, .low_open = true}; }
  static Range between(double low, double high) { return {.low = low, .high = high}; }
  static Range below(double low, double high) { return {.low = low, .high = high, .high_open = true}; }

  bool contains(double number) const;
};

/** A setting that may be set. */
struct Setting {
  std::string key;  ///< dotted: "optimizer.lr" belongs to the group "optimizer"
  Type type = Type::text;
  Value fallback = {};                    ///< its default; null: the setting may stay (or be set to) null
  std::string help = {};                  ///< one sentence for people
  Range range = {};                       ///< for numbers
  std::vector<std::string> choices = {};  ///< for texts; empty: any text
  std::vector<std::string> aliases = {};  ///< other names that it answers to, such as "data" for "data.path"
  std::string placeholder = {};           ///< what help shows for the value, such as FILE

  LEVIN_API std::string group() const;  ///< the key up to its last dot, "" for a key without one
  /** "a number above 0", "one of a and b": what the setting takes, for messages. */
  LEVIN_API std::string takes() const;
};

/** The value that `text` means for `setting`; throws Error (with `where`) when it means none. */
LEVIN_API Value parse(const Setting& setting, std::string_view text, const std::string& where = {});

/** `value` as `setting` holds it (an int becomes a float where needed); throws Error when it cannot hold it. */
LEVIN_API Value check(const Setting& setting, const Value& value, const std::string& where = {});

/** All settings of a program, in the order in which they are shown. */
class LEVIN_API Schema {
 public:
  explicit Schema(std::vector<Setting> settings);

  const std::vector<Setting>& settings() const noexcept { return settings_; }
  /** The setting of that key or alias, or nullptr. */
  const Setting* find(std::string_view name) const;
  /** The setting of that key or alias; throws Error (with `where`) naming the nearest one. */
  const Setting& at(std::string_view name, const std::string& where = {}) const;
  bool has_group(std::string_view group) const;

 private:
  std::vector<Setting> settings_;
};

/** What a program changes about reading its configuration. */
struct Rules {
  /** Whether a text is taken as it is, though the setting holds something else; may throw Error. */
  std::function<bool(const Setting&, const std::string& text)> takes_text = {};
  /** Whether a key that the schema does not know is passed over in files, because it means something elsewhere. */
  std::function<bool(const std::string& key)> passes_over = {};
};

/** The settings of one run. What is set later replaces what was set before. */
class LEVIN_API Config {
 public:
  explicit Config(std::shared_ptr<const Schema> schema, Rules rules = {});

  /**
   * Sets what a YAML file holds: a map of keys, nested by group, dotted, or both. Throws Error with file, line and
   * column for what is not YAML, unknown or doubled keys, values that do not fit, and files beyond reason (1 MB, 16
   * levels, 10,000 entries with aliases followed).
   */
  void read_yaml(const std::filesystem::path& path);
  /** As `read_yaml`, from text in memory; `name` stands for the file in messages. */
  void parse_yaml(const std::string& text, const std::string& name);
  /** Sets one setting from text. */
  void set(std::string_view name, std::string_view text, const std::string& where = "command line");

  const Value& get(std::string_view name) const;
  template <class T>
  T get(std::string_view name) const {
    return get(name).as<T>();
  }
  /** Whether the setting was set, be it to its default. */
  bool is_set(std::string_view name) const { return !where(name).empty(); }
  /** Where it was set last: "lr.yaml:3:5", "command line", or "" when it has its default. */
  const std::string& where(std::string_view name) const;

  const Schema& schema() const noexcept { return *schema_; }
  /** All settings as nested maps: {"data": {"path": ...}, "seed": 0...}. */
  Map to_map() const;
  /** All settings as YAML, which reads back to the same configuration. */
  std::string to_yaml() const;

 private:
  class YamlReader;
  struct Entry {
    Value value;
    std::string where;
  };

  std::size_t index(std::string_view name) const;

  std::shared_ptr<const Schema> schema_;
  Rules rules_;
  std::vector<Entry> entries_;  // one a setting, in the schema's order
};

}  // namespace levin::config
