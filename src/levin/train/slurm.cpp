#include <levin/train/slurm.h>

#include <levin/core/console.h>

#include <charconv>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

namespace levin {
namespace {

namespace fs = std::filesystem;

std::string variable(const char* name) {
  const char* value = std::getenv(name);
  return value ? value : "";
}

std::int64_t last_number(const std::string& folder) {
  std::int64_t last = -1;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(folder, error)) {
    const std::string name = entry.path().filename().string();
    constexpr std::string_view begin = "hpc_ckpt_", end = ".ckpt";
    if (!name.starts_with(begin) || !name.ends_with(end) || name.size() <= begin.size() + end.size()) continue;
    std::int64_t number = 0;
    const char *from = name.data() + begin.size(), *to = name.data() + name.size() - end.size();
    if (const auto read = std::from_chars(from, to, number); read.ec == std::errc() && read.ptr == to)
      last = std::max(last, number);
  }
  return last;
}

std::string numbered(const std::string& folder, std::int64_t number) {
  return (fs::path(folder) / ("hpc_ckpt_" + std::to_string(number) + ".ckpt")).string();
}

}  // namespace

std::optional<SlurmJob> SlurmJob::current() {
  const std::string name = variable("SLURM_JOB_NAME");
  if (variable("SLURM_JOB_ID").empty() || name == "bash" || name == "interactive") return std::nullopt;
  const std::string array = variable("SLURM_ARRAY_JOB_ID");
  return SlurmJob{array.empty() ? variable("SLURM_JOB_ID") : array + "_" + variable("SLURM_ARRAY_TASK_ID")};
}

bool SlurmJob::requeue() const {
  std::string program = "scontrol", verb = "requeue", job = id;
  char* arguments[] = {program.data(), verb.data(), job.data(), nullptr};
  pid_t child = 0;
  int status = 0;
  const int error = ::posix_spawnp(&child, "scontrol", nullptr, nullptr, arguments, environ);
  if (error == 0) ::waitpid(child, &status, 0);
  if (error == 0 && WIFEXITED(status) && WEXITSTATUS(status) == 0) {
    console::info("requeued SLURM job " + id);
    return true;
  }
  console::warning("SLURM job " + id + " could not be requeued: " +
                   (error != 0 ? std::string("scontrol: ") + std::strerror(error) : "scontrol failed"));
  return false;
}

std::string next_hpc_checkpoint(const std::string& folder) { return numbered(folder, last_number(folder) + 1); }

std::string last_hpc_checkpoint(const std::string& folder) {
  const std::int64_t last = last_number(folder);
  return last < 0 ? "" : numbered(folder, last);
}

}  // namespace levin
