// RayJobs: programs on a Ray cluster, by the REST interface of its dashboard.
#pragma once

#include <levin/core/export.h>
#include <levin/core/value.h>
#include <levin/dist/http_client.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace levin::dist {

/** What is asked of the cluster for one program. */
struct RayJob {
  std::string submission_id;  ///< names the job; a new one for each attempt
  std::string entrypoint;     ///< a command line for the node's shell, run in the unpacked package
  std::string package = "";   ///< URI of its files, from RayJobs::upload; "" for none
  double cpus = 1;            ///< what the node must have free; cpus and gpus may be fractions
  double gpus = 0;
  Map resources = {};    ///< further resources by name, as nodes were started with
  Map environment = {};  ///< environment variables
};

enum class RayState { pending, running, stopped, succeeded, failed };

constexpr bool has_ended(RayState state) { return state != RayState::pending && state != RayState::running; }

struct RayStatus {
  RayState state = RayState::pending;
  std::string message;     ///< in the cluster's words
  std::string error_type;  ///< such as "JOB_ENTRYPOINT_COMMAND_ERROR"; "" for none
  std::optional<std::int64_t> exit_code = std::nullopt;
  std::string node_id;  ///< where it runs; "" before it began
};

/**
 * A client of one cluster. May be used from several threads. Every call throws Unreachable when the cluster does not
 * answer, and Error, naming what to do, when it refuses.
 */
class LEVIN_API RayJobs {
 public:
  explicit RayJobs(HttpOptions options) : http_(std::move(options)) {}

  /** The cluster's version of Ray. Throws Error when the address is not that of a Ray dashboard. */
  std::string version() const;

  /**
   * Makes sure that the cluster has the archive, which it forgets when no job uses it for some minutes, and returns its
   * URI. Clusters take up to 100 MiB by default.
   */
  std::string upload(std::string_view zip) const;

  /** Submits a job; one of the same id that is there already is taken for this one. */
  void submit(const RayJob& job) const;
  RayStatus status(const std::string& submission_id) const;
  /** Asks a running job to end (SIGTERM, then SIGKILL). A pending job cannot be stopped. */
  void stop(const std::string& submission_id) const;
  /** What a job that has begun writes, from its beginning; the stream goes on until it is let go. */
  HttpStream log(const std::string& submission_id, const std::string& node_id) const;

  /** How many more jobs of this size the nodes have room for, some seconds ago; nothing when the cluster does not say. */
  std::optional<std::int64_t> free_slots(double cpus, double gpus) const;

  const std::string& address() const { return http_.options().base_url; }

 private:
  HttpResponse ask(const std::string& method, const std::string& path, std::string_view body = {},
                   const std::string& content_type = "application/json") const;
  Map ask_map(const std::string& method, const std::string& path, std::string_view body = {}) const;

  HttpClient http_;
};

/**
 * The token that Ray's own tools would use: RAY_AUTH_TOKEN, else the file that RAY_AUTH_TOKEN_PATH names, else
 * ~/.ray/auth_token; "" when there is none.
 */
LEVIN_API std::string ray_token_of_environment();

}  // namespace levin::dist
