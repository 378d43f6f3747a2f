#include <levin/train/checkpoint_io/checkpoint_writer.h>

#include <levin/core/console.h>
#include <levin/core/error.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <mutex>
#include <set>
#include <unistd.h>

namespace levin {
namespace {

namespace fs = std::filesystem;

// What the writers of this process are about to write: names that are taken before the files are there.
struct Pending {
  std::mutex mutex;
  std::multiset<fs::path> paths;
};
Pending& pending() {
  static Pending instance;
  return instance;
}

fs::path name_of(const fs::path& path) { return fs::absolute(path).lexically_normal(); }

void reserve(const SaveJob& job) {
  const std::scoped_lock lock(pending().mutex);
  for (const auto& path : job.paths) pending().paths.insert(name_of(path));
  if (!job.link.empty()) pending().paths.insert(name_of(job.link));
}

void release(const SaveJob& job) {
  const std::scoped_lock lock(pending().mutex);
  const auto drop = [](const fs::path& path) {
    if (const auto found = pending().paths.find(name_of(path)); found != pending().paths.end())
      pending().paths.erase(found);
  };
  for (const auto& path : job.paths) drop(path);
  if (!job.link.empty()) drop(job.link);
}

fs::path beside(const fs::path& path) {
  return path.parent_path() / ("." + path.filename().string() + "." + std::to_string(::getpid()) + ".new");
}

void take_place(const fs::path& from, const fs::path& to) {
  std::error_code error;
  fs::rename(from, to, error);
  if (!error) return;
  std::error_code ignored;
  fs::remove(from, ignored);
  throw Error(
      {.what = "the file cannot take its place: " + error.message(), .value = {}, .where = to.string(), .hint = {}});
}

// The place where AtomicFile may write: a link that stands at `path` is replaced in the end, not followed, since its
// target is another checkpoint.
fs::path staging_place(const fs::path& path) {
  std::error_code ignored;
  if (path.has_parent_path()) fs::create_directories(path.parent_path(), ignored);
  return fs::is_symlink(path, ignored) ? beside(path) : path;
}

// All files are written before the first takes its place: a disk that runs full leaves everything as it was.
void write(const TorchFileImage& image, const std::vector<fs::path>& paths) {
  std::vector<AtomicFile> files;
  for (const auto& path : paths) {
    files.emplace_back(staging_place(path));
    image.write(files.back());
  }
  for (size_t i = 0; i < files.size(); ++i) {
    files[i].commit();
    if (files[i].path() != paths[i]) take_place(files[i].path(), paths[i]);
  }
}

void link(const TorchFileImage& image, const fs::path& link, const fs::path& target) {
  if (name_of(link) == name_of(target)) return;
  const auto temporary = beside(link);
  std::error_code error;
  fs::remove(temporary, error);
  fs::create_symlink(name_of(target).lexically_relative(name_of(link).parent_path()), temporary, error);
  if (error) return write(image, std::vector{link});  // some file systems have no links
  take_place(temporary, link);
}

}  // namespace

CheckpointWriter::~CheckpointWriter() {
  try {
    wait();
  } catch (const std::exception& error) {
    console::warning(std::string("a checkpoint was not saved: ") + error.what());
  }
}

void CheckpointWriter::prepare(size_t bytes) {
  if (!async_) return;
  wait();
  staging_.reserve(bytes);
  worker_ = std::thread([this] { staging_.fault_in(); });
}

void CheckpointWriter::save(const PickleValue& state, SaveJob job) {
  wait();
  auto image = std::make_shared<TorchFileImage>(state);
  reserve(job);
  if (!async_) return run(*image, job);
  try {
    image->copy_into(staging_);
    worker_ = std::thread([this, image, job] { run(*image, job); });
  } catch (...) {
    release(job);
    throw;
  }
}

void CheckpointWriter::wait() {
  if (worker_.joinable()) worker_.join();
  if (error_) std::rethrow_exception(std::exchange(error_, nullptr));
}

bool CheckpointWriter::is_pending(const fs::path& path) {
  const std::scoped_lock lock(pending().mutex);
  return pending().paths.contains(name_of(path));
}

void CheckpointWriter::run(const TorchFileImage& image, const SaveJob& job) noexcept {
  try {
    write(image, job.paths);
    if (!job.link.empty()) link(image, job.link, job.link_to);
    for (const auto& path : job.remove_then) {
      std::error_code error;
      fs::remove(path, error);
      if (error) console::warning("the old checkpoint " + path.string() + " could not be removed: " + error.message());
    }
  } catch (...) {
    error_ = std::current_exception();
  }
  release(job);
}

}  // namespace levin
