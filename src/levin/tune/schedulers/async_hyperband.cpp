#include <levin/tune/schedulers/async_hyperband.h>

#include <levin/core/rng.h>

#include <algorithm>
#include <cmath>

namespace levin::tune {
namespace {

template <class Options>
void check(const Options& options) {
  const auto fail = [](const char* what, double value) {
    throw Error({.what = what, .value = format_double(value), .where = {}, .hint = {}});
  };
  if (!(options.grace_period > 0)) fail("grace_period must be positive", options.grace_period);
  if (!(options.max_t >= options.grace_period) || !std::isfinite(options.max_t)) {
    fail("max_t must be finite and at least grace_period", options.max_t);
  }
  if (!(options.reduction_factor > 1)) fail("reduction_factor must be above 1", options.reduction_factor);
}

// How many rungs lie in [low, high], a factor apart.
std::int64_t count_rungs(double low, double high, double factor) {
  return static_cast<std::int64_t>(std::log(high / low) / std::log(factor) + 1e-9) + 1;
}

// The percentile of sorted numbers, interpolated as NumPy does.
double percentile(const std::vector<double>& sorted, double share) {
  const double at = share * static_cast<double>(sorted.size() - 1);
  const auto below = static_cast<std::size_t>(at);
  const double rest = at - static_cast<double>(below);
  if (below + 1 >= sorted.size()) return sorted.back();
  const double gap = sorted[below + 1] - sorted[below];
  return rest < 0.5 ? sorted[below] + gap * rest : sorted[below + 1] - gap * (1 - rest);
}

}  // namespace

AsyncHyperBandScheduler::AsyncHyperBandScheduler(AsyncHyperBandOptions options) : options_(std::move(options)) {
  check(options_);
  const auto rungs = count_rungs(options_.grace_period, options_.max_t, options_.reduction_factor);
  if (options_.brackets < 1 || options_.brackets > rungs) {
    throw Error({.what = "there are as many brackets as rungs at most",
                 .value = std::to_string(options_.brackets) + " brackets, " + std::to_string(rungs) + " rungs",
                 .where = {},
                 .hint = "take fewer brackets, or a max_t further above grace_period"});
  }
}

void AsyncHyperBandScheduler::begin(const SchedulerSetup& setup) {
  Scheduler::begin(setup);
  bracket_of_.clear();
  brackets_.clear();
  const auto rungs = count_rungs(options_.grace_period, options_.max_t, options_.reduction_factor);
  for (std::int64_t s = 0; s < options_.brackets; ++s) {
    Bracket bracket;
    for (std::int64_t k = rungs - s - 1; k >= 0; --k) {
      bracket.push_back(
          {.milestone = options_.grace_period * std::pow(options_.reduction_factor, static_cast<double>(k + s))});
    }
    brackets_.push_back(std::move(bracket));
  }
}

void AsyncHyperBandScheduler::on_trial_add(TunerControl&, Run& run) {
  // Drawn by the softmax of the numbers of rungs, which favours the brackets that start low.
  std::size_t chosen = 0;
  if (brackets_.size() > 1) {
    std::vector<double> weights;
    double sum = 0;
    for (const auto& bracket : brackets_) {
      weights.push_back(std::exp(static_cast<double>(bracket.size()) - static_cast<double>(brackets_[0].size())));
      sum += weights.back();
    }
    double at = Rng(setup().seed, "tune.asha", static_cast<std::uint64_t>(run.number)).uniform() * sum;
    while (chosen + 1 < weights.size() && at >= weights[chosen]) at -= weights[chosen++];
  }
  bracket_of_[run.number] = chosen;
}

bool AsyncHyperBandScheduler::passes(Bracket& bracket, std::int64_t number, double time, double score) const {
  for (auto& rung : bracket) {
    const bool there = rung.trials.contains(number);
    if (time >= rung.milestone && there && !options_.stop_last_trials) return true;
    if (time < rung.milestone || there) continue;
    rung.trials.insert(number);
    if (std::isnan(score)) return false;
    const bool good = rung.scores.empty() || score >= percentile(rung.scores, 1 - 1 / options_.reduction_factor);
    rung.scores.insert(std::upper_bound(rung.scores.begin(), rung.scores.end(), score), score);
    return good;
  }
  return true;
}

Decision AsyncHyperBandScheduler::on_trial_result(TunerControl&, Run& run, const Metrics& result) {
  const double time = number(result, options_.time_attr, "time_attr");
  if (time >= options_.max_t && options_.stop_last_trials) return Decision::complete;
  return passes(brackets_[bracket_of_.at(run.number)], run.number, time, score(result)) ? Decision::proceed
                                                                                        : Decision::stop;
}

void AsyncHyperBandScheduler::on_trial_complete(TunerControl&, Run& run, const Metrics& result) {
  const double time = number(result, options_.time_attr, "time_attr");
  passes(brackets_[bracket_of_.at(run.number)], run.number, time, score(result));
  bracket_of_.erase(run.number);
}

void AsyncHyperBandScheduler::on_trial_remove(TunerControl&, Run& run) { bracket_of_.erase(run.number); }

PromotionASHAScheduler::PromotionASHAScheduler(PromotionASHAOptions options) : options_(std::move(options)) {
  check(options_);
}

void PromotionASHAScheduler::begin(const SchedulerSetup& setup) {
  Scheduler::begin(setup);
  rungs_.clear();
  next_rung_.clear();
  const auto count = count_rungs(options_.grace_period, options_.max_t, options_.reduction_factor);
  for (std::int64_t k = 0; k < count; ++k) {
    rungs_.push_back({options_.grace_period * std::pow(options_.reduction_factor, static_cast<double>(k))});
  }
}

void PromotionASHAScheduler::on_trial_add(TunerControl&, Run& run) { next_rung_[run.number] = 0; }

void PromotionASHAScheduler::record(std::size_t rung, const Run& run, double score) {
  auto& members = rungs_[rung].members;
  if (std::isnan(score)) score = -std::numeric_limits<double>::infinity();
  const auto after = std::upper_bound(members.begin(), members.end(), score,
                                      [](double value, const Member& member) { return value > member.score; });
  members.insert(after, {score, &run});
}

Decision PromotionASHAScheduler::on_trial_result(TunerControl&, Run& run, const Metrics& result) {
  const double time = number(result, options_.time_attr, "time_attr");
  std::size_t& next = next_rung_.at(run.number);
  if (time >= options_.max_t) return Decision::complete;
  if (next >= rungs_.size() || time < rungs_[next].milestone) return Decision::proceed;
  // A step may lead past several rungs; the trial stands in the highest.
  while (next + 1 < rungs_.size() && time >= rungs_[next + 1].milestone) ++next;
  record(next, run, score(result));
  ++next;
  return Decision::pause;
}

void PromotionASHAScheduler::on_trial_complete(TunerControl& control, Run& run, const Metrics& result) {
  // What ended by itself still counts in the rung that it reached.
  const double time = number(result, options_.time_attr, "time_attr");
  const std::size_t next = next_rung_.at(run.number);
  if (next < rungs_.size() && time >= rungs_[next].milestone) record(next, run, score(result));
  on_trial_remove(control, run);
}

void PromotionASHAScheduler::on_trial_remove(TunerControl&, Run& run) {
  next_rung_.erase(run.number);
  for (auto& rung : rungs_) {
    for (auto& member : rung.members) {
      if (member.run == &run) member.run = nullptr;
    }
  }
}

const Run* PromotionASHAScheduler::choose(TunerControl&, bool) {
  for (std::size_t k = rungs_.size(); k-- > 0;) {
    auto& members = rungs_[k].members;
    const auto best = static_cast<std::size_t>(static_cast<double>(members.size()) / options_.reduction_factor + 1e-9);
    for (std::size_t i = 0; i < best; ++i) {
      if (members[i].run != nullptr) return std::exchange(members[i].run, nullptr);
    }
  }
  return nullptr;
}

}  // namespace levin::tune
