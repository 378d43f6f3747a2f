#include <levin/tune/pruners/hyperband.h>

#include <levin/tune/samplers/per_study.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

namespace levin::tune {
namespace {

void require(bool holds, const char* what, const std::string& value) {
  if (!holds) throw Error({.what = what, .value = value, .where = "HyperbandPruner", .hint = {}});
}

// The checksum of zip files and PNG images (polynomial 0xEDB88320), as Python's zlib.crc32.
std::uint32_t crc32(const std::string& text) {
  std::uint32_t crc = 0xFFFFFFFFu;
  for (const char c : text) {
    crc ^= static_cast<unsigned char>(c);
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ (crc & 1 ? 0xEDB88320u : 0u);
  }
  return ~crc;
}

// The steps of the complete trial that was the first to end.
std::optional<std::int64_t> first_length(const TrialsSnapshot& trials) {
  const FrozenTrial* first = nullptr;
  for (const auto& trial : trials.finished()) {
    if (trial->state != TrialState::complete || trial->intermediate_values.empty()) continue;
    const auto key = [](const FrozenTrial& t) { return std::pair(t.datetime_complete, t.number); };
    if (first == nullptr || key(*trial) < key(*first)) first = trial.get();
  }
  if (first == nullptr) return std::nullopt;
  return *first->last_step() + 1;
}

// How many of the trials each bracket gets, boldest bracket first.
std::vector<std::int64_t> bracket_shares(std::int64_t min_resource, std::int64_t max_resource, std::int64_t factor) {
  const double eta = static_cast<double>(factor);
  const double ratio = static_cast<double>(max_resource) / static_cast<double>(min_resource);
  const auto n = static_cast<std::int64_t>(std::floor(std::log(ratio) / std::log(eta))) + 1;
  std::vector<std::int64_t> shares;
  for (std::int64_t bracket = 0; bracket < n; ++bracket) {
    const double s = static_cast<double>(n - 1 - bracket);
    shares.push_back(static_cast<std::int64_t>(std::ceil(static_cast<double>(n) * std::pow(eta, s) / (s + 1))));
  }
  return shares;
}

}  // namespace

MaxResource::MaxResource(const char* word) {
  require(std::string_view(word) == "auto", "max_resource is a number of steps or \"auto\"",
          std::string("\"") + word + "\"");
}

struct HyperbandPruner::State {
  std::mutex mutex;
  PerStudy<std::optional<std::int64_t>> lengths;                  // max_resource, once it is known
  std::map<std::int64_t, SuccessiveHalvingPruner> brackets = {};  // those that have judged
};

HyperbandPruner::HyperbandPruner(HyperbandPrunerOptions options)
    : options_(options), state_(std::make_shared<State>()) {
  const auto& most = options.max_resource.steps();
  require(options.min_resource >= 1, "min_resource must be at least 1", std::to_string(options.min_resource));
  require(!most || *most >= options.min_resource, "max_resource must not be below min_resource",
          std::to_string(most.value_or(0)));
  require(options.reduction_factor >= 2, "reduction_factor must be at least 2",
          std::to_string(options.reduction_factor));
  require(options.bootstrap_count >= 0, "bootstrap_count must not be negative",
          std::to_string(options.bootstrap_count));
  require(options.bootstrap_count == 0 || most.has_value(), "bootstrap_count needs a max_resource in steps",
          std::to_string(options.bootstrap_count) + " with max_resource \"auto\"");
}

Grouping HyperbandPruner::grouping(StudyView& study) {
  std::optional<std::int64_t> most = options_.max_resource.steps();
  if (!most) {
    const std::lock_guard lock(state_->mutex);
    auto& known = state_->lengths.of(study.trials());
    if (!known) known = first_length(study.trials());
    most = known;
  }
  if (!most) return {};
  const auto shares =
      bracket_shares(options_.min_resource, std::max(*most, options_.min_resource), options_.reduction_factor);
  std::int64_t total = 0;
  for (const auto share : shares) total += share;
  return [shares, total, prefix = study.study_name() + "_"](const FrozenTrial& trial) -> std::int64_t {
    std::int64_t n = crc32(prefix + std::to_string(trial.number)) % total;
    std::int64_t bracket = 0;
    while (n >= shares[static_cast<std::size_t>(bracket)]) n -= shares[static_cast<std::size_t>(bracket++)];
    return bracket;
  };
}

bool HyperbandPruner::prune(StudyView& study, const FrozenTrial& trial) {
  const Grouping bracket_of = grouping(study);
  if (!bracket_of) return false;
  const std::int64_t bracket = bracket_of(trial);
  const SuccessiveHalvingPruner halving = [&] {
    const std::lock_guard lock(state_->mutex);
    const SuccessiveHalvingPrunerOptions options{.min_resource = options_.min_resource,
                                                 .reduction_factor = options_.reduction_factor,
                                                 .min_early_stopping_rate = bracket,
                                                 .bootstrap_count = options_.bootstrap_count};
    return state_->brackets.try_emplace(bracket, options).first->second;  // a copy has the same state
  }();
  return halving.prune_among(study, trial, [&](const FrozenTrial& other) { return bracket_of(other) == bracket; });
}

}  // namespace levin::tune
