#include <levin/app/engine_loader.h>

#include <levin/core/error.h>

#include <cstdlib>
#include <dlfcn.h>
#include <system_error>
#include <vector>

namespace levin::app {
namespace {

namespace fs = std::filesystem;

fs::path find_engine() {
  if (const char* wanted = std::getenv("LEVIN_ENGINE"); wanted != nullptr && *wanted != '\0') return wanted;
  const fs::path folder = this_executable().parent_path();
  std::string looked_in;
  std::error_code ignored;
  for (const char* relative : {"../lib", "../" LEVIN_LIBDIR, "."}) {
    const fs::path path = (folder / relative / "liblevin_engine.so").lexically_normal();
    if (fs::exists(path, ignored)) return path;
    if (looked_in.find(path.string()) == std::string::npos)
      looked_in += (looked_in.empty() ? "" : ", ") + path.string();
  }
  throw Error({.what = "the training part of levin was not found",
               .value = {},
               .where = "looked for " + looked_in,
               .hint = "build levin with LibTorch (LEVIN_WITH_TORCH), or name the library in LEVIN_ENGINE"});
}

}  // namespace

fs::path this_executable() {
  std::error_code ignored;
  return fs::read_symlink("/proc/self/exe", ignored);
}

int run_engine(const Request& request) {
  const fs::path path = find_engine();
  const auto fail = [&](const std::string& what) -> Error {
    const char* reason = ::dlerror();
    return Error({.what = what + (reason == nullptr ? "" : std::string(": ") + reason),
                  .value = {},
                  .where = path.string(),
                  .hint = "it must be the liblevin_engine.so of the same build as this binary"});
  };
  // Never closed: LibTorch's threads and static objects live as long as the process.
  void* library = ::dlopen(path.c_str(), RTLD_NOW | RTLD_GLOBAL);
  if (library == nullptr) throw fail("the training part cannot be opened");
  const auto version = reinterpret_cast<decltype(&levin_engine_version)>(::dlsym(library, "levin_engine_version"));
  const auto run = reinterpret_cast<decltype(&levin_engine_run)>(::dlsym(library, "levin_engine_run"));
  if (version == nullptr || run == nullptr) throw fail("this is no training part of levin");
  if (version() != kEngineVersion) throw fail("the training part is of another build");
  return run(&request);
}

}  // namespace levin::app
