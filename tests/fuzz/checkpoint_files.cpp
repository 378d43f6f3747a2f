// Fuzz target of everything that reads checkpoint files: any bytes must give a value or an Error, in bounded memory.
#include <levin/core/error.h>
#include <levin/train/checkpoint_io/pickle.h>
#include <levin/train/checkpoint_io/safetensors.h>
#include <levin/train/checkpoint_io/torch_file.h>

#include <ATen/ATen.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <sys/mman.h>
#include <unistd.h>

namespace {

/** A file in memory with these bytes, by a path that others can open. */
class MemoryFile {
 public:
  explicit MemoryFile(std::string_view bytes) : fd_(::memfd_create("fuzz", 0)) {
    while (!bytes.empty()) bytes.remove_prefix(static_cast<size_t>(::write(fd_, bytes.data(), bytes.size())));
  }
  ~MemoryFile() { ::close(fd_); }
  std::string path() const { return "/proc/self/fd/" + std::to_string(fd_); }

 private:
  int fd_;
};

void read(std::string_view bytes) {
  if (bytes.starts_with("\x80")) {  // a bare pickle, past the archive's checksums
    const auto storage = at::arange(16, at::kFloat).storage();
    levin::read_pickle(bytes, [&](const levin::StorageRef&) { return storage; });
    return;
  }
  const MemoryFile file(bytes);
  if (bytes.starts_with("PK")) {
    levin::load_torch_file(file.path());
  } else {
    levin::load_safetensors(file.path());
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  try {
    read({reinterpret_cast<const char*>(data), size});
  } catch (const levin::Error&) {
    // What is refused is refused with a message; any other exception ends the run.
  }
  return 0;
}
