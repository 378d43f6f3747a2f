#include <levin/core/json.h>

#include <charconv>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <limits>

namespace levin {
namespace {

constexpr int max_depth = 256;

// Length of the UTF-8 sequence at `text[at]`, or 0 when the bytes there are none.
std::size_t utf8_length(std::string_view text, std::size_t at) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char lead = byte(at);
  if (lead < 0x80) return 1;
  const std::size_t length = lead >= 0xC2 && lead < 0xE0   ? 2
                             : (lead & 0xF0) == 0xE0       ? 3
                             : lead >= 0xF0 && lead < 0xF5 ? 4
                                                           : 0;
  if (length == 0 || at + length > text.size()) return 0;
  for (std::size_t i = 1; i < length; ++i) {
    if ((byte(at + i) & 0xC0) != 0x80) return 0;
  }
  const unsigned char second = byte(at + 1);
  const bool overlong = (lead == 0xE0 && second < 0xA0) || (lead == 0xF0 && second < 0x90);
  const bool beyond = (lead == 0xED && second >= 0xA0) || (lead == 0xF4 && second >= 0x90);
  return overlong || beyond ? 0 : length;
}

void write_string(std::string& out, std::string_view text) {
  out += '"';
  for (std::size_t i = 0; i < text.size();) {
    const char c = text[i];
    switch (c) {
      case '"': out += "\\\""; break;
      case '\\': out += "\\\\"; break;
      case '\n': out += "\\n"; break;
      case '\r': out += "\\r"; break;
      case '\t': out += "\\t"; break;
      default:
        if (static_cast<unsigned char>(c) < 0x20) {
          constexpr char digits[] = "0123456789abcdef";
          out += "\\u00";
          out += digits[static_cast<unsigned char>(c) >> 4];
          out += digits[static_cast<unsigned char>(c) & 15];
        } else if (const std::size_t length = utf8_length(text, i)) {
          out += text.substr(i, length);
          i += length;
          continue;
        } else {
          out += "\xEF\xBF\xBD";
        }
    }
    ++i;
  }
  out += '"';
}

void write(std::string& out, const Value& value, JsonStyle style) {
  switch (value.type()) {
    case Value::Type::floating: {
      const double number = value.as_double();
      if (std::isfinite(number)) {
        out += format_double(number);
      } else {
        out += std::isnan(number) ? "NaN" : number > 0 ? "Infinity" : "-Infinity";
      }
      break;
    }
    case Value::Type::string: write_string(out, value.as_string()); break;
    case Value::Type::list: {
      out += '[';
      bool first = true;
      for (const auto& element : value.as_list()) {
        if (!first) out += style == JsonStyle::compact ? "," : ", ";
        first = false;
        write(out, element, style);
      }
      out += ']';
      break;
    }
    case Value::Type::map: {
      out += '{';
      bool first = true;
      for (const auto& [key, element] : value.as_map()) {
        if (!first) out += style == JsonStyle::compact ? "," : ", ";
        first = false;
        write_string(out, key);
        out += style == JsonStyle::compact ? ":" : ": ";
        write(out, element, style);
      }
      out += '}';
      break;
    }
    case Value::Type::opaque:
      throw Error({.what = "this value has no JSON form", .value = value.type_name(), .where = {}, .hint = {}});
    default: out += value.to_string();
  }
}

class Parser {
 public:
  explicit Parser(std::string_view text) : text_(text) {}

  Value parse() {
    Value value = element(0);
    skip_space();
    if (at_ < text_.size()) fail("text after the end of the JSON value");
    return value;
  }

 private:
  [[noreturn]] void fail(const std::string& what) const {
    std::size_t line = 1, column = 1;
    for (std::size_t i = 0; i < at_ && i < text_.size(); ++i) {
      if (text_[i] == '\n') {
        ++line;
        column = 1;
      } else {
        ++column;
      }
    }
    std::string seen = at_ < text_.size() ? "\"" + std::string(text_.substr(at_, 20)) + "\"" : "the end of the text";
    throw Error({.what = "invalid JSON, " + what,
                 .value = std::move(seen),
                 .where = "line " + std::to_string(line) + ", column " + std::to_string(column),
                 .hint = {}});
  }

  void skip_space() {
    while (at_ < text_.size() &&
           (text_[at_] == ' ' || text_[at_] == '\t' || text_[at_] == '\n' || text_[at_] == '\r')) {
      ++at_;
    }
  }

  char peek() const { return at_ < text_.size() ? text_[at_] : '\0'; }

  bool take(std::string_view word) {
    if (text_.substr(at_, word.size()) != word) return false;
    at_ += word.size();
    return true;
  }

  Value element(int depth) {
    if (depth > max_depth) fail("nested deeper than " + std::to_string(max_depth) + " levels");
    skip_space();
    switch (peek()) {
      case '{': return map(depth);
      case '[': return list(depth);
      case '"': return string();
      default: break;
    }
    if (take("null")) return {};
    if (take("true")) return true;
    if (take("false")) return false;
    if (take("NaN")) return std::numeric_limits<double>::quiet_NaN();
    if (take("Infinity")) return std::numeric_limits<double>::infinity();
    if (take("-Infinity")) return -std::numeric_limits<double>::infinity();
    return number();
  }

