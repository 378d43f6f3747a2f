#include <levin/data/npy.h>

#include <levin/core/atomic_file.h>
#include <levin/core/error.h>
#include <levin/core/file.h>

#include <ATen/EmptyTensor.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/from_blob.h>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zip.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace levin {
namespace {

static_assert(std::endian::native == std::endian::little, "NPY is written in the machine's own byte order");

struct Type {
  const char* code;  // NumPy's kind and size in bytes
  at::ScalarType type;
};

constexpr std::array kTypes{
    Type{"b1", at::kBool},         Type{"i1", at::kChar},           Type{"u1", at::kByte},
    Type{"i2", at::kShort},        Type{"u2", at::kUInt16},         Type{"i4", at::kInt},
    Type{"u4", at::kUInt32},       Type{"i8", at::kLong},           Type{"u8", at::kUInt64},
    Type{"f2", at::kHalf},         Type{"f4", at::kFloat},          Type{"f8", at::kDouble},
    Type{"c8", at::kComplexFloat}, Type{"c16", at::kComplexDouble},
};

constexpr std::string_view kMagic = "\x93NUMPY";
constexpr std::size_t kMaxHeader = 1 << 20;
constexpr std::size_t kMaxDims = 64;

[[noreturn]] void throw_damaged(const std::string& where, std::string what, std::string value = {}) {
  throw Error({.what = std::move(what), .value = std::move(value), .where = where, .hint = "is the file whole?"});
}

struct Header {
  at::ScalarType type = at::kFloat;
  bool swapped = false;  // the other byte order
  bool fortran = false;
  std::vector<std::int64_t> shape;
  std::size_t begin = 0;  // of the numbers
  std::size_t bytes = 0;  // of the numbers
};

// The header's Python dict: {'descr': '<f8', 'fortran_order': False, 'shape': (2, 3), }
class HeaderParser {
 public:
  HeaderParser(std::string_view text, const std::string& where) : text_(text), where_(where) {}

  Header parse() {
    Header header;
    bool descr = false, order = false, shape = false;
    expect('{');
    while (!accept('}')) {
      const auto key = string();
      expect(':');
      if (key == "descr" && !descr) {
        descr = true;
        skip_space();
        if (!rest().starts_with('\'') && !rest().starts_with('"')) {
          throw Error({.what = "an array of records cannot be a tensor",
                       .value = std::string(rest().substr(0, 60)),
                       .where = where_,
                       .hint = "save its fields as arrays of their own"});
        }
        read_type(string(), header);
      } else if (key == "fortran_order" && !order) {
        order = true;
        header.fortran = boolean();
      } else if (key == "shape" && !shape) {
        shape = true;
        header.shape = tuple();
      } else {
        throw_damaged(where_, "the header of a .npy file has an unknown key", std::string(key));
      }
      if (!accept(',')) {
        expect('}');
        break;
      }
    }
    if (!descr || !order || !shape) throw_damaged(where_, "the header of a .npy file is not complete");
    return header;
  }

 private:
  std::string_view rest() const { return text_.substr(at_); }
  void skip_space() {
    while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\n' || text_[at_] == '\t')) ++at_;
  }
  bool accept(char c) {
    skip_space();
    if (at_ >= text_.size() || text_[at_] != c) return false;
    ++at_;
    return true;
  }
  void expect(char c) {
    if (!accept(c)) throw_damaged(where_, "the header of a .npy file is damaged at byte " + std::to_string(at_));
  }
  std::string_view string() {
    skip_space();
    const char quote = at_ < text_.size() ? text_[at_] : '\0';
    if (quote != '\'' && quote != '"') expect('\'');
    const auto end = text_.find(quote, at_ + 1);
    if (end == std::string_view::npos) throw_damaged(where_, "the header of a .npy file is damaged");
    const auto found = text_.substr(at_ + 1, end - at_ - 1);
    at_ = end + 1;
    return found;
  }
  bool boolean() {
    skip_space();
    for (const bool value : {false, true}) {
      const std::string_view word = value ? "True" : "False";
      if (!rest().starts_with(word)) continue;
      at_ += word.size();
      return value;
    }
    throw_damaged(where_, "the header of a .npy file is damaged at byte " + std::to_string(at_));
  }
  std::vector<std::int64_t> tuple() {
    std::vector<std::int64_t> sizes;
    expect('(');
    while (!accept(')')) {
      skip_space();
      std::int64_t size = -1;
      const auto [end, error] = std::from_chars(text_.data() + at_, text_.data() + text_.size(), size);
      if (error != std::errc() || size < 0 || sizes.size() == kMaxDims) {
        throw_damaged(where_, "the shape in a .npy file is damaged");
      }
      at_ = static_cast<std::size_t>(end - text_.data());
      if (at_ < text_.size() && text_[at_] == 'L') ++at_;  // Python 2 wrote (3L,)
      sizes.push_back(size);
      if (!accept(',')) {
        expect(')');
        break;
      }
    }
    return sizes;
  }
  void read_type(std::string_view descr, Header& header) const {
    if (!descr.empty()) {
      const char order = descr[0];
      const auto code = descr.substr(order == '<' || order == '>' || order == '|' || order == '=');
      for (const auto& known : kTypes) {
        if (code != known.code) continue;
        header.type = known.type;
        header.swapped = order == '>' && c10::elementSize(known.type) > 1;
        return;
      }
    }
    throw Error({.what = "an array of this type cannot be a tensor",
                 .value = std::string(descr.substr(0, 60)),
                 .where = where_,
                 .hint = "save it as a boolean, integer, floating or complex array"});
  }

