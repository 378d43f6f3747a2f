// A search on a Ray cluster: workers there, the live table here.
#pragma once

#include <levin/app/engine.h>
#include <levin/app/engine/tabular_search.h>
#include <levin/tune/study.h>

#include <cstdint>
#include <optional>
#include <string>

namespace levin::app {

/**
 * Throws Error where `levin tune --tune.ray` cannot work: no storage that others reach, texts that are no resources,
 * a cluster that does not answer.
 */
void check_ray(const Settings& settings);

/**
 * Runs `levin worker` as jobs of the cluster until the study has `until` finished trials, the timeout passes or Ctrl-C
 * comes, and stops them then. `executable`: the program that is uploaded, with the libraries it runs with.
 */
void work_on_ray(tune::Study& study, const TabularSearch& search, const std::string& storage,
                 std::optional<std::int64_t> until, const std::filesystem::path& executable);

}  // namespace levin::app
