#include <levin/app/engine/ray_search.h>

#include <levin/app/arguments.h>
#include <levin/app/engine/commands.h>
#include <levin/app/trial_board.h>
#include <levin/core/console.h>
#include <levin/core/error.h>
#include <levin/core/file.h>
#include <levin/core/interrupt.h>
#include <levin/dist/ray_workers.h>
#include <levin/dist/zip_archive.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <dlfcn.h>
#include <link.h>
#include <random>
#include <set>
#include <thread>

namespace levin::app {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

constexpr std::size_t kMostUploaded = 100U << 20;  // what clusters take by default

double number_of(const std::string& text, const std::string& setting) {
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error == std::errc() && end == text.data() + text.size() && value >= 0) return value;
  throw Error({.what = "a resource is written NAME=NUMBER", .value = "\"" + text + "\"", .where = setting, .hint = {}});
}

Map pairs_of(const std::vector<std::string>& texts, const std::string& setting, bool numbers) {
  Map out;
  for (const auto& text : texts) {
    const auto [name, value] = split_pair(text, setting);
    if (numbers) {
      out[name] = number_of(value, setting);
    } else {
      out[name] = value;
    }
  }
  return out;
}

dist::RayJobs cluster_of(const RaySettings& ray) {
  return dist::RayJobs({.base_url = *ray.address,
                        .token = dist::ray_token_of_environment(),
                        .ca_file = ray.ca_file,
                        .cert_file = ray.cert_file,
                        .key_file = ray.key_file});
}

dist::RayJob job_of(const RaySettings& ray) {
  dist::RayJob job{.submission_id = "",
                   .entrypoint = "",
                   .cpus = ray.cpus,
                   .gpus = ray.gpus,
                   .resources = pairs_of(ray.resources, "tune.ray_resources", true),
                   .environment = pairs_of(ray.environment, "tune.ray_env", false)};
  // The table of trials is shown here, from the study; what workers say besides is passed on.
  if (!job.environment.contains("LEVIN_LOG")) job.environment["LEVIN_LOG"] = "warning";
  return job;
}

// The libraries of this process that a node may lack: all but those of the system's C library, the compiler's, and
// LibTorch's folder, which is larger than clusters take.
std::vector<fs::path> libraries_to_bring() {
  std::vector<fs::path> loaded;
  ::dl_iterate_phdr(
      [](dl_phdr_info* info, std::size_t, void* out) {
        if (info->dlpi_name != nullptr && info->dlpi_name[0] == '/') {
          static_cast<std::vector<fs::path>*>(out)->emplace_back(info->dlpi_name);
        }
        return 0;
      },
      &loaded);
  fs::path torch;
  for (const auto& path : loaded) {
    if (path.filename() == "libtorch_cpu.so") torch = path.parent_path();
  }
  static const std::set<std::string> of_the_system = {"libc",   "libm",      "libdl",    "libpthread", "librt",
                                                      "libgcc_s", "libstdc++", "ld-linux-x86-64", "ld-linux-aarch64",
                                                      "libresolv", "libnss_files", "libnss_dns", "libcuda"};
  std::vector<fs::path> out;
  for (const auto& path : loaded) {
    const std::string name = path.filename().string();
    if (path.parent_path() == torch || of_the_system.contains(name.substr(0, name.find(".so")))) continue;
    if (path.string().starts_with(torch.parent_path().parent_path().string() + "/")) continue;  // the wheel's others
    out.push_back(path);
  }
  return out;
}

std::string package(const TabularSearch& search, const fs::path& executable) {
  dist::ZipArchive archive;
  archive.add("bin/levin", read_file(executable), true);
  for (const auto& library : libraries_to_bring()) {
    archive.add("lib/" + library.filename().string(), read_file(library));
  }
  if (!search.fixed().tune.ray.data) archive.add("data.csv", read_file(search.fixed().data.path));
  std::string bytes = archive.bytes();
  if (bytes.size() > kMostUploaded) {
    throw Error({.what = "program and table are larger than a Ray cluster takes",
                 .value = std::to_string(bytes.size() >> 20) + " MiB, packed",
                 .where = search.fixed().data.path,
                 .hint = "put the table where every node has it, and say where with --tune.ray_data"});
  }
  return bytes;
}

// The live table of a study that others work on.
class Watch {
 public:
  Watch(tune::Study& study, std::optional<std::int64_t> n_trials, std::optional<double> timeout, bool show)
      : study_(study) {
    if (show) board_.emplace(study, TrialBoardOptions{.n_trials = n_trials, .timeout = timeout});
    n_seen_ = study.snapshot().finished().size();
  }