  std::string_view text_;
  std::size_t at_ = 0;
  const std::string& where_;
};

// `start` holds the beginning of a file of `size` bytes: all of it, or enough for its header.
Header read_header(std::string_view start, std::size_t size, const std::string& where) {
  if (!start.starts_with(kMagic) || start.size() < 10) {
    throw Error({.what = "this is not a .npy file", .value = {}, .where = where, .hint = {}});
  }
  const auto byte = [&](std::size_t i) { return static_cast<std::size_t>(static_cast<unsigned char>(start[i])); };
  const auto version = byte(6);
  if (version < 1 || version > 3) throw_damaged(where, "a .npy file of an unknown version", std::to_string(version));
  std::size_t length = byte(8) | byte(9) << 8, begin = 10;
  if (version > 1) {
    if (start.size() < 12) throw_damaged(where, "a .npy file ends within its header");
    length |= byte(10) << 16 | byte(11) << 24;
    begin = 12;
  }
  if (length > kMaxHeader) throw_damaged(where, "the header of a .npy file is too long", std::to_string(length));
  if (begin + length > start.size()) throw_damaged(where, "a .npy file ends within its header");
  auto header = HeaderParser(start.substr(begin, length), where).parse();
  header.begin = begin + length;

  std::size_t bytes = c10::elementSize(header.type);
  const bool empty = std::count(header.shape.begin(), header.shape.end(), 0) > 0;
  std::int64_t product = 1;  // of the sizes that are not 0: strides must not overflow either
  for (const auto dim : header.shape) {
    if (dim != 0 && (__builtin_mul_overflow(bytes, static_cast<std::size_t>(dim), &bytes) ||
                     __builtin_mul_overflow(product, dim, &product) || bytes > std::size_t{1} << 62)) {
      throw_damaged(where, "the shape in a .npy file is too large");
    }
  }
  header.bytes = empty ? 0 : bytes;
  if (header.bytes > size - header.begin) {
    throw_damaged(where, "a .npy file ends before its last number",
                  std::to_string(size - header.begin) + " of " + std::to_string(header.bytes) + " bytes");
  }
  return header;
}

at::Tensor shaped(const at::Tensor& flat, const Header& header) {
  if (!header.fortran || header.shape.size() < 2) return flat.view(header.shape);
  const std::vector<std::int64_t> reversed(header.shape.rbegin(), header.shape.rend());
  std::vector<std::int64_t> order(reversed.size());
  for (std::size_t i = 0; i < order.size(); ++i) order[i] = static_cast<std::int64_t>(order.size() - 1 - i);
  return flat.view(reversed).permute(order).contiguous();
}

at::Tensor from_bytes(std::string_view bytes, const std::string& where) {
  const auto header = read_header(bytes, bytes.size(), where);
  const auto element = c10::elementSize(header.type);
  const auto count = static_cast<std::int64_t>(header.bytes / element);
  auto flat = at::Tensor(at::detail::empty_cpu({count}, header.type, false, std::nullopt));
  auto* numbers = static_cast<char*>(flat.mutable_data_ptr());
  if (header.bytes > 0) std::memcpy(numbers, bytes.data() + header.begin, header.bytes);
  if (header.swapped) {
    const auto part = c10::isComplexType(header.type) ? element / 2 : element;
    for (std::size_t i = 0; i < header.bytes; i += part) std::reverse(numbers + i, numbers + i + part);
  }
  if (header.type == at::kBool) {  // a bool that is neither 0 nor 1 would be no bool
    for (std::size_t i = 0; i < header.bytes; ++i) numbers[i] = numbers[i] != 0;
  }
  return shaped(flat, header);
}

struct FileDescriptor {
  ~FileDescriptor() {
    if (number >= 0) ::close(number);
  }
  int number = -1;
};

at::Tensor map_file(const std::filesystem::path& path) {
  const auto where = path.string();
  require_file(path);
  FileDescriptor file{::open(path.c_str(), O_RDONLY | O_CLOEXEC)};
  struct stat info {};
  if (file.number < 0 || ::fstat(file.number, &info) != 0) {
    throw Error({.what = "cannot open a file", .value = errno_text(errno), .where = where, .hint = {}});
  }
  const auto size = static_cast<std::size_t>(info.st_size);
  std::string start(std::min(size, kMaxHeader + 12), '\0');
  const auto got = ::pread(file.number, start.data(), start.size(), 0);
  start.resize(got < 0 ? 0 : static_cast<std::size_t>(got));
  const auto header = read_header(start, size, where);
  if (header.swapped || header.type == at::kBool || header.begin % c10::elementSize(header.type) != 0) {
    throw Error({.what = "this .npy file cannot be mapped: its numbers are not as this machine wants them",
                 .value = {},
                 .where = where,
                 .hint = "read it without .mmap"});
  }
  const auto count = static_cast<std::int64_t>(header.bytes / c10::elementSize(header.type));
  const auto options = at::TensorOptions().dtype(header.type);
  if (count == 0) return shaped(at::from_blob(nullptr, {0}, options).clone(), header);
  const auto length = header.begin + header.bytes;
  void* memory = ::mmap(nullptr, length, PROT_READ | PROT_WRITE, MAP_PRIVATE, file.number, 0);
  if (memory == MAP_FAILED) {
    throw Error({.what = "cannot map a file", .value = errno_text(errno), .where = where, .hint = {}});
  }
  auto flat = at::from_blob(
      static_cast<char*>(memory) + header.begin, {count}, [memory, length](void*) { ::munmap(memory, length); },
      options);
  return shaped(flat, header);
}

std::string to_bytes(const at::Tensor& tensor, const std::string& where) {
  if (!tensor.defined())
    throw Error({.what = "an undefined tensor cannot be written", .value = {}, .where = where, .hint = {}});
  const Type* type = nullptr;
  for (const auto& known : kTypes) {
    if (known.type == tensor.scalar_type()) type = &known;
  }
  if (!type || tensor.layout() != at::kStrided) {
    throw Error({.what = "NumPy has no arrays like this tensor",
                 .value = tensor.toString(),
                 .where = where,
                 .hint = "convert it first, for instance with .to(torch::kFloat)"});
  }
  const auto plain = tensor.detach().to(at::kCPU).resolve_conj().resolve_neg().contiguous();
  std::string shape;
  for (const auto size : plain.sizes()) shape += std::to_string(size) + ", ";
  if (plain.dim() > 1) shape.resize(shape.size() - 2);
  if (plain.dim() == 1) shape.resize(shape.size() - 1);
  const std::string order = c10::elementSize(type->type) == 1 ? "|" : "<";
  std::string header = "{'descr': '" + order + type->code + "', 'fortran_order': False, 'shape': (" + shape + "), }";
  header.resize((10 + header.size() + 1 + 63) / 64 * 64 - 10, ' ');  // the numbers begin at a multiple of 64
  header.back() = '\n';
  std::string bytes(kMagic);
  bytes += {'\x01', '\x00', static_cast<char>(header.size() & 0xff), static_cast<char>(header.size() >> 8)};
  bytes += header;
  bytes.append(static_cast<const char*>(plain.const_data_ptr()), plain.nbytes());
  return bytes;
}

using Archive = std::unique_ptr<zip_t, decltype(&zip_discard)>;

[[noreturn]] void throw_zip(zip_error_t* error, const std::string& where) {
  const std::string reason = zip_error_strerror(error);
  zip_error_fini(error);
  throw Error(
      {.what = "the .npz file cannot be read or written (a zip archive)", .value = reason, .where = where, .hint = {}});
}

std::string read_entry(zip_t* archive, zip_uint64_t index, std::size_t archive_bytes, const std::string& where) {
  zip_stat_t info;
  constexpr zip_uint64_t wanted = ZIP_STAT_SIZE | ZIP_STAT_COMP_SIZE;
  if (zip_stat_index(archive, index, 0, &info) != 0 || (info.valid & wanted) != wanted) {
    throw_damaged(where, "an entry of a .npz file is damaged");
  }
  // Deflate makes at most 1032 bytes of one: what promises more lies.
  if (info.comp_size > archive_bytes || info.size / 1032 > info.comp_size) {
    throw_damaged(where, "an entry of a .npz file promises more than the file can hold", std::to_string(info.size));
  }
  const std::unique_ptr<zip_file_t, decltype(&zip_fclose)> file(zip_fopen_index(archive, index, 0), &zip_fclose);
  std::string bytes(info.size, '\0');
  const auto got = file ? zip_fread(file.get(), bytes.data(), bytes.size()) : -1;
  char beyond = 0;  // reading to the end makes libzip compare the checksum
  if (got != static_cast<zip_int64_t>(bytes.size()) || zip_fread(file.get(), &beyond, 1) != 0) {
    throw_damaged(where, "an entry of a .npz file is damaged");
  }
  return bytes;
}

}  // namespace

