#include <levin/core/value.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <ostream>

namespace levin {
namespace {

void append(std::string& out, const Value& value);

void append_quoted(std::string& out, const std::string& text) {
  out += '"';
  for (char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    out += c;
  }
  out += '"';
}

void append(std::string& out, const Map& map) {
  out += '{';
  bool first = true;
  for (const auto& [key, value] : map) {
    if (!first) out += ", ";
    first = false;
    append_quoted(out, key);
    out += ": ";
    append(out, value);
  }
  out += '}';
}

void append(std::string& out, const Value& value) {
  switch (value.type()) {
    case Value::Type::string:
      append_quoted(out, value.as_string());
      break;
    case Value::Type::list: {
      out += '[';
      for (std::size_t i = 0; i < value.as_list().size(); ++i) {
        if (i > 0) out += ", ";
        append(out, value.as_list()[i]);
      }
      out += ']';
      break;
    }
    case Value::Type::map:
      append(out, value.as_map());
      break;
    default:
      out += value.to_string();
  }
}

[[noreturn]] void throw_type(const char* wanted, const Value& value) {
  throw Error({.what = std::string("expected ") + wanted,
               .value = value.type_name() + " " + value.to_string(),
               .where = {},
               .hint = {}});
}

}  // namespace

Opaque::~Opaque() = default;

Map::Map(std::initializer_list<value_type> entries) {
  for (const auto& [key, value] : entries) (*this)[key] = value;
}

const Value* Map::find(std::string_view key) const {
  // Keys are often numbered (x0, x1, ...): those of one length differ at their end.
  const auto it = std::find_if(begin(), end(), [&](const value_type& entry) {
    const std::string& other = entry.first;
    return other.size() == key.size() && (key.empty() || (other.back() == key.back() && other == key));
  });
  return it == end() ? nullptr : &it->second;
}

Value* Map::find(std::string_view key) { return const_cast<Value*>(std::as_const(*this).find(key)); }

const Value& Map::at(std::string_view key) const {
  if (const Value* value = find(key)) return *value;
  std::vector<std::string> keys;
  for (const auto& entry : entries_) keys.push_back(entry.first);
  throw Error({.what = "there is no key \"" + std::string(key) + "\"", .value = {}, .where = {}, .hint = did_you_mean(key, keys)});
}

Value& Map::operator[](std::string_view key) {
  if (Value* value = find(key)) return *value;
  return entries_.emplace_back(std::string(key), Value()).second;
}

void Map::append(std::string key, Value value) { entries_.emplace_back(std::move(key), std::move(value)); }

void Map::reserve(std::size_t n) { entries_.reserve(n); }

void Map::erase(std::string_view key) {
  std::erase_if(entries_, [&](const value_type& entry) { return entry.first == key; });
}

std::string Map::to_string() const {
  std::string out;
  levin::append(out, *this);
  return out;
}

bool operator==(const Map& a, const Map& b) { return a.entries_ == b.entries_; }

std::string Value::type_name() const {
  switch (type()) {
    case Type::null: return "null";
    case Type::boolean: return "bool";
    case Type::integer: return "int";
    case Type::floating: return "float";
    case Type::string: return "string";
    case Type::list: return "list";
    case Type::map: return "map";
    case Type::opaque: return as_opaque() ? as_opaque()->describe() : "opaque";
  }
  return "unknown";
}

bool Value::as_bool() const {
  if (const auto* value = std::get_if<bool>(&data_)) return *value;
  throw_type("true or false", *this);
}

std::int64_t Value::as_int() const {
  if (const auto* value = std::get_if<std::int64_t>(&data_)) return *value;
  if (const auto* value = std::get_if<double>(&data_)) {
    if (std::nearbyint(*value) == *value && std::abs(*value) < 9.2e18) return static_cast<std::int64_t>(*value);
  }
  throw_type("a whole number", *this);
}

double Value::as_double() const {
  if (const auto* value = std::get_if<double>(&data_)) return *value;
  if (const auto* value = std::get_if<std::int64_t>(&data_)) return static_cast<double>(*value);
  throw_type("a number", *this);
}

const std::string& Value::as_string() const {
  if (const auto* value = std::get_if<std::string>(&data_)) return *value;
  throw_type("a string", *this);
}

const List& Value::as_list() const {
  if (const auto* value = std::get_if<List>(&data_)) return *value;
  throw_type("a list", *this);
}

List& Value::as_list() { return const_cast<List&>(std::as_const(*this).as_list()); }

const Map& Value::as_map() const {
  if (const auto* value = std::get_if<Map>(&data_)) return *value;
  throw_type("a map", *this);
}

Map& Value::as_map() { return const_cast<Map&>(std::as_const(*this).as_map()); }

const std::shared_ptr<const Opaque>& Value::as_opaque() const {
  if (const auto* value = std::get_if<std::shared_ptr<const Opaque>>(&data_)) return *value;
  throw_type("an opaque handle", *this);
}

std::string Value::to_string() const {
  switch (type()) {
    case Type::null: return "null";
    case Type::boolean: return as_bool() ? "true" : "false";
    case Type::integer: return std::to_string(as_int());
    case Type::floating: return format_double(as_double());
    case Type::string: return as_string();
    case Type::list:
    case Type::map: {
      std::string out;
      append(out, *this);
      return out;
    }
    case Type::opaque: return "<" + type_name() + ">";
  }
  return {};
}

void Value::throw_out_of_range() const { throw_type("a number in the range of its type", *this); }

bool operator==(const Value& a, const Value& b) {
  if (a.is_number() && b.is_number() && a.type() != b.type()) return a.as_double() == b.as_double();
  return a.data_ == b.data_;
}

std::ostream& operator<<(std::ostream& out, const Value& value) { return out << value.to_string(); }

std::string format_double(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value > 0 ? "inf" : "-inf";
  char buffer[40];
  const auto result = std::to_chars(buffer, buffer + sizeof buffer, value);
  std::string text(buffer, result.ptr);
  if (text.find_first_of(".e") == std::string::npos) text += ".0";
  return text;
}

}  // namespace levin
