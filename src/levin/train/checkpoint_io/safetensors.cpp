#include <levin/train/checkpoint_io/safetensors.h>

#include <levin/core/atomic_file.h>
#include <levin/core/error.h>
#include <levin/core/json.h>

#include <ATen/ATen.h>

#include <algorithm>
#include <array>
#include <bit>
#include <fstream>
#include <set>

namespace levin {
namespace {

static_assert(std::endian::native == std::endian::little, "tensors are written as they lie in memory");

constexpr std::uint64_t kMaxHeader = 100'000'000;
constexpr std::size_t kMaxDims = 64;

struct Dtype {
  std::string_view name;
  at::ScalarType type;
};
constexpr std::array kDtypes = {
    Dtype{"F64", at::kDouble},          Dtype{"I64", at::kLong},   Dtype{"U64", at::kUInt64},
    Dtype{"C64", at::kComplexFloat},    Dtype{"F32", at::kFloat},  Dtype{"I32", at::kInt},
    Dtype{"U32", at::kUInt32},          Dtype{"F16", at::kHalf},   Dtype{"BF16", at::kBFloat16},
    Dtype{"I16", at::kShort},           Dtype{"U16", at::kUInt16}, Dtype{"F8_E4M3", at::kFloat8_e4m3fn},
    Dtype{"F8_E5M2", at::kFloat8_e5m2}, Dtype{"I8", at::kChar},    Dtype{"U8", at::kByte},
    Dtype{"BOOL", at::kBool},
};

std::string_view dtype_name(at::ScalarType type) {
  const auto found = std::ranges::find(kDtypes, type, &Dtype::type);
  return found == kDtypes.end() ? std::string_view() : found->name;
}

[[noreturn]] void fail(std::string what, std::string value = {}, std::string hint = {}) {
  throw Error({.what = std::move(what), .value = std::move(value), .where = {}, .hint = std::move(hint)});
}

// Where a tensor lies among the bytes after the header.
struct Place {
  std::string name;
  at::ScalarType dtype{};
  std::vector<std::int64_t> shape;
  std::uint64_t begin = 0, end = 0;
};

Place read_place(const std::string& name, const Value& value, std::uint64_t size) {
  const std::string shown = "\"" + name.substr(0, 200) + "\"";
  if (!value.is_map()) fail("the header describes a tensor by something else than an object", shown);
  const Map& entry = value.as_map();
  Place place;
  place.name = name;
  const std::string dtype = entry.get<std::string>("dtype");
  const auto found = std::ranges::find(kDtypes, dtype, &Dtype::name);
  if (found == kDtypes.end()) fail("a tensor has an unknown dtype", shown + " of " + dtype.substr(0, 40));
  place.dtype = found->type;
  std::uint64_t bytes = c10::elementSize(place.dtype);
  const List& shape = entry.at("shape").as_list();
  if (shape.size() > kMaxDims) fail("a tensor has too many dimensions", shown);
  std::int64_t numel = 1;
  for (const Value& extent : shape) {
    place.shape.push_back(extent.as_int());
    if (place.shape.back() < 0) fail("a tensor has a negative extent", shown);
    if (__builtin_mul_overflow(numel, place.shape.back(), &numel)) fail("a tensor is larger than memory", shown);
  }
  if (__builtin_mul_overflow(bytes, static_cast<std::uint64_t>(numel), &bytes))
    fail("a tensor is larger than memory", shown);
  const List& offsets = entry.at("data_offsets").as_list();
  if (offsets.size() != 2 || offsets[0].as_int() < 0 || offsets[1].as_int() < offsets[0].as_int())
    fail("a tensor's data_offsets are no range", shown);
  place.begin = static_cast<std::uint64_t>(offsets[0].as_int());
  place.end = static_cast<std::uint64_t>(offsets[1].as_int());
  if (place.end > size) fail("a tensor reaches outside of the file", shown, "was the file copied to its end?");
  if (place.end - place.begin != bytes) fail("a tensor's data_offsets contradict its shape", shown);
  return place;
}

// Every byte belongs to exactly one tensor, as the format demands.
void check_places(const std::vector<Place>& places, std::uint64_t size) {
  std::vector<const Place*> order;
  for (const auto& place : places) order.push_back(&place);
  std::ranges::sort(order, {}, [](const Place* place) { return std::pair(place->begin, place->end); });
  std::uint64_t reached = 0;
  for (const Place* place : order) {
    if (place->begin != reached)
      fail(place->begin < reached ? "two tensors overlap" : "there is a hole before a tensor",
           "\"" + place->name.substr(0, 200) + "\"");
    reached = place->end;
  }
  if (reached != size) fail("there are bytes that belong to no tensor", std::to_string(size - reached) + " at the end");
}

SafetensorsFile read(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary | std::ios::ate);
  if (!std::filesystem::is_regular_file(path) || !file) fail("the file cannot be opened", {}, "is the path right?");
  const auto file_size = static_cast<std::uint64_t>(file.tellg());
  file.seekg(0);
  std::uint64_t header_size = 0;
  file.read(reinterpret_cast<char*>(&header_size), 8);
  if (file_size < 8 || header_size > kMaxHeader || header_size > file_size - 8) {
    fail("the file is no safetensors file, or cut off",
         "a header of " + std::to_string(header_size) + " bytes in " + std::to_string(file_size));
  }
  std::string header(header_size, '\0');
  file.read(header.data(), static_cast<std::streamsize>(header_size));
  if (!header.starts_with('{')) fail("the file is no safetensors file: its header is no JSON object");
  const std::uint64_t begin = 8 + header_size, size = file_size - begin;
  const Value described = parse_json(header);

