#include <levin/data/idx.h>

#include <levin/core/error.h>
#include <levin/core/file.h>

#include <ATen/EmptyTensor.h>
#include <ATen/core/Tensor.h>

#include <zlib.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

namespace levin {
namespace {

[[noreturn]] void throw_damaged(const std::filesystem::path& path, const std::string& what, std::string value = {}) {
  throw Error({.what = what, .value = std::move(value), .where = path.string(), .hint = "is the file whole?"});
}

at::ScalarType type_of(unsigned char code, const std::filesystem::path& path) {
  switch (code) {
    case 0x08: return at::kByte;
    case 0x09: return at::kChar;
    case 0x0b: return at::kShort;
    case 0x0c: return at::kInt;
    case 0x0d: return at::kFloat;
    case 0x0e: return at::kDouble;
    default: throw_damaged(path, "an IDX file has an unknown type of numbers", std::to_string(code));
  }
}

// Plain files too: gzread passes them through.
class Reader {
 public:
  explicit Reader(const std::filesystem::path& path) : path_(path), file_(gzopen(path.c_str(), "rb"), &gzclose) {
    if (!file_)
      throw Error({.what = "cannot open a file", .value = errno_text(errno), .where = path.string(), .hint = {}});
  }
  void read(char* to, std::size_t bytes) {
    while (bytes > 0) {
      const auto got = gzread(file_.get(), to, static_cast<unsigned>(std::min<std::size_t>(bytes, 1 << 30)));
      if (got <= 0) throw_damaged(path_, "an IDX file is damaged or ends too early");
      to += got;
      bytes -= static_cast<std::size_t>(got);
    }
  }
  void expect_end() {
    char beyond = 0;
    const auto got = gzread(file_.get(), &beyond, 1);
    if (got != 0)
      throw_damaged(path_, got > 0 ? "an IDX file goes on after its last number" : "an IDX file is damaged");
  }
  bool compressed() const { return gzdirect(file_.get()) == 0; }

 private:
  const std::filesystem::path& path_;
  std::unique_ptr<std::remove_pointer_t<gzFile>, decltype(&gzclose)> file_;
};

}  // namespace

at::Tensor read_idx(const std::filesystem::path& path) {
  require_file(path);
  const auto file_bytes = static_cast<std::size_t>(std::filesystem::file_size(path));
  Reader reader(path);
  unsigned char start[4];
  reader.read(reinterpret_cast<char*>(start), sizeof start);
  if (start[0] != 0 || start[1] != 0) {
    throw Error({.what = "this is not an IDX file", .value = {}, .where = path.string(), .hint = {}});
  }
  const auto type = type_of(start[2], path);
  const auto element = c10::elementSize(type);
  std::vector<std::int64_t> shape;
  std::size_t bytes = element;
  // Deflate makes at most 1032 bytes of one.
  const auto most = reader.compressed() ? file_bytes * 1032 : file_bytes;
  bool empty = false;
  for (int i = 0; i < start[3]; ++i) {
    unsigned char size[4];
    reader.read(reinterpret_cast<char*>(size), sizeof size);
    shape.push_back(static_cast<std::int64_t>(size[0]) << 24 | size[1] << 16 | size[2] << 8 | size[3]);
    if (shape.back() == 0) {
      empty = true;
    } else if (__builtin_mul_overflow(bytes, static_cast<std::size_t>(shape.back()), &bytes) || bytes > std::size_t{1}
                                                                                                            << 62) {
      throw_damaged(path, "the shape in an IDX file is too large");
    }
  }
  if (empty) bytes = 0;
  if (bytes > most) {
    throw_damaged(path, "an IDX file promises more than it can hold", std::to_string(bytes) + " bytes");
  }
  auto tensor = at::Tensor(at::detail::empty_cpu(shape, type, false, std::nullopt));
  auto* numbers = static_cast<char*>(tensor.mutable_data_ptr());
  reader.read(numbers, bytes);
  reader.expect_end();
  if (element > 1) {  // they are written big-endian
    for (std::size_t i = 0; i < bytes; i += element) std::reverse(numbers + i, numbers + i + element);
  }
  return tensor;
}

}  // namespace levin
