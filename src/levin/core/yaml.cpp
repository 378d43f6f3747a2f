#include <levin/core/yaml.h>

#include <algorithm>
#include <cctype>
#include <set>

namespace levin {
namespace {

// Plain where no YAML reader can take it for anything else, in double quotes elsewhere.
std::string yaml_text(const std::string& text) {
  const auto plain = [](unsigned char c) {
    return std::isalnum(c) || c == '_' || c == '/' || c == '.' || c == '-' || c == ':';
  };
  // Words that some YAML reader takes for null, a boolean or a number.
  static const std::set<std::string> kWords{"null", "true", "false", "yes", "no",  "on",
                                            "off",  "y",    "n",     "nan", "inf", "infinity"};
  std::string folded = text;
  std::transform(folded.begin(), folded.end(), folded.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  const bool looks_plain = !text.empty() && std::all_of(text.begin(), text.end(), plain) && text.back() != ':' &&
                           (std::isalpha(static_cast<unsigned char>(text[0])) || text[0] == '/') &&
                           !kWords.contains(folded);
  if (looks_plain) return text;
  std::string out = "\"";
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (c == '\n') {
      out += "\\n";
    } else if (c == '\t') {
      out += "\\t";
    } else if (byte < 0x20 || byte == 0x7F) {
      static constexpr const char* kHex = "0123456789abcdef";
      out += "\\x";
      out += kHex[byte >> 4];
      out += kHex[byte & 15];
    } else {
      out += c;
    }
  }
  return out + '"';
}

std::string yaml_value(const Value& value) {
  if (value.is_string()) return yaml_text(value.as_string());
  if (value.is_float()) {
    // YAML 1.1 readers need a point to see a number in 1e-05.
    std::string text = format_double(value.as_double());
    const auto e = text.find('e');
    if (e != std::string::npos && text.find('.') == std::string::npos) text.insert(e, ".0");
    return text;
  }
  if (value.is_map()) {
    std::string out = "{";
    for (const auto& [key, entry] : value.as_map()) {
      out += (out.size() > 1 ? ", " : "") + yaml_text(key) + ": " + yaml_value(entry);
    }
    return out + "}";
  }
  if (!value.is_list()) return value.to_string();
  std::string out = "[";
  for (const auto& entry : value.as_list()) out += (out.size() > 1 ? ", " : "") + yaml_value(entry);
  return out + "]";
}

}  // namespace

std::string to_yaml(const Map& map) {
  std::string out;
  const auto put = [&out](const auto& self, const Map& entries, std::size_t depth) -> void {
    for (const bool groups : {false, true}) {
      for (const auto& [key, value] : entries) {
        if ((value.is_map() && !value.as_map().empty()) != groups) continue;
        out += std::string(2 * depth, ' ') + yaml_text(key) + ":" + (groups ? "\n" : " " + yaml_value(value) + "\n");
        if (groups) self(self, value.as_map(), depth + 1);
      }
    }
  };
  put(put, map, 0);
  return out;
}

}  // namespace levin