  SafetensorsFile out;
  std::vector<Place> places;
  for (const auto& [name, value] : described.as_map()) {
    if (name != "__metadata__") {
      places.push_back(read_place(name, value, size));
      continue;
    }
    for (const auto& [key, text] : value.as_map()) out.metadata[key] = text.as_string();
  }
  check_places(places, size);
  for (const auto& place : places) {
    at::Tensor tensor = at::empty(place.shape, at::TensorOptions(place.dtype));
    file.seekg(static_cast<std::streamoff>(begin + place.begin));
    file.read(static_cast<char*>(tensor.data_ptr()), static_cast<std::streamsize>(place.end - place.begin));
    if (!file) fail("the file cannot be read to its end");
    out.tensors.append(place.name, std::move(tensor));
  }
  return out;
}

void write(const std::filesystem::path& path, const PickleDict& tensors, const Map& metadata) {
  struct Item {
    std::string name;
    at::Tensor tensor;
  };
  std::vector<Item> items;
  std::set<std::string> names;
  for (const auto& [key, value] : tensors) {
    const std::string shown = key.is_string() ? "\"" + key.as_string() + "\"" : key.type_name();
    if (!key.is_string() || !value.is_tensor())
      fail("only tensors with names can be written as safetensors", shown + " is a " + value.type_name(),
           "write a .pt file with save_torch_file");
    const at::Tensor& tensor = value.as_tensor();
    const bool dense = tensor.defined() && tensor.layout() == at::kStrided && !tensor.is_quantized();
    if (!dense || dtype_name(tensor.scalar_type()).empty())
      fail("a tensor of this kind cannot be written as safetensors",
           shown + (tensor.defined() ? ", " + tensor.toString() : ", undefined"));
    if (key.as_string() == "__metadata__" || !names.insert(key.as_string()).second)
      fail("a name cannot be given to a tensor, or to two", shown);
    items.push_back({key.as_string(), tensor.detach().resolve_conj().resolve_neg().cpu().contiguous()});
  }
  // Largest elements first, so that each tensor is aligned to its own.
  std::ranges::stable_sort(items, std::greater(), [](const Item& item) { return item.tensor.element_size(); });
  Map header;
  if (!metadata.empty()) {
    Map texts;
    for (const auto& [key, value] : metadata) texts[key] = value.to_string();
    header["__metadata__"] = texts;
  }
  std::uint64_t at = 0;
  for (const auto& [name, tensor] : items) {
    const std::uint64_t end = at + tensor.nbytes();
    header[name] = Map{{"dtype", std::string(dtype_name(tensor.scalar_type()))},
                       {"shape", List(tensor.sizes().begin(), tensor.sizes().end())},
                       {"data_offsets", List{static_cast<std::int64_t>(at), static_cast<std::int64_t>(end)}}};
    at = end;
  }
  std::string text = to_json(header);
  text.append((8 - text.size() % 8) % 8, ' ');
  const std::uint64_t header_size = text.size();
  AtomicFile file(path);
  file.write(&header_size, 8);
  file.write(text);
  for (const auto& [name, tensor] : items) {
    if (tensor.nbytes() > 0) file.write(tensor.const_data_ptr(), tensor.nbytes());
  }
  file.commit();
}

// An Error of `action` says which file it is about.
template <class Action>
auto about(const std::filesystem::path& path, const Action& action) {
  try {
    return action();
  } catch (const Error& error) {
    auto info = error.info();
    if (info.where.find(path.string()) == std::string::npos)
      info.where = path.string() + (info.where.empty() ? "" : ", " + info.where);
    throw Error(std::move(info));
  }
}

}  // namespace

SafetensorsFile load_safetensors(const std::filesystem::path& path) {
  return about(path, [&] { return read(path); });
}

void save_safetensors(const std::filesystem::path& path, const PickleDict& tensors, const Map& metadata) {
  about(path, [&] { write(path, tensors, metadata); });
}

}  // namespace levin
