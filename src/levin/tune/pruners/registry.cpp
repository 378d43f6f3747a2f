#include <levin/tune/pruners/registry.h>

#include <levin/tune/pruners/hyperband.h>
#include <levin/tune/pruners/patient.h>
#include <levin/tune/pruners/percentile.h>
#include <levin/tune/pruners/successive_halving.h>
#include <levin/tune/pruners/threshold.h>
#include <levin/tune/pruners/wilcoxon.h>
#include <levin/tune/samplers/dehb.h>

#include <algorithm>
#include <functional>
#include <utility>

namespace levin::tune {
namespace {

struct Entry {
  PrunerInfo info;
  std::function<PrunerRef(const OptionReader&)> make;
};

// A number of steps or "auto".
template <class Resource>
void read_resource(const OptionReader& read, const std::string& name, Resource& field) {
  const Value* value = read.options().find(name);
  if (value == nullptr) return;
  if (value->is_string()) {
    field = Resource(value->as_string().c_str());
  } else {
    std::int64_t steps = 0;
    read(name, steps);
    field = Resource(steps);
  }
}

const std::vector<NamedOption> when{{"n_startup_trials", "complete trials before anything is pruned", "5"},
                                    {"n_warmup_steps", "prune nothing before this step", "0"},
                                    {"interval_steps", "judge once in so many steps", "1"},
                                    {"n_min_trials", "trials that must have reported at the step", "1"}};

std::vector<NamedOption> with(NamedOption first, const std::vector<NamedOption>& rest) {
  std::vector<NamedOption> out{std::move(first)};
  out.insert(out.end(), rest.begin(), rest.end());
  return out;
}

template <class Options>
Options read_when(const OptionReader& read) {
  Options o{};
  read("n_startup_trials", o.n_startup_trials);
  read("n_warmup_steps", o.n_warmup_steps);
  read("interval_steps", o.interval_steps);
  read("n_min_trials", o.n_min_trials);
  return o;
}

PrunerRef make_percentile(const OptionReader& read) {
  auto o = read_when<PercentilePrunerOptions>(read);
  read("percentile", o.percentile);
  return PercentilePruner(o);
}

PrunerRef make_halving(const OptionReader& read) {
  SuccessiveHalvingPrunerOptions o;
  read_resource(read, "min_resource", o.min_resource);
  read("reduction_factor", o.reduction_factor);
  read("min_early_stopping_rate", o.min_early_stopping_rate);
  read("bootstrap_count", o.bootstrap_count);
  return SuccessiveHalvingPruner(o);
}

PrunerRef make_hyperband(const OptionReader& read) {
  HyperbandPrunerOptions o;
  read("min_resource", o.min_resource);
  read_resource(read, "max_resource", o.max_resource);
  read("reduction_factor", o.reduction_factor);
  read("bootstrap_count", o.bootstrap_count);
  return HyperbandPruner(o);
}

PrunerRef make_patient(const OptionReader& read) {
  PatientPrunerOptions o;
  read("patience", o.patience);
  read("min_delta", o.min_delta);
  std::string held_back;
  read("pruner", held_back);
  Map rest = read.options();
  for (const char* own : {"patience", "min_delta", "pruner"}) rest.erase(own);
  if (held_back.empty() && rest.empty()) return PatientPruner(o);
  return PatientPruner(make_pruner(held_back.empty() ? "median" : held_back, rest), o);
}

PrunerRef make_threshold(const OptionReader& read) {
  ThresholdPrunerOptions o;
  read("lower", o.lower);
  read("upper", o.upper);
  read("n_warmup_steps", o.n_warmup_steps);
  read("interval_steps", o.interval_steps);
  return ThresholdPruner(o);
}

PrunerRef make_wilcoxon(const OptionReader& read) {
  WilcoxonPrunerOptions o;
  read("p_threshold", o.p_threshold);
  read("n_startup_steps", o.n_startup_steps);
  return WilcoxonPruner(o);
}

const std::vector<Entry>& entries() {
  static const std::vector<Entry> all{
      {{"none", "every trial runs to its end", {}}, [](const OptionReader&) -> PrunerRef { return NopPruner(); }},
      {{"median", "stops what is worse than the median of earlier trials at the same step", when},
       [](const OptionReader& read) -> PrunerRef { return MedianPruner(read_when<MedianPrunerOptions>(read)); }},
      {{"percentile", "stops what is not among the best percent of earlier trials at the same step",
        with({"percentile", "how many go on, in percent", "50"}, when)},
       make_percentile},
      {{"halving",
        "successive halving: of those that reach a rung one in reduction_factor goes on",
        {{"min_resource", "steps of the first rung, or auto", "auto"},
         {"reduction_factor", "how fast trials get fewer and rungs farther apart", "4"},
         {"min_early_stopping_rate", "rungs left out at the start", "0"},
         {"bootstrap_count", "trials that a rung must see before one may pass", "0"}}},
       make_halving},
      {{"hyperband",
        "several successive halvings at once, from the boldest to the most patient",
        {{"min_resource", "steps of the first rung", "1"},
         {"max_resource", "steps of a whole trial, or auto", "auto"},
         {"reduction_factor", "how fast trials get fewer and rungs farther apart", "3"},
         {"bootstrap_count", "trials that a rung must see before one may pass", "0"}}},
       make_hyperband},
      {{"patient",
        "lets another pruner stop a trial only once it has stopped improving",
        {{"patience", "reports without improvement that are forgiven", "0"},
         {"min_delta", "how much better is not yet an improvement", "0"},
         {"pruner", "the other pruner, whose options may follow", "none: stop at once"}}},
       make_patient},
      {{"threshold",
        "stops what leaves given bounds, or is NaN",
        {{"lower", "stop below", "none"},
         {"upper", "stop above", "none"},
         {"n_warmup_steps", "prune nothing before this step", "0"},
         {"interval_steps", "judge once in so many steps", "1"}}},
       make_threshold},
      {{"wilcoxon",
        "for means over instances, each its own step: stops what a signed-rank test finds worse than the best",
        {{"p_threshold", "stop below this probability", "0.1"},
         {"n_startup_steps", "instances before anything is stopped", "2"}}},
       make_wilcoxon},
      {{"budget", "ends trials at the budget that their sampler gave them; with sampler dehb", {}},
       [](const OptionReader&) -> PrunerRef { return BudgetPruner(); }},
  };
  return all;
}

}  // namespace

const std::vector<PrunerInfo>& pruner_infos() {
  static const std::vector<PrunerInfo> infos = [] {
    std::vector<PrunerInfo> out;
    for (const auto& entry : entries()) out.push_back(entry.info);
    return out;
  }();
  return infos;
}

PrunerRef make_pruner(const std::string& name, const Map& options) {
  std::vector<std::string> names;
  for (const auto& [info, make] : entries()) {
    names.push_back(info.name);
    if (info.name != name) continue;
    std::vector<std::string> known;
    for (const auto& option : info.options) known.push_back(option.name);
    // Beyond its own, `patient` takes the options of the pruner that it holds back; that one checks them.
    for (const auto& entry : options) {
      if (name == "patient" || std::find(known.begin(), known.end(), entry.first) != known.end()) continue;
      throw Error({.what = "pruner " + name + " has no such option",
                   .value = "\"" + entry.first + "\"",
                   .where = "pruner " + name,
                   .hint = did_you_mean(entry.first, known)});
    }
    return make(OptionReader("pruner", name, options));
  }
  throw Error({.what = "there is no pruner of this name",
               .value = "\"" + name + "\"",
               .where = "make_pruner",
               .hint = did_you_mean(name, names)});
}

}  // namespace levin::tune
