// RayWorkers: keeps a number of workers alive on a Ray cluster.
#pragma once

#include <levin/core/export.h>
#include <levin/dist/ray_jobs.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

namespace levin::dist {

struct RayWorkersOptions {
  std::int64_t n_workers = 1;
  std::string name = "levin";  ///< begins the ids of the jobs
  RayJob job = {};             ///< of each worker; id, entrypoint and package are filled in
  /** The command line, asked anew for each attempt. It should begin the program with `exec`, so that stops reach it. */
  std::function<std::string()> entrypoint = {};
  std::string archive = "";  ///< files that the workers need, as a zip archive; "" for none
  /**
   * Workers that ended badly one after the other, per worker, without a sign of progress between them, until the
   * attempt is given up.
   */
  std::int64_t max_failures = 3;
  /** A line that a worker wrote. Called from several threads, never two at a time. */
  std::function<void(std::int64_t worker, std::string_view line)> on_line = {};
  /** What happens to a worker, as a sentence: submitted, running, failed. Called like `on_line`. */
  std::function<void(const std::string& text)> on_event = {};
};

/**
 * Submits workers as jobs, and again when their process or node dies. A worker that ends with exit code 0 has done its
 * part; one that ends with 2 made a mistake that another attempt would repeat, and ends all.
 *
 * No more jobs wait for room than the cluster has free (but always one, which makes a cluster that can grow grow): a
 * waiting job cannot be stopped, and Ray fails it after 15 minutes, in which case it is submitted again.
 */
class LEVIN_API RayWorkers {
 public:
  /** Begins; throws Error for options without sense. */
  RayWorkers(RayJobs jobs, RayWorkersOptions options);
  /** Stops what is left. */
  ~RayWorkers();
  RayWorkers(const RayWorkers&) = delete;
  RayWorkers& operator=(const RayWorkers&) = delete;

  /** Whether no worker is left and none will come. */
  bool done() const;
  /** Says that the work goes on, which forgives earlier failures. */
  void note_progress();
  /** Stops the workers, and waits some seconds until the cluster says that they have ended. */
  void stop();
  /** Throws the Error that ended the workers, if one did. */
  void rethrow() const;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace levin::dist
