#include <levin/app/training_study.h>

#include <levin/core/file.h>
#include <levin/core/json.h>
#include <levin/core/rng.h>

#include <cstdio>

namespace levin::app {
namespace {

constexpr const char* kAttr = "levin:training";

}  // namespace

void describe(tune::Study& study, const TrainingStudy& training) {
  Map text;
  text["config"] = training.config;
  text["data"] = training.data;
  study.set_system_attr(kAttr, text);
}

std::optional<TrainingStudy> training_of(const tune::Study& study) {
  const Map attrs = study.system_attrs();
  const Value* found = attrs.find(kAttr);
  if (found == nullptr) return std::nullopt;
  const Map& training = found->as_map();
  return TrainingStudy{.config = training.get<Map>("config"), .data = training.get<std::string>("data")};
}

std::string fingerprint(const std::string& path) {
  const std::string bytes = read_file(path);
  char text[48];
  std::snprintf(text, sizeof text, "%zu bytes, %016llx", bytes.size(),
                static_cast<unsigned long long>(stable_hash(bytes)));
  return text;
}

}  // namespace levin::app
