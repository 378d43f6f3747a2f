#include <levin/core/config.h>
#include <levin/core/error.h>
#include <levin/core/file.h>
#include <levin/core/yaml.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <set>
#include <utility>
#include <yaml-cpp/yaml.h>

namespace levin::config {
namespace {

constexpr std::size_t kMaxBytes = 1 << 20, kMaxDepth = 16, kMaxEntries = 10000;

std::string_view trim(std::string_view text) {
  const auto first = text.find_first_not_of(" \t\r\n");
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(" \t\r\n") - first + 1);
}

std::string number_text(double number) {
  const bool whole = std::abs(number) < 1e15 && number == std::floor(number);
  return whole ? std::to_string(static_cast<std::int64_t>(number)) : format_double(number);
}

template <class Number>
bool read_number(std::string_view text, Number& number) {
  if (!text.empty() && text[0] == '+') text.remove_prefix(1);
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  return error == std::errc() && end == text.data() + text.size() && !text.empty();
}

// 64, also written 64.0 or 1e3.
bool read_integer(std::string_view text, std::int64_t& number) {
  if (read_number(text, number)) return true;
  double real = 0;
  if (!read_number(text, real) || real != std::floor(real) || std::abs(real) > 9007199254740992.0) return false;
  number = static_cast<std::int64_t>(real);
  return true;
}

bool read_boolean(std::string_view text, bool& value) {
  static const std::vector<std::string_view> yes = {"true", "yes", "on", "1"}, no = {"false", "no", "off", "0"};
  std::string folded(text);
  std::transform(folded.begin(), folded.end(), folded.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  value = std::find(yes.begin(), yes.end(), folded) != yes.end();
  return value || std::find(no.begin(), no.end(), folded) != no.end();
}

// Numbers each with its unit, from large to small, as in 1h30m; a number alone is in seconds.
bool read_duration(std::string_view text, double& seconds) {
  if (read_number(text, seconds)) return true;
  static const std::vector<std::pair<std::string_view, double>> units = {
      {"d", 86400}, {"h", 3600}, {"m", 60}, {"s", 1}};
  seconds = 0;
  std::size_t unit = 0;
  while (!text.empty()) {
    double number = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number, std::chars_format::fixed);
    if (error != std::errc() || number < 0) return false;
    text.remove_prefix(static_cast<std::size_t>(end - text.data()));
    while (unit < units.size() && !text.starts_with(units[unit].first)) ++unit;
    if (unit == units.size()) return false;
    seconds += number * units[unit++].second;
    text.remove_prefix(1);
    if (text.starts_with("in") && unit == 3) text.remove_prefix(2);  // 10min
  }
  return true;
}

std::vector<std::string> split_list(std::string_view text) {
  if (text.size() >= 2 && text.front() == '[' && text.back() == ']') text = trim(text.substr(1, text.size() - 2));
  std::vector<std::string> parts;
  while (!text.empty()) {
    const auto comma = text.find(',');
    parts.emplace_back(trim(text.substr(0, comma)));
    text = comma == std::string_view::npos ? std::string_view() : text.substr(comma + 1);
  }
  return parts;
}

bool is_list(Type type) { return type == Type::list_of_texts || type == Type::list_of_integers; }

Setting element_of(const Setting& list) {
  Setting element = list;
  element.type = list.type == Type::list_of_texts ? Type::text : Type::integer;
  element.fallback = element.type == Type::text ? Value("") : Value(0);
  return element;
}

[[noreturn]] void reject(const Setting& setting, const std::string& seen, const std::string& where) {
  if (setting.type == Type::text && !setting.choices.empty()) {
    throw Error({.what = setting.key + " has no such choice",
                 .value = seen,
                 .where = where,
                 .hint = did_you_mean(seen.size() > 2 ? seen.substr(1, seen.size() - 2) : seen, setting.choices)});
  }
  std::string hint;
  if (setting.fallback.is_null()) {
    hint = "leave it out to have none";
  } else if (!is_list(setting.type)) {
    hint = "the default is " + setting.fallback.to_string();
  }
  throw Error({.what = setting.key + " must be " + setting.takes(), .value = seen, .where = where, .hint = hint});
}

std::string in_quotes(std::string_view text) { return "\"" + std::string(text) + "\""; }

}  // namespace

