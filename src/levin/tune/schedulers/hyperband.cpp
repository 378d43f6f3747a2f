#include <levin/tune/schedulers/hyperband.h>

#include <algorithm>
#include <cmath>
#include <limits>

namespace levin::tune {

struct HyperBandScheduler::Bracket {
  struct Member {
    const Run* run;
    double time = 0;
    double score = 0;
    bool may_go_on = false;  // paused, and past a halving
  };

  std::int64_t capacity;  // trials at this stage
  std::int64_t halvings;  // still to come
  double milestone;       // where trials pause
  std::vector<Member> members = {};
  bool closed = false;  // it was full once; halvings make no new room
  bool busy = false;    // being processed, while ends of its trials come back here
  bool all_there() const {
    return std::all_of(members.begin(), members.end(), [&](const Member& m) { return m.time >= milestone; });
  }
  Member& of(const Run& run) {
    return *std::find_if(members.begin(), members.end(), [&](const Member& m) { return m.run == &run; });
  }
  // Whether every trial that the stage waits for is at its milestone.
  bool ready(const TunerControl& control) const { return (closed || !control.more_to_come()) && all_there(); }
};

HyperBandScheduler::HyperBandScheduler(HyperBandOptions options) : HyperBandScheduler(std::move(options), false) {}

HyperBandScheduler::HyperBandScheduler(HyperBandOptions options, bool short_trials_first)
    : options_(std::move(options)), short_trials_first_(short_trials_first) {
  if (!(options_.max_t >= 1) || !std::isfinite(options_.max_t)) {
    throw Error({.what = "max_t must be at least 1", .value = format_double(options_.max_t), .where = {}, .hint = {}});
  }
  if (!(options_.reduction_factor > 1)) {
    throw Error({.what = "reduction_factor must be above 1",
                 .value = format_double(options_.reduction_factor),
                 .where = {},
                 .hint = {}});
  }
  n_brackets_ =
      static_cast<std::int64_t>(std::nearbyint(std::log(options_.max_t) / std::log(options_.reduction_factor))) + 1;
}

HyperBandScheduler::~HyperBandScheduler() = default;

void HyperBandScheduler::begin(const SchedulerSetup& setup) {
  Scheduler::begin(setup);
  brackets_.clear();
  bracket_of_.clear();
  opened_ = 0;
}

std::shared_ptr<HyperBandScheduler::Bracket> HyperBandScheduler::open_bracket() {
  const double eta = options_.reduction_factor;
  while (true) {
    const std::int64_t place = opened_++ % n_brackets_;
    const auto s = static_cast<double>(short_trials_first_ ? n_brackets_ - 1 - place : place);
    const double milestone = std::floor(options_.max_t * std::pow(eta, -s) + 1e-9);
    if (milestone < 1) continue;  // too short to be a trial
    const double capacity = std::ceil(static_cast<double>(n_brackets_) / (s + 1) * std::pow(eta, s) - 1e-9);
    return std::make_shared<Bracket>(Bracket{.capacity = static_cast<std::int64_t>(capacity),
                                             .halvings = static_cast<std::int64_t>(s),
                                             .milestone = milestone});
  }
}

void HyperBandScheduler::on_trial_add(TunerControl&, Run& run) {
  if (brackets_.empty() || brackets_.back()->closed) {
    std::erase_if(brackets_, [](const auto& bracket) { return bracket->members.empty(); });
    brackets_.push_back(open_bracket());
  }
  const auto& bracket = brackets_.back();
  bracket->members.push_back({.run = &run});
  bracket->closed = std::cmp_greater_equal(bracket->members.size(), bracket->capacity);
  bracket_of_[run.number] = bracket;
}

Decision HyperBandScheduler::on_trial_result(TunerControl& control, Run& run, const Metrics& result) {
  const std::shared_ptr<Bracket> bracket = bracket_of_.at(run.number);
  Bracket::Member& member = bracket->of(run);
  member.time = number(result, options_.time_attr, "time_attr");
  member.score = score(result);
  if (std::isnan(member.score)) member.score = -std::numeric_limits<double>::infinity();
  member.may_go_on = false;
  if (member.time < bracket->milestone || (bracket->halvings == 0 && !options_.stop_last_trials)) {
    return Decision::proceed;
  }
  return bracket->ready(control) ? process(control, *bracket, &run) : Decision::pause;
}

// Halves a bracket whose trials are all at the milestone; what becomes of `current`, whose result is being judged.
Decision HyperBandScheduler::process(TunerControl& control, Bracket& bracket, const Run* current) {
  bracket.busy = true;
  std::vector<std::pair<const Run*, Decision>> ended;
  while (!bracket.members.empty() && bracket.all_there()) {
    if (bracket.halvings == 0) {
      if (!options_.stop_last_trials) break;
      for (const auto& member : bracket.members) ended.emplace_back(member.run, Decision::complete);
      bracket.members.clear();
      break;
    }
    --bracket.halvings;
    bracket.closed = true;
    bracket.capacity =
        static_cast<std::int64_t>(std::ceil(static_cast<double>(bracket.capacity) / options_.reduction_factor - 1e-9));
    bracket.milestone = std::floor(std::min(bracket.milestone * options_.reduction_factor, options_.max_t) + 1e-9);
    const auto bad = std::max<std::int64_t>(std::ssize(bracket.members) - bracket.capacity, 0);
    std::stable_sort(bracket.members.begin(), bracket.members.end(),
                     [](const auto& a, const auto& b) { return a.score < b.score; });
    for (std::int64_t i = 0; i < bad; ++i) {
      ended.emplace_back(bracket.members[static_cast<std::size_t>(i)].run, Decision::stop);
    }
    bracket.members.erase(bracket.members.begin(), bracket.members.begin() + bad);
  }
  Decision own = Decision::pause;
  for (auto& member : bracket.members) {
    if (member.time >= bracket.milestone && (bracket.halvings > 0 || options_.stop_last_trials)) continue;
    if (member.run == current)
      own = Decision::proceed;
    else
      member.may_go_on = true;
  }
  for (const auto& [run, decision] : ended) {
    if (run == current)
      own = decision;
    else
      control.end(*run, decision);
  }
  bracket.busy = false;
  return own;
}

void HyperBandScheduler::on_trial_complete(TunerControl& control, Run& run, const Metrics&) {
  on_trial_remove(control, run);
}

void HyperBandScheduler::on_trial_remove(TunerControl& control, Run& run) {
  const auto found = bracket_of_.find(run.number);
  if (found == bracket_of_.end()) return;
  const std::shared_ptr<Bracket> bracket = found->second;
  bracket_of_.erase(found);
  std::erase_if(bracket->members, [&](const auto& member) { return member.run == &run; });
  if (!bracket->busy && !bracket->members.empty() && bracket->ready(control)) process(control, *bracket, nullptr);
}

const Run* HyperBandScheduler::choose(TunerControl& control, bool can_create) {
  for (const bool waited : {false, true}) {
    for (const auto& bracket : std::vector(brackets_)) {
      if (waited && !bracket->members.empty() && bracket->ready(control)) process(control, *bracket, nullptr);
      for (const auto& member : bracket->members) {
        if (member.may_go_on && member.run->status == RunStatus::paused) return member.run;
      }
    }
    if (can_create) break;  // else nothing new comes, and brackets that were never filled can be worked
  }
  return nullptr;
}

}  // namespace levin::tune
