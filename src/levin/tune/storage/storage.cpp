#include <levin/tune/storage/storage.h>

#include <levin/tune/storage/memory.h>
#include <levin/tune/storage/sqlite.h>

#include <array>

namespace levin::tune {

Storage::~Storage() = default;

std::shared_ptr<Storage> open_storage(const std::string& url, bool create) {
  const auto fail = [&](const std::string& what, const std::string& hint) {
    throw Error({.what = what, .value = "\"" + url + "\"", .where = "storage", .hint = hint});
  };
  const std::string known = "write memory://, sqlite:///file.db or sqlite:////absolute/file.db";
  const std::size_t colon = url.find("://");
  if (colon == std::string::npos) {
    const bool is_file = url.ends_with(".db") || url.ends_with(".sqlite") || url.ends_with(".sqlite3");
    fail("a storage is named by a URL", is_file ? "did you mean \"sqlite:///" + url + "\"?" : known);
  }
  const std::string scheme = url.substr(0, colon);
  const std::string rest = url.substr(colon + 3);
  if (scheme == "memory") {
    if (!rest.empty()) fail("a memory storage has no name", "write memory://");
    if (!create) fail("a new memory storage holds no study", "pass the storage object of the study instead");
    return std::make_shared<MemoryStorage>();
  }
  if (scheme == "sqlite") {
    if (!rest.starts_with('/'))
      fail("sqlite takes three slashes before a file's path", "did you mean \"sqlite:///" + rest + "\"?");
    const std::string path = rest.substr(1);
    if (path.empty()) fail("the URL names no file", known);
    if (path.find('?') != std::string::npos)
      fail("the URL of a storage takes no options", "drop what follows the \"?\"");
    return std::make_shared<SqliteStorage>(path, SqliteStorageOptions{.create = create});
  }
  const std::array<std::string, 2> schemes{"memory", "sqlite"};
  fail("unknown kind of storage", closest(scheme, schemes).empty() ? known : did_you_mean(scheme, schemes));
  return nullptr;
}

std::shared_ptr<Storage> StorageRef::open(bool create) const {
  if (storage_ != nullptr) return storage_;
  if (url_.empty()) {
    throw Error(
        {.what = "no storage was given", .value = {}, .where = {}, .hint = "write memory:// or sqlite:///file.db"});
  }
  return open_storage(url_, create);
}

}  // namespace levin::tune