at::Tensor read_npy(const std::filesystem::path& path, const ReadNpyOptions& options) {
  return options.mmap ? map_file(path) : from_bytes(read_file(path), path.string());
}

void write_npy(const std::filesystem::path& path, const at::Tensor& tensor) {
  write_file_atomically(path, to_bytes(tensor, path.string()));
}

Batch read_npz(const std::filesystem::path& path) {
  const auto where = path.string();
  const auto bytes = read_file(path);
  zip_error_t error;
  zip_error_init(&error);
  auto* source = zip_source_buffer_create(bytes.data(), bytes.size(), 0, &error);
  if (!source) throw_zip(&error, where);
  auto* opened = zip_open_from_source(source, ZIP_RDONLY, &error);
  if (!opened) {
    zip_source_free(source);
    throw_zip(&error, where);
  }
  const Archive archive(opened, &zip_discard);
  Batch arrays;
  const auto count = zip_get_num_entries(archive.get(), 0);
  for (zip_int64_t i = 0; i < count; ++i) {
    const auto index = static_cast<zip_uint64_t>(i);
    const char* raw_name = zip_get_name(archive.get(), index, 0);
    std::string name = raw_name ? raw_name : "";
    if (name.ends_with(".npy")) name.resize(name.size() - 4);
    const auto entry = where + ": " + name;
    if (name.empty()) throw_damaged(where, "an array of a .npz file has no name");
    arrays.push_back(name, from_bytes(read_entry(archive.get(), index, bytes.size(), entry), entry));
  }
  return arrays;
}