  Value map(int depth) {
    ++at_;
    Map out;
    skip_space();
    if (take("}")) return out;
    while (true) {
      skip_space();
      if (peek() != '"') fail("expected a key in double quotes");
      const std::string key = string();
      skip_space();
      if (!take(":")) fail("expected \":\" after a key");
      out[key] = element(depth + 1);
      skip_space();
      if (take("}")) return out;
      if (!take(",")) fail("expected \",\" or \"}\" in an object");
    }
  }

  Value list(int depth) {
    ++at_;
    List out;
    skip_space();
    if (take("]")) return out;
    while (true) {
      out.push_back(element(depth + 1));
      skip_space();
      if (take("]")) return out;
      if (!take(",")) fail("expected \",\" or \"]\" in an array");
    }
  }

  unsigned hex4() {
    unsigned code = 0;
    const char* begin = text_.data() + at_;
    if (at_ + 4 > text_.size()) fail("expected four hexadecimal digits");
    const auto result = std::from_chars(begin, begin + 4, code, 16);
    if (result.ptr != begin + 4) fail("expected four hexadecimal digits");
    at_ += 4;
    return code;
  }

  static void append_utf8(std::string& out, unsigned code) {
    const auto push = [&](unsigned byte) { out += static_cast<char>(byte); };
    if (code < 0x80) {
      push(code);
    } else if (code < 0x800) {
      push(0xC0 | (code >> 6));
      push(0x80 | (code & 0x3F));
    } else if (code < 0x10000) {
      push(0xE0 | (code >> 12));
      push(0x80 | ((code >> 6) & 0x3F));
      push(0x80 | (code & 0x3F));
    } else {
      push(0xF0 | (code >> 18));
      push(0x80 | ((code >> 12) & 0x3F));
      push(0x80 | ((code >> 6) & 0x3F));
      push(0x80 | (code & 0x3F));
    }
  }

  std::string string() {
    ++at_;
    std::string out;
    while (true) {
      if (at_ >= text_.size()) fail("a string without its closing quote");
      const char c = text_[at_];
      if (c == '"') {
        ++at_;
        return out;
      }
      if (static_cast<unsigned char>(c) < 0x20) fail("a control character in a string");
      ++at_;
      if (c != '\\') {
        out += c;
        continue;
      }
      const char escape = peek();
      ++at_;
      switch (escape) {
        case '"': out += '"'; break;
        case '\\': out += '\\'; break;
        case '/': out += '/'; break;
        case 'b': out += '\b'; break;
        case 'f': out += '\f'; break;
        case 'n': out += '\n'; break;
        case 'r': out += '\r'; break;
        case 't': out += '\t'; break;
        case 'u': {
          unsigned code = hex4();
          if (code >= 0xD800 && code < 0xDC00 && take("\\u")) {
            const unsigned low = hex4();
            if (low < 0xDC00 || low >= 0xE000) fail("half of a surrogate pair");
            code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
          } else if (code >= 0xD800 && code < 0xE000) {
            code = 0xFFFD;
          }
          append_utf8(out, code);
          break;
        }
        default: at_ -= 2; fail("an unknown escape in a string");
      }
    }
  }

  Value number() {
    const std::size_t begin = at_;
    std::size_t end = at_;
    bool whole = true;
    const auto digits = [&] {
      const std::size_t first = end;
      while (end < text_.size() && text_[end] >= '0' && text_[end] <= '9') ++end;
      return end > first;
    };
    if (end < text_.size() && text_[end] == '-') ++end;
    const std::size_t first_digit = end;
    if (!digits()) fail("expected a value");
    if (text_[first_digit] == '0' && end > first_digit + 1) fail("a number with leading zeros");
    if (end < text_.size() && text_[end] == '.') {
      whole = false;
      ++end;
      if (!digits()) fail("a number without digits after its point");
    }
    if (end < text_.size() && (text_[end] == 'e' || text_[end] == 'E')) {
      whole = false;
      ++end;
      if (end < text_.size() && (text_[end] == '+' || text_[end] == '-')) ++end;
      if (!digits()) fail("a number without digits in its exponent");
    }
    const char* from = text_.data() + begin;
    const char* to = text_.data() + end;
    at_ = end;
    if (whole) {
      std::int64_t integer = 0;
      if (std::from_chars(from, to, integer).ec == std::errc{}) return integer;
    }
    double real = 0;
    if (std::from_chars(from, to, real).ec == std::errc::result_out_of_range) {
      // Python reads 1e999 as inf and 1e-999 as 0; strtod does the same.
      real = std::strtod(std::string(from, to).c_str(), nullptr);
    }
    return real;
  }

  std::string_view text_;
  std::size_t at_ = 0;
};

}  // namespace

std::string to_json(const Value& value, JsonStyle style) {
  std::string out;
  write(out, value, style);
  return out;
}

Value parse_json(std::string_view text) { return Parser(text).parse(); }

}  // namespace levin
