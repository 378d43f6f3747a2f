// The door between the `levin` binary, which starts without LibTorch, and the training part, which is opened on demand.
#pragma once

#include <levin/app/command.h>
#include <levin/app/work_loop.h>
#include <levin/core/value.h>

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace levin::app {

/** Changes with every change of Request, Command or the settings, so that parts of two builds do not mix. */
inline constexpr std::uint32_t kEngineVersion = 2;

/** What `levin worker` asks for in a study of `levin tune`. */
struct JoinRequest {
  std::string storage, study_name;
  std::string checkpoint_dir;  ///< "": as the study says
  std::vector<std::string> devices;
  WorkOptions work;
};

/** What the command line asks of the training part. */
struct Request {
  Command command = Command::fit;
  /**
   * Every setting of the command, nested by group; read_settings() makes it typed. In `worker`, those of the search.
   */
  Map config;
  Map provenance;  ///< dotted key -> where it was set ("lr.yaml:3:5", "command line"), of the settings that were set
  std::vector<std::string> arguments;  ///< the command line, for the record
  std::filesystem::path executable;    ///< the running binary
  std::optional<JoinRequest> join = std::nullopt;  ///< of `worker`
};

}  // namespace levin::app

/** kEngineVersion as the training part was built with it. */
extern "C" __attribute__((visibility("default"))) std::uint32_t levin_engine_version();

/**
 * Runs one command and returns the exit code of the process. Exported by the training part; may throw levin::Error for
 * mistakes of the user, which the caller reports.
 */
extern "C" __attribute__((visibility("default"))) int levin_engine_run(const levin::app::Request* request);