void write_npz(const std::filesystem::path& path, const Batch& arrays, const WriteNpzOptions& options) {
  const auto where = path.string();
  zip_error_t error;
  zip_error_init(&error);
  auto* target = zip_source_buffer_create(nullptr, 0, 0, &error);
  if (!target) throw_zip(&error, where);
  zip_source_keep(target);  // the archive frees its own hold
  const std::unique_ptr<zip_source_t, decltype(&zip_source_free)> kept(target, &zip_source_free);
  auto* opened = zip_open_from_source(target, ZIP_CREATE | ZIP_TRUNCATE, &error);
  if (!opened) {
    zip_source_free(target);
    throw_zip(&error, where);
  }
  Archive archive(opened, &zip_discard);
  std::vector<std::string> entries;  // libzip reads them when it closes the archive
  for (std::int64_t i = 0; i < arrays.size(); ++i) {
    entries.push_back(to_bytes(arrays[i], where));
  }
  for (std::int64_t i = 0; i < arrays.size(); ++i) {
    const auto at = static_cast<std::size_t>(i);
    const auto& names = arrays.names();
    const auto name = (names.empty() || names[at].empty() ? "arr_" + std::to_string(i) : names[at]) + ".npy";
    auto* entry = zip_source_buffer(archive.get(), entries[at].data(), entries[at].size(), 0);
    const auto index = entry ? zip_file_add(archive.get(), name.c_str(), entry, ZIP_FL_ENC_UTF_8) : -1;
    if (index < 0) {
      if (entry) zip_source_free(entry);
      throw_zip(zip_get_error(archive.get()), where);
    }
    zip_set_file_compression(archive.get(), static_cast<zip_uint64_t>(index),
                             options.compress ? ZIP_CM_DEFLATE : ZIP_CM_STORE, 0);
  }
  if (zip_close(archive.get()) != 0) throw_zip(zip_get_error(archive.get()), where);
  (void)archive.release();

  zip_source_open(target);
  zip_source_seek(target, 0, SEEK_END);
  std::string bytes(static_cast<std::size_t>(zip_source_tell(target)), '\0');
  zip_source_seek(target, 0, SEEK_SET);
  const auto got = zip_source_read(target, bytes.data(), bytes.size());
  zip_source_close(target);
  if (got != static_cast<zip_int64_t>(bytes.size())) throw_damaged(where, "a .npz file could not be put together");
  write_file_atomically(path, bytes);
}

}  // namespace levin
