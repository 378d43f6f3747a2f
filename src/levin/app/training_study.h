// How a study of `levin tune` tells those who join it what it searches.
#pragma once

#include <levin/core/value.h>
#include <levin/tune/study.h>

#include <optional>
#include <string>

namespace levin::app {

/** What the trials of a study train. */
struct TrainingStudy {
  Map config;        ///< the settings of `levin tune`, distributions where they are searched
  std::string data;  ///< fingerprint of the table, so that all train on the same
};

/** Writes it into the study. */
void describe(tune::Study& study, const TrainingStudy& training);

/** Reads it; nothing when the study is not one of `levin tune`. */
std::optional<TrainingStudy> training_of(const tune::Study& study);

/** Names the content of a file. Throws Error when it cannot be read. */
std::string fingerprint(const std::string& path);

}  // namespace levin::app
