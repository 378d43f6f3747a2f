#include <levin/core/atomic_file.h>
#include <levin/core/error.h>
#include <levin/core/file.h>

#include <gtest/gtest.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <string>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

namespace levin {
namespace {

namespace fs = std::filesystem;

class AtomicFiles : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = fs::temp_directory_path() / ("levin_atomic_" + std::to_string(::getpid()));
    fs::create_directories(folder_);
  }
  void TearDown() override { fs::remove_all(folder_); }

  std::size_t files() const {
    return static_cast<std::size_t>(std::distance(fs::directory_iterator(folder_), fs::directory_iterator()));
  }

  fs::path folder_;
};

TEST_F(AtomicFiles, TakesItsPlaceOnlyOnCommit) {
  const fs::path path = folder_ / "a.txt";
  write_file_atomically(path, "old");
  {
    AtomicFile file(path);
    file.stream() << "new " << 42;
    file.stream().flush();
    EXPECT_EQ(read_file(path), "old");
    file.commit();
    EXPECT_EQ(read_file(path), "new 42");
    EXPECT_THROW(file.write("more"), Error) << "nothing can follow a commit";
  }
  EXPECT_EQ(read_file(path), "new 42");
  EXPECT_EQ(files(), 1U);
}

TEST_F(AtomicFiles, LeavesTheOldFileWithoutCommit) {
  const fs::path path = folder_ / "a.txt";
  write_file_atomically(path, "old");
  try {
    AtomicFile file(path);
    file.write("half");
    throw std::runtime_error("stop");
  } catch (const std::runtime_error&) {
  }
  EXPECT_EQ(read_file(path), "old");
  EXPECT_EQ(files(), 1U) << "the temporary file goes away";
}

TEST_F(AtomicFiles, WritesMoreThanABuffer) {
  std::string bytes;
  for (int i = 0; i < 300000; ++i) bytes += static_cast<char>(i * 7 + i / 256);
  AtomicFile file(folder_ / "big");
  file.write(std::string_view(bytes).substr(0, 10));
  file.write(std::string_view(bytes).substr(10, 200000));
  for (char c : bytes.substr(200010)) file.stream().put(c);
  file.commit();
  EXPECT_EQ(read_file(folder_ / "big"), bytes);
}

TEST_F(AtomicFiles, KeepsPermissionsAndLinks) {
  const fs::path path = folder_ / "real", link = folder_ / "link";
  write_file_atomically(path, "old");
  ::chmod(path.c_str(), 0640);
  fs::create_symlink("real", link);
  write_file_atomically(link, "new");
  EXPECT_TRUE(fs::is_symlink(link));
  EXPECT_EQ(read_file(path), "new");
  struct stat status {};
  ASSERT_EQ(::stat(path.c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0640U);
}

TEST_F(AtomicFiles, ErrorsNamePathAndReason) {
  const auto message = [](const fs::path& path) {
    try {
      write_file_atomically(path, "x");
      return std::string("no error");
    } catch (const Error& error) {
      return std::string(error.what());
    }
  };
  EXPECT_EQ(message(folder_ / "no" / "a"), "the file cannot be written: No such file or directory (" +
                                               (folder_ / "no" / "a").string() + "); create the folder " +
                                               (folder_ / "no").string() + " first");
  EXPECT_NE(message(folder_).find("it is a directory"), std::string::npos);
  EXPECT_NE(message("/dev/null").find("it is not a regular file"), std::string::npos);
}

// A child process with a limit on file sizes stands for a full disk.
TEST_F(AtomicFiles, AFailedWriteIsAnErrorAndKeepsTheOldFile) {
  const fs::path path = folder_ / "a.txt";
  write_file_atomically(path, "old");
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    std::signal(SIGXFSZ, SIG_IGN);
    const rlimit limit{100000, 100000};
    ::setrlimit(RLIMIT_FSIZE, &limit);
    int failures = 0;
    try {
      write_file_atomically(path, std::string(200000, 'x'));
    } catch (const Error& error) {
      failures += std::string(error.what()).find("File too large") != std::string::npos;
    }
    try {
      AtomicFile file(path);
      for (int i = 0; i < 200000; ++i) file.stream() << 'x';
    } catch (const Error& error) {
      failures += std::string(error.what()).find("File too large") != std::string::npos;
    }
    ::_exit(failures);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  EXPECT_EQ(WEXITSTATUS(status), 2);
  EXPECT_EQ(read_file(path), "old");
  EXPECT_EQ(files(), 1U);
}

TEST_F(AtomicFiles, ReadFileHoldsItsLimit) {
  write_file_atomically(folder_ / "a", "12345");
  EXPECT_EQ(read_file(folder_ / "a", 5), "12345");
  EXPECT_THROW(read_file(folder_ / "a", 4), Error);
}

}  // namespace
}  // namespace levin