  // Shows what is new; returns the number of trials that ended.
  std::size_t look() {
    const auto trials = study_.snapshot();
    const auto finished = trials.finished();
    const std::size_t fresh = finished.size() - n_seen_;
    for (; n_seen_ < finished.size(); ++n_seen_) {
      running_.erase(finished[n_seen_]->number);
      if (board_) board_->end(*finished[n_seen_]);
    }
    for (const auto& trial : trials.unfinished()) {
      const bool runs = trial->state == tune::TrialState::running;
      if (runs && running_.insert(trial->number).second && board_) board_->begin(*trial);
      if (!runs && running_.erase(trial->number) > 0 && board_) board_->drop(trial->number);
    }
    return fresh;
  }

  void finish() {
    look();
    if (board_) board_->finish();
  }

 private:
  tune::Study& study_;
  std::optional<TrialBoard> board_;
  std::size_t n_seen_ = 0;
  std::set<std::int64_t> running_;
};

std::string random_name() {
  std::random_device random;
  char text[16];
  std::snprintf(text, sizeof text, "%08x", random());
  return text;
}

}  // namespace

void check_ray(const Settings& settings) {
  const RaySettings& ray = settings.tune.ray;
  if (!settings.tune.storage) {
    throw Error({.what = "workers on Ray need a storage that every node reaches, outside of Ray",
                 .value = {},
                 .where = "tune.ray",
                 .hint = "give --tune.storage, such as postgresql://user@host/database, or a file on a file system that "
                         "the nodes share"});
  }
  if (!settings.tune.devices.empty()) {
    throw Error({.what = "tune.devices are GPUs of this machine, and trials run on Ray",
                 .value = {},
                 .where = "tune.devices",
                 .hint = "give --tune.ray_gpus, the number of GPUs of each worker"});
  }
  job_of(ray);
  console::debug("Ray " + cluster_of(ray).version() + " at " + *ray.address);
}

void work_on_ray(tune::Study& study, const TabularSearch& search, const std::string& storage,
                 std::optional<std::int64_t> until, const fs::path& executable) {
  const Settings& fixed = search.fixed();
  const RaySettings& ray = fixed.tune.ray;
  const auto start = Clock::now();
  const auto elapsed = [&] { return std::chrono::duration<double>(Clock::now() - start).count(); };
  const std::string call_off = "levin:called_off:" + random_name();

  std::string command = "LD_LIBRARY_PATH=\"$PWD/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}\" exec ./bin/levin worker --storage " +
                        shell_word(storage) + " --study " + shell_word(study.study_name()) + " --data " +
                        (ray.data ? shell_word(*ray.data) : "data.csv") + " --call-off " + call_off;
  if (until) command += " --until " + std::to_string(*until);
  dist::RayWorkersOptions options{.n_workers = fixed.tune.jobs,
                                  .name = "levin",
                                  .job = job_of(ray),
                                  .archive = package(search, executable)};
  options.entrypoint = [command, timeout = fixed.tune.timeout, elapsed] {
    if (!timeout) return command;
    return command + " --timeout " + std::to_string(std::max<std::int64_t>(1, std::llround(*timeout - elapsed()))) + "s";
  };
  options.on_line = [](std::int64_t worker, std::string_view line) {
    console::write("worker " + std::to_string(worker) + " | " + std::string(line) + "\n");
  };
  options.on_event = [](const std::string& text) { console::info(text); };

  Watch watch(study, fixed.tune.trials, fixed.tune.timeout, fixed.trainer.enable_progress_bar);
  console::info("submitting " + std::to_string(fixed.tune.jobs) + " workers to " + *ray.address + ", each with a package of " +
                std::to_string((options.archive.size() >> 20) + 1) + " MiB");
  dist::RayWorkers workers(cluster_of(ray), std::move(options));
  while (!workers.done() && !interrupt_requested()) {
    // A worker that was given its time ends on its own; one that did not is stopped a little later.
    if (fixed.tune.timeout && elapsed() > *fixed.tune.timeout + 30) break;
    if (watch.look() > 0) workers.note_progress();
    study.reclaim_stale_trials();
    std::this_thread::sleep_for(std::chrono::milliseconds(300));
  }
  // Jobs that still wait cannot be stopped: should they begin later, this sends them home.
  study.set_system_attr(call_off, true);
  workers.stop();
  watch.finish();
  workers.rethrow();
}

}  // namespace levin::app
