#include <levin/train/checkpoint_io/pickle_value.h>

#include <levin/core/error.h>

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <cstring>

namespace levin {
namespace {

[[noreturn]] void wrong_type(const PickleValue& value, const std::string& wanted) {
  throw Error({.what = "expected " + wanted + " but found " + value.type_name(),
               .value = value.is_string() ? value.as_string() : std::string(),
               .where = {},
               .hint = {}});
}

bool same_double(double a, double b) { return a == b || (std::isnan(a) && std::isnan(b)); }

bool same_tensor(const at::Tensor& a, const at::Tensor& b) {
  if (!a.defined() || !b.defined()) return a.defined() == b.defined();
  if (a.scalar_type() != b.scalar_type() || a.sizes() != b.sizes() || a.requires_grad() != b.requires_grad()) {
    return false;
  }
  const auto x = a.detach().cpu().contiguous(), y = b.detach().cpu().contiguous();
  return x.numel() == 0 || std::memcmp(x.const_data_ptr(), y.const_data_ptr(), x.nbytes()) == 0;
}

}  // namespace

PickleDict::PickleDict(std::initializer_list<value_type> entries) {
  for (const auto& [key, value] : entries) set(key, value);
}

const PickleValue* PickleDict::find(std::string_view key) const {
  for (const auto& [name, value] : entries_) {
    if (name.is_string() && name.as_string() == key) return &value;
  }
  return nullptr;
}

const PickleValue* PickleDict::find(int64_t key) const {
  for (const auto& [name, value] : entries_) {
    if (name.is_int() && name.as_int() == key) return &value;
  }
  return nullptr;
}

PickleValue* PickleDict::find(std::string_view key) { return const_cast<PickleValue*>(std::as_const(*this).find(key)); }

const PickleValue& PickleDict::at(std::string_view key) const {
  if (const auto* value = find(key)) return *value;
  std::vector<std::string> known;
  for (const auto& entry : entries_) {
    if (entry.first.is_string()) known.push_back(entry.first.as_string());
  }
  throw Error(
      {.what = "no key \"" + std::string(key) + "\"", .value = {}, .where = {}, .hint = did_you_mean(key, known)});
}

PickleValue& PickleDict::operator[](std::string_view key) {
  if (auto* value = find(key)) return *value;
  entries_.emplace_back(PickleValue(key), PickleValue());
  return entries_.back().second;
}

void PickleDict::set(PickleValue key, PickleValue value) {
  const bool scalar = key.is_none() || key.is_bool() || key.is_int() || key.is_float() || key.is_string();
  if (!scalar) wrong_type(key, "a str, int, bool, float or None as the key of a dict");
  for (auto& entry : entries_) {
    if (entry.first == key) {
      entry.second = std::move(value);
      return;
    }
  }
  append(std::move(key), std::move(value));
}

void PickleDict::append(PickleValue key, PickleValue value) { entries_.emplace_back(std::move(key), std::move(value)); }

PickleValue::PickleValue(const Value& value) {
  switch (value.type()) {
    case Value::Type::null: break;
    case Value::Type::boolean: data_ = value.as_bool(); break;
    case Value::Type::integer: data_ = value.as_int(); break;
    case Value::Type::floating: data_ = value.as_double(); break;
    case Value::Type::string: data_ = value.as_string(); break;
    case Value::Type::list: *this = PickleValue(value.as_list()); break;
    case Value::Type::map: *this = PickleValue(value.as_map()); break;
    case Value::Type::opaque:
      throw Error({.what = "a value cannot be written to a file", .value = value.type_name(), .where = {}, .hint = {}});
  }
}

PickleValue::PickleValue(const Map& value) {
  PickleDict dict;
  for (const auto& [key, item] : value) dict.append(key, item);
  data_ = std::move(dict);
}

PickleValue::PickleValue(const List& value) {
  PickleList list;
  list.reserve(value.size());
  for (const auto& item : value) list.emplace_back(item);
  data_ = std::move(list);
}

std::string PickleValue::type_name() const {
  switch (type()) {
    case Type::none: return "None";
    case Type::boolean: return "bool";
    case Type::integer: return "int";
    case Type::floating: return "float";
    case Type::string: return "str";
    case Type::bytes: return "bytes";
    case Type::list: return "list";
    case Type::tuple: return "tuple";
    case Type::dict: return std::get<PickleDict>(data_).ordered ? "OrderedDict" : "dict";
    case Type::tensor: return "Tensor";
    case Type::dtype: return "torch.dtype";
    case Type::device: return "torch.device";
    case Type::size: return "torch.Size";
  }
  return "?";
}

bool PickleValue::as_bool() const {
  if (!is_bool()) wrong_type(*this, "a bool");
  return std::get<bool>(data_);
}

int64_t PickleValue::as_int() const {
  if (is_float()) {
    const auto number = std::get<double>(data_);
    if (number == std::floor(number) && std::abs(number) < 9.2e18) return static_cast<int64_t>(number);
  }
  if (!is_int()) wrong_type(*this, "an int");
  return std::get<int64_t>(data_);
}

double PickleValue::as_double() const {
  if (is_int()) return static_cast<double>(std::get<int64_t>(data_));
  if (!is_float()) wrong_type(*this, "a float");
  return std::get<double>(data_);
}

const std::string& PickleValue::as_string() const {
  if (!is_string()) wrong_type(*this, "a str");
  return std::get<std::string>(data_);
}

const PickleBytes& PickleValue::as_bytes() const {
  if (!is_bytes()) wrong_type(*this, "bytes");
  return std::get<PickleBytes>(data_);
}

const PickleList& PickleValue::as_list() const {
  if (is_tuple()) return std::get<PickleTuple>(data_).items;
  if (!is_list()) wrong_type(*this, "a list");
  return std::get<PickleList>(data_);
}

const PickleDict& PickleValue::as_dict() const {
  if (!is_dict()) wrong_type(*this, "a dict");
  return std::get<PickleDict>(data_);
}

PickleDict& PickleValue::as_dict() { return const_cast<PickleDict&>(std::as_const(*this).as_dict()); }

const at::Tensor& PickleValue::as_tensor() const {
  if (!is_tensor()) wrong_type(*this, "a Tensor");
  return std::get<at::Tensor>(data_);
}

at::ScalarType PickleValue::as_dtype() const {
  if (!is_dtype()) wrong_type(*this, "a torch.dtype");
  return std::get<at::ScalarType>(data_);
}

at::Device PickleValue::as_device() const {
  if (!is_device()) wrong_type(*this, "a torch.device");
  return std::get<at::Device>(data_);
}

const PickleSize& PickleValue::as_size() const {
  if (!is_size()) wrong_type(*this, "a torch.Size");
  return std::get<PickleSize>(data_);
}

Value PickleValue::to_value() const {
  switch (type()) {
    case Type::none: return {};
    case Type::boolean: return as_bool();
    case Type::integer: return as_int();
    case Type::floating: return as_double();
    case Type::string: return as_string();
    case Type::list:
    case Type::tuple: {
      List list;
      for (const auto& item : as_list()) list.push_back(item.to_value());
      return list;
    }
    case Type::size: return List(as_size().sizes.begin(), as_size().sizes.end());
    case Type::dict: {
      Map map;
      // A Map's keys are strings: a number becomes one.
      for (const auto& [key, item] : as_dict())
        map[key.type() == Type::integer ? std::to_string(key.as_int()) : key.as_string()] = item.to_value();
      return map;
    }
    default: wrong_type(*this, "a plain value (None, bool, int, float, str, list or dict)");
  }
}

bool operator==(const PickleValue& a, const PickleValue& b) {
  using Type = PickleValue::Type;
  if (a.type() != b.type()) return false;
  switch (a.type()) {
    case Type::floating: return same_double(a.as_double(), b.as_double());
    case Type::list:
    case Type::tuple: return a.as_list() == b.as_list();
    case Type::dict: {
      const auto &x = a.as_dict(), &y = b.as_dict();
      return x.ordered == y.ordered && std::ranges::equal(x, y);
    }
    case Type::tensor: return same_tensor(a.as_tensor(), b.as_tensor());
    case Type::none: return true;
    case Type::boolean: return a.as_bool() == b.as_bool();
    case Type::integer: return a.as_int() == b.as_int();
    case Type::string: return a.as_string() == b.as_string();
    case Type::bytes: return a.as_bytes() == b.as_bytes();
    case Type::dtype: return a.as_dtype() == b.as_dtype();
    case Type::device: return a.as_device() == b.as_device();
    case Type::size: return a.as_size() == b.as_size();
  }
  return false;
}

}  // namespace levin