bool Range::contains(double number) const {
  if (!std::isfinite(number)) return false;
  return (low_open ? number > low : number >= low) && (high_open ? number < high : number <= high);
}

std::string Setting::group() const {
  const auto dot = key.rfind('.');
  return dot == std::string::npos ? "" : key.substr(0, dot);
}

std::string Setting::takes() const {
  std::string range_text;
  const bool low = std::isfinite(range.low), high = std::isfinite(range.high);
  if (low && high) {
    range_text = std::string(" in ") + (range.low_open ? "(" : "[") + number_text(range.low) + ", " +
                 number_text(range.high) + (range.high_open ? ")" : "]");
  } else if (low) {
    range_text = (range.low_open ? " above " : " of at least ") + number_text(range.low);
  } else if (high) {
    range_text = (range.high_open ? " below " : " of at most ") + number_text(range.high);
  }
  switch (type) {
    case Type::boolean: return "true or false";
    case Type::integer: return "a whole number" + range_text;
    case Type::real: return "a number" + range_text;
    case Type::duration: return "a time such as 90, 90s, 10m or 1h30m";
    case Type::text: return choices.empty() ? "a text" : "one of " + join_words(choices);
    case Type::list_of_texts: return "a list of texts such as a,b";
    case Type::list_of_integers: return "a list of whole numbers" + range_text + " such as 64,32";
  }
  return {};
}

Value parse(const Setting& setting, std::string_view given, const std::string& where) {
  const std::string_view text = trim(given);
  if (setting.fallback.is_null() && text == "null") return nullptr;
  switch (setting.type) {
    case Type::boolean: {
      bool value = false;
      if (!read_boolean(text, value)) reject(setting, in_quotes(given), where);
      return value;
    }
    case Type::integer: {
      std::int64_t number = 0;
      if (!read_integer(text, number) || !setting.range.contains(static_cast<double>(number))) {
        reject(setting, in_quotes(given), where);
      }
      return number;
    }
    case Type::real:
    case Type::duration: {
      double number = 0;
      const bool read = setting.type == Type::real ? read_number(text, number) : read_duration(text, number);
      if (!read || !setting.range.contains(number)) reject(setting, in_quotes(given), where);
      return number;
    }
    case Type::text: {
      const auto& choices = setting.choices;
      if (!choices.empty() && std::find(choices.begin(), choices.end(), text) == choices.end()) {
        reject(setting, in_quotes(given), where);
      }
      return choices.empty() ? Value(given) : Value(text);
    }
    case Type::list_of_texts:
    case Type::list_of_integers: {
      const Setting element = element_of(setting);
      List list;
      for (const auto& part : split_list(text)) {
        try {
          list.push_back(parse(element, part, where));
        } catch (const Error&) {
          reject(setting, in_quotes(given), where);
        }
      }
      return list;
    }
  }
  return {};
}

Value check(const Setting& setting, const Value& value, const std::string& where) {
  if (value.is_null() && setting.fallback.is_null()) return value;
  if (is_list(setting.type)) {
    if (!value.is_list()) reject(setting, value.to_string(), where);
    const Setting element = element_of(setting);
    List list;
    for (const auto& entry : value.as_list()) list.push_back(check(element, entry, where));
    return list;
  }
  const bool fits = setting.type == Type::boolean ? value.is_bool()
                    : setting.type == Type::text  ? value.is_string()
                                                  : value.is_number();
  if (!fits) reject(setting, value.to_string(), where);
  return parse(setting, value.to_string(), where);
}

Schema::Schema(std::vector<Setting> settings) : settings_(std::move(settings)) {}

