#include <levin/tune/schedulers/pbt.h>

#include <levin/core/atomic_file.h>
#include <levin/core/file.h>
#include <levin/core/json.h>
#include <levin/tune/samplers/random.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <limits>
#include <sstream>

namespace levin::tune {
namespace {

// The value that "group/name" stands for, or null.
const Value* locate(const Config& config, std::string_view name) {
  const Map* at = &config;
  for (std::size_t slash = name.find('/'); slash != std::string_view::npos; slash = name.find('/')) {
    const Value* inner = at->find(name.substr(0, slash));
    if (inner == nullptr || !inner->is_map()) return nullptr;
    at = &inner->as_map();
    name.remove_prefix(slash + 1);
  }
  return at->find(name);
}

Value& place(Config& config, std::string_view name) {
  Map* at = &config;
  for (std::size_t slash = name.find('/'); slash != std::string_view::npos; slash = name.find('/')) {
    Value& inner = (*at)[name.substr(0, slash)];
    if (!inner.is_map()) inner = Map();
    at = &inner.as_map();
    name.remove_prefix(slash + 1);
  }
  return (*at)[name];
}

Value draw_anew(const HyperparamMutation& mutation, Rng& rng) {
  if (const auto* list = std::get_if<List>(&mutation)) return (*list)[rng.below(list->size())];
  if (const auto* function = std::get_if<std::function<Value()>>(&mutation)) return (*function)();
  const auto& distribution = std::get<Distribution>(mutation);
  return distribution.to_external(distribution.rounded(distribution.to_internal(draw(distribution, rng))));
}

// The nearest value of the distribution.
double fit(const Distribution& distribution, double value) {
  value = std::clamp(value, distribution.low(), distribution.high());
  if (const double step = distribution.step(); step > 0) {
    value = distribution.low() + std::nearbyint((value - distribution.low()) / step) * step;
  }
  return distribution.rounded(std::clamp(value, distribution.low(), distribution.high()));
}

std::size_t neighbour(std::size_t at, std::size_t size, Rng& rng) {
  if (rng.below(2) == 0) return at == 0 ? 0 : at - 1;
  return std::min(at + 1, size - 1);
}

Value mutate(const Value& value, const HyperparamMutation& mutation, double resample_probability,
             const std::array<double, 2>& factors, Rng& rng) {
  const bool anew = rng.uniform() < resample_probability;
  if (const auto* list = std::get_if<List>(&mutation)) {
    const auto at = std::find(list->begin(), list->end(), value);
    if (anew || at == list->end()) return draw_anew(mutation, rng);
    return (*list)[neighbour(static_cast<std::size_t>(at - list->begin()), list->size(), rng)];
  }
  const auto* distribution = std::get_if<Distribution>(&mutation);
  if (anew || (distribution != nullptr && distribution->is_categorical())) return draw_anew(mutation, rng);
  if (distribution != nullptr && distribution->is_ordinal()) {
    const auto at = static_cast<std::size_t>(distribution->to_internal(value));
    return distribution->choices()[neighbour(at, distribution->choices().size(), rng)];
  }
  if (!value.is_number()) return draw_anew(mutation, rng);
  double changed = value.as_double() * factors[rng.below(2)];
  if (value.is_int()) changed = std::nearbyint(changed);
  if (distribution != nullptr) return distribution->to_external(fit(*distribution, changed));
  return value.is_int() ? Value(static_cast<std::int64_t>(changed)) : Value(changed);
}

std::string tag(std::int64_t trial) { return "trial_" + std::to_string(trial); }

std::string policy_line(const Exploit& e) {
  return to_json(List{tag(e.trial), tag(e.source), e.step, e.source_step, e.source_config, e.config}) + "\n";
}

}  // namespace

PopulationBasedTraining::PopulationBasedTraining(PopulationBasedTrainingOptions options)
    : options_(std::move(options)) {
  const auto fail = [](const std::string& what, double value) {
    throw Error({.what = what, .value = format_double(value), .where = {}, .hint = {}});
  };
  if (options_.mutations.empty() && !options_.custom_explore_fn) {
    throw Error({.what = "population-based training needs hyperparameters to mutate",
                 .value = {},
                 .where = {},
                 .hint = "set mutations or custom_explore_fn"});
  }
  for (const auto& [name, mutation] : options_.mutations) {
    const auto* list = std::get_if<List>(&mutation);
    const auto* function = std::get_if<std::function<Value()>>(&mutation);
    if ((list != nullptr && list->empty()) || (function != nullptr && !*function)) {
      throw Error({.what = "a mutation needs values to choose from", .value = name, .where = "mutations", .hint = {}});
    }
  }
  if (!(options_.perturbation_interval > 0)) {
    fail("perturbation_interval must be positive", options_.perturbation_interval);
  }
  if (!(options_.burn_in_period >= 0)) fail("burn_in_period must not be negative", options_.burn_in_period);
  if (!(options_.quantile_fraction >= 0 && options_.quantile_fraction <= 0.5)) {
    fail("quantile_fraction lies between 0 and 0.5", options_.quantile_fraction);
  }
  if (!(options_.resample_probability >= 0 && options_.resample_probability <= 1)) {
    fail("resample_probability lies between 0 and 1", options_.resample_probability);
  }
  for (const double factor : options_.perturbation_factors) {
    if (!(factor > 0 && std::isfinite(factor))) fail("perturbation_factors must be positive", factor);
  }
}

void PopulationBasedTraining::begin(const SchedulerSetup& setup) {
  Scheduler::begin(setup);
  rng_ = Rng(setup.seed, "tune.pbt");
  members_.clear();
  exploits_.clear();
  lineages_.clear();
  next_sync_ = std::max(options_.perturbation_interval, options_.burn_in_period);
  if (!options_.log_folder.empty()) {
    std::filesystem::create_directories(options_.log_folder);
    write_file_atomically(options_.log_folder / "pbt_global.txt", "");
  }
}

PopulationBasedTraining::Member& PopulationBasedTraining::of(const Run& run) {
  const auto at = std::find_if(members_.begin(), members_.end(), [&](const auto& m) { return m->run == &run; });
  return **at;
}

void PopulationBasedTraining::on_trial_add(TunerControl&, Run& run) {
  members_.push_back(std::make_unique<Member>(Member{.run = &run}));
  for (const auto& [name, mutation] : options_.mutations) {
    if (locate(run.config, name) == nullptr) place(run.config, name) = draw_anew(mutation, rng_);
  }
}

const Value* PopulationBasedTraining::find_in(const Config& config, const std::string& name) {
  return locate(config, name);
}
void PopulationBasedTraining::set_in(Config& config, const std::string& name, Value value) {
  place(config, name) = std::move(value);
}

void PopulationBasedTraining::on_score(const Run&, double, double) {}

Decision PopulationBasedTraining::on_trial_result(TunerControl& control, Run& run, const Metrics& result) {
  const double time = number(result, options_.time_attr, "time_attr");
  const double own_score = score(result);
  Member& member = of(run);
  if (time < options_.burn_in_period) return Decision::proceed;
  if (time - member.last_perturbation < options_.perturbation_interval) return Decision::proceed;
  member.score = own_score;
  member.last_time = time;
  on_score(run, time, own_score);
  const auto live = control.live();
  if (options_.synch) {
    const bool waiting = control.more_to_come() || std::any_of(live.begin(), live.end(), [&](const Run* other) {
                           return other != &run && of(*other).last_time < next_sync_;
                         });
    if (!waiting) perturb_all(control, time);
    return Decision::pause;
  }
  member.last_perturbation = time;
  const bool others_wait = control.more_to_come() || std::any_of(live.begin(), live.end(), [](const Run* other) {
                             return other->status == RunStatus::pending || other->status == RunStatus::paused;
                           });
  const auto [lower, upper] = quantiles();
  save_or_exploit(control, member, lower, upper);
  return others_wait ? Decision::pause : Decision::proceed;
}

// The worst and the best members that have a score, as many of each as the fraction says.
std::pair<PopulationBasedTraining::Quantile, PopulationBasedTraining::Quantile> PopulationBasedTraining::quantiles() {
  Quantile scored;
  for (const auto& member : members_) {
    if (member->score && !std::isnan(*member->score)) scored.push_back(member.get());
  }
  if (scored.size() <= 1) return {};
  std::stable_sort(scored.begin(), scored.end(), [](const auto* a, const auto* b) { return *a->score < *b->score; });
  const auto share =
      static_cast<std::size_t>(std::ceil(static_cast<double>(scored.size()) * options_.quantile_fraction));
  const auto n = static_cast<std::ptrdiff_t>(std::min(share, scored.size() / 2));
  return {Quantile(scored.begin(), scored.begin() + n), Quantile(scored.end() - n, scored.end())};
}

void PopulationBasedTraining::save_or_exploit(TunerControl& control, Member& member, const Quantile& lower,
                                              const Quantile& upper) {
  const auto in = [&](const Quantile& quantile) {
    return std::find(quantile.begin(), quantile.end(), &member) != quantile.end();
  };
  member.snapshot = in(upper) ? control.save(*member.run) : nullptr;
  if (!in(lower)) return;
  const Member& source = *upper[rng_.below(upper.size())];
  if (source.snapshot == nullptr) return;  // it came into the quantile since it was last looked at
  Exploit exploit{.trial = member.run->number,
                  .source = source.run->number,
                  .step = member.run->iteration,
                  .source_step = source.snapshot->iteration,
                  .source_config = source.run->config,
                  .config = explore(*member.run, *source.run)};
  if (options_.custom_explore_fn) exploit.config = options_.custom_explore_fn(std::move(exploit.config));
  control.restart(*member.run, source.snapshot, exploit.config);
  member.last_perturbation = source.last_perturbation;
  member.last_time = source.last_time;
  log(exploit);
}

void PopulationBasedTraining::perturb_all(TunerControl& control, double time) {
  const auto [lower, upper] = quantiles();
  const auto in = [](const Quantile& quantile, const Member* member) {
    return std::find(quantile.begin(), quantile.end(), member) != quantile.end();
  };
  Quantile order = upper;  // whose states are saved before others take them
  for (const auto& member : members_) {
    if (!in(upper, member.get()) && !in(lower, member.get())) order.push_back(member.get());
  }
  order.insert(order.end(), lower.begin(), lower.end());
  double latest = 0;
  for (Member* member : order) {
    member->last_perturbation = time;
    save_or_exploit(control, *member, lower, upper);
    latest = std::max(latest, member->last_time);
  }
  next_sync_ = std::max(next_sync_ + options_.perturbation_interval, latest);
}

Config PopulationBasedTraining::explore(const Run&, const Run& source) {
  Config config = source.config;
  for (const auto& [name, mutation] : options_.mutations) {
    Value& value = place(config, name);
    value = mutate(value, mutation, options_.resample_probability, options_.perturbation_factors, rng_);
  }
  return config;
}

void PopulationBasedTraining::log(const Exploit& exploit) {
  // A copy has its source's history, and then its own exploit.
  auto& lineage = lineages_[exploit.trial] = lineages_[exploit.source];
  lineage.push_back(exploits_.size());
  exploits_.push_back(exploit);
  if (options_.log_folder.empty()) return;
  std::ofstream all(options_.log_folder / "pbt_global.txt", std::ios::app);
  if (!(all << policy_line(exploit) << std::flush)) {
    throw Error({.what = "an exploit could not be written",
                 .value = {},
                 .where = (options_.log_folder / "pbt_global.txt").string(),
                 .hint = "is the disk full?"});
  }
  std::string lines;
  for (const auto i : lineage) lines += policy_line(exploits_[i]);
  write_file_atomically(options_.log_folder / ("pbt_policy_" + std::to_string(exploit.trial) + ".txt"), lines);
}

std::vector<Exploit> PopulationBasedTraining::lineage(std::int64_t trial) const {
  std::vector<Exploit> out;
  if (const auto found = lineages_.find(trial); found != lineages_.end()) {
    for (const auto i : found->second) out.push_back(exploits_[i]);
  }
  return out;
}

void PopulationBasedTraining::on_trial_complete(TunerControl& control, Run& run, const Metrics&) {
  on_trial_remove(control, run);
}

void PopulationBasedTraining::on_trial_remove(TunerControl&, Run& run) {
  std::erase_if(members_, [&](const auto& member) { return member->run == &run; });
}

const Run* PopulationBasedTraining::choose(TunerControl& control, bool can_create) {
  if (can_create) return nullptr;  // the whole population starts before anyone goes on
  for (const bool waited : {false, true}) {
    Member* chosen = nullptr;
    bool working = false;
    for (const auto& member : members_) {
      working |= member->run->status == RunStatus::running || member->run->status == RunStatus::pending;
      if (member->run->status != RunStatus::paused || (options_.synch && member->last_time >= next_sync_)) continue;
      // Who is furthest behind; of those that are level, who has waited longest, so that copies do not starve sources.
      const auto rank = [](const Member& m) { return std::pair(m.last_time, m.turn); };
      if (chosen == nullptr || rank(*member) < rank(*chosen)) chosen = member.get();
    }
    if (chosen != nullptr) {
      chosen->turn = ++turns_;
      return chosen->run;
    }
    // The one that all were waiting for has ended: they are on their way without it.
    if (waited || working || !options_.synch || members_.empty()) break;
    double time = 0;
    for (const auto& member : members_) time = std::max(time, member->last_time);
    perturb_all(control, time);
  }
  return nullptr;
}

PopulationBasedTrainingReplay::PopulationBasedTrainingReplay(const std::vector<Exploit>& lineage) {
  if (lineage.empty()) throw Error("there is no schedule to replay: the trial went its way without an exploit");
  start_ = lineage.front().source_config;
  for (const auto& exploit : lineage) {
    changes_.push_back({static_cast<double>(exploit.source_step), exploit.config});
  }
}

PopulationBasedTrainingReplay::PopulationBasedTrainingReplay(const std::filesystem::path& policy_file) {
  std::istringstream lines(read_file(policy_file));
  std::vector<List> rows;
  std::int64_t row = 0;
  for (std::string line; std::getline(lines, line);) {
    ++row;
    if (line.empty()) continue;
    const auto fail = [&](const std::string& why) {
      throw Error({.what = "this is no line of a schedule of population-based training",
                   .value = why,
                   .where = policy_file.string() + ", line " + std::to_string(row),
                   .hint = {}});
    };
    try {
      rows.push_back(parse_json(line).as_list());
    } catch (const Error& error) {
      fail(error.what());
    }
    const List& r = rows.back();
    if (r.size() != 6 || !r[2].is_number() || !r[3].is_number() || !r[4].is_map() || !r[5].is_map()) fail(line);
  }
  if (rows.empty()) {
    throw Error({.what = "there is no schedule to replay", .value = {}, .where = policy_file.string(), .hint = {}});
  }
  // From the end back: each exploit's source is the trial whose exploit stands before it. Rows before the first such
  // break are leftovers of a life that was overwritten.
  const Value* source = nullptr;
  for (auto it = rows.rbegin(); it != rows.rend(); ++it) {
    const List& r = *it;
    if (source != nullptr && !(r[0] == *source)) break;
    source = &r[1];
    start_ = r[4].as_map();
    changes_.insert(changes_.begin(), {r[3].as_double(), r[5].as_map()});
  }
}

void PopulationBasedTrainingReplay::begin(const SchedulerSetup& setup) {
  Scheduler::begin(setup);
  next_ = 0;
  added_ = false;
}

void PopulationBasedTrainingReplay::on_trial_add(TunerControl&, Run& run) {
  if (added_) {
    throw Error({.what = "a replay trains one trial",
                 .value = {},
                 .where = {},
                 .hint = "set num_samples = 1 and search no grid"});
  }
  added_ = true;
  run.config = start_;
}

Decision PopulationBasedTrainingReplay::on_trial_result(TunerControl& control, Run& run, const Metrics& result) {
  if (next_ < changes_.size() && number(result, "training_iteration", "the time") >= changes_[next_].step) {
    control.restart(run, control.save(run), changes_[next_].config);
    ++next_;
  }
  return Decision::proceed;
}

}  // namespace levin::tune