const Setting* Schema::find(std::string_view name) const {
  for (const auto& setting : settings_) {
    if (setting.key == name ||
        std::find(setting.aliases.begin(), setting.aliases.end(), name) != setting.aliases.end()) {
      return &setting;
    }
  }
  return nullptr;
}

const Setting& Schema::at(std::string_view name, const std::string& where) const {
  if (const Setting* setting = find(name)) return *setting;
  std::vector<std::string> keys, group;
  for (const auto& setting : settings_) {
    keys.push_back(setting.key);
    keys.insert(keys.end(), setting.aliases.begin(), setting.aliases.end());
    if (setting.group() == name) group.push_back(setting.key);
  }
  if (!group.empty()) {
    throw Error({.what = in_quotes(name) + " is a group of settings, not a setting",
                 .value = {},
                 .where = where,
                 .hint = "it has " + join_words(group)});
  }
  // Within a known group its own settings are the likely ones.
  const auto dot = name.rfind('.');
  if (dot != std::string_view::npos && has_group(name.substr(0, dot))) {
    std::erase_if(keys, [&](const std::string& key) { return !key.starts_with(name.substr(0, dot + 1)); });
  }
  throw Error({.what = "there is no setting " + in_quotes(name),
               .value = {},
               .where = where,
               .hint = did_you_mean(name, keys)});
}

bool Schema::has_group(std::string_view group) const {
  return std::any_of(settings_.begin(), settings_.end(), [&](const Setting& s) { return s.group() == group; });
}

// Walks a parsed file and sets what it finds.
class Config::YamlReader {
 public:
  YamlReader(Config& config, const std::string& name) : config_(config), name_(name) {}

  void read(const std::string& text) {
    std::vector<YAML::Node> documents;
    try {
      documents = YAML::LoadAll(text);
      if (documents.size() > 1) {
        throw Error({.what = "the file holds several YAML documents", .value = {}, .where = name_, .hint = "keep one"});
      }
      if (documents.empty() || documents[0].IsNull()) return;
      if (!documents[0].IsMap()) {
        throw Error({.what = "the file must hold settings by key",
                     .value = {},
                     .where = place(documents[0]),
                     .hint = "write lines such as trainer.max_epochs: 20"});
      }
      read_map(documents[0], "", 0);
    } catch (const YAML::Exception& error) {
      throw Error(
          {.what = "the file is not valid YAML: " + error.msg, .value = {}, .where = place(error.mark), .hint = {}});
    }
  }

 private:
  std::string place(const YAML::Mark& mark) const {
    if (mark.is_null()) return name_;
    return name_ + ":" + std::to_string(mark.line + 1) + ":" + std::to_string(mark.column + 1);
  }
  std::string place(const YAML::Node& node) const { return place(node.Mark()); }

  void count(const YAML::Node& node) {
    if (++entries_ <= kMaxEntries) return;
    throw Error({.what = "the file holds too many entries",
                 .value = {},
                 .where = place(node),
                 .hint = "at most " + std::to_string(kMaxEntries) + " are read, with aliases followed"});
  }

  void read_map(const YAML::Node& map, const std::string& prefix, std::size_t depth) {
    if (depth >= kMaxDepth) {
      throw Error({.what = "the settings are nested too deeply", .value = {}, .where = place(map), .hint = {}});
    }
    std::set<std::string> seen;
    for (const auto& entry : map) {
      count(entry.first);
      if (!entry.first.IsScalar()) {
        throw Error({.what = "a key must be a text", .value = {}, .where = place(entry.first), .hint = {}});
      }
      const std::string key = prefix + entry.first.Scalar();
      if (!seen.insert(key).second) {
        throw Error({.what = "the key " + in_quotes(key) + " stands twice",
                     .value = {},
                     .where = place(entry.first),
                     .hint = "keep one of them"});
      }
      const auto& node = entry.second;
      if (passes_over(key)) continue;
      if (node.IsMap() && config_.schema_->has_group(key)) {
        read_map(node, key + ".", depth + 1);
      } else if (!node.IsNull() || !config_.schema_->has_group(key)) {
        read_value(config_.schema_->at(key, place(entry.first)), node, place(entry.first));
      }
    }
  }

  bool passes_over(const std::string& key) const {
    const auto& schema = *config_.schema_;
    return config_.rules_.passes_over && schema.find(key) == nullptr && !schema.has_group(key) &&
           config_.rules_.passes_over(key);
  }

  void read_value(const Setting& setting, const YAML::Node& node, const std::string& key_place) {
    const std::string where = place(node);
    switch (node.Type()) {
      case YAML::NodeType::Scalar:
        // A text in quotes is a text, even "null".
        if (node.Tag() == "!" && setting.type == Type::text && node.Scalar() == "null" && setting.choices.empty()) {
          config_.entries_[config_.index(setting.key)] = {Value("null"), where};
        } else {
          config_.set(setting.key, node.Scalar(), where);
        }
        return;
      case YAML::NodeType::Null:
      case YAML::NodeType::Undefined:
        if (!setting.fallback.is_null()) reject(setting, "nothing", key_place);
        config_.entries_[config_.index(setting.key)] = {Value(), key_place};
        return;
      case YAML::NodeType::Sequence: {
        if (!is_list(setting.type)) reject(setting, "a list", where);
        const Setting element = element_of(setting);
        List list;
        for (const auto& part : node) {
          count(part);
          if (!part.IsScalar()) reject(setting, "a list of something else", place(part));
          try {
            list.push_back(parse(element, part.Scalar()));
          } catch (const Error&) {
            reject(setting, in_quotes(part.Scalar()), place(part));
          }
        }
        config_.entries_[config_.index(setting.key)] = {std::move(list), where};
        return;
      }
      case YAML::NodeType::Map: reject(setting, "a map", where);
    }
  }

  Config& config_;
  const std::string& name_;
  std::size_t entries_ = 0;
};

Config::Config(std::shared_ptr<const Schema> schema, Rules rules)
    : schema_(std::move(schema)), rules_(std::move(rules)) {
  for (const auto& setting : schema_->settings()) entries_.push_back({setting.fallback, ""});
}

std::size_t Config::index(std::string_view name) const {
  return static_cast<std::size_t>(&schema_->at(name) - schema_->settings().data());
}

void Config::read_yaml(const std::filesystem::path& path) { parse_yaml(read_file(path, kMaxBytes), path.string()); }

void Config::parse_yaml(const std::string& text, const std::string& name) { YamlReader(*this, name).read(text); }

void Config::set(std::string_view name, std::string_view text, const std::string& where) {
  const Setting& setting = schema_->at(name, where);
  Entry& entry = entries_[index(setting.key)];
  if (rules_.takes_text) {
    try {
      if (rules_.takes_text(setting, std::string(text))) {
        entry = {Value(text), where};
        return;
      }
    } catch (const Error& error) {
      auto info = error.info();
      if (info.where.empty()) info.where = where;
      throw Error(std::move(info));
    }
  }
  entry = {parse(setting, text, where), where};
}

const Value& Config::get(std::string_view name) const { return entries_[index(name)].value; }

const std::string& Config::where(std::string_view name) const { return entries_[index(name)].where; }

Map Config::to_map() const {
  Map out;
  for (std::size_t i = 0; i < entries_.size(); ++i) {
    const std::string& key = schema_->settings()[i].key;
    Map* map = &out;
    std::size_t start = 0;
    for (auto dot = key.find('.'); dot != std::string::npos; dot = key.find('.', start)) {
      Value& inner = (*map)[key.substr(start, dot - start)];
      if (!inner.is_map()) inner = Map();
      map = &inner.as_map();
      start = dot + 1;
    }
    (*map)[key.substr(start)] = entries_[i].value;
  }
  return out;
}

std::string Config::to_yaml() const { return levin::to_yaml(to_map()); }

}  // namespace levin::config
