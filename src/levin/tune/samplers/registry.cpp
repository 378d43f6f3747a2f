#include <levin/tune/samplers/registry.h>

#include <levin/tune/samplers/brute_force.h>
#include <levin/tune/samplers/cma_es_sampler.h>
#include <levin/tune/samplers/gp.h>
#include <levin/tune/samplers/grid.h>
#include <levin/tune/samplers/qmc.h>
#include <levin/tune/samplers/random.h>
#include <levin/tune/samplers/tpe.h>

#include <algorithm>
#include <functional>
#include <utility>

namespace levin::tune {
namespace {

// An option that is one of several words.
template <class T>
void read_word(const OptionReader& read, const std::string& name, T& field,
               const std::vector<std::pair<std::string, T>>& words) {
  const Value* value = read.options().find(name);
  if (value == nullptr) return;
  std::string known;
  for (const auto& [word, meaning] : words) {
    known += (known.empty() ? "one of " : ", ") + word;
    if (!value->is_string() || value->as_string() != word) continue;
    field = meaning;
    return;
  }
  throw Error({.what = "this is none of the words of the option",
               .value = value->to_string(),
               .where = read.where(name),
               .hint = known});
}

struct Entry {
  SamplerInfo info;
  std::function<SamplerRef(const OptionReader&)> make;
};

const NamedOption seed{"seed", "the same seed draws the same values", "drawn by the system"};

SamplerRef make_tpe(const OptionReader& read) {
  TPESamplerOptions o;
  read("n_startup_trials", o.n_startup_trials);
  read("n_ei_candidates", o.n_ei_candidates);
  read("seed", o.seed);
  read("multivariate", o.multivariate);
  read("group", o.group);
  read("constant_liar", o.constant_liar);
  return TPESampler(o);
}

SamplerRef make_gp(const OptionReader& read) {
  GPSamplerOptions o;
  read("seed", o.seed);
  read("n_startup_trials", o.n_startup_trials);
  read("deterministic_objective", o.deterministic_objective);
  return GPSampler(std::move(o));
}

SamplerRef make_cma(const OptionReader& read) {
  CmaEsSamplerOptions o;
  read("x0", o.x0);
  read("sigma0", o.sigma0);
  read("n_startup_trials", o.n_startup_trials);
  read("seed", o.seed);
  read("consider_pruned_trials", o.consider_pruned_trials);
  read_word<CmaRestart>(read, "restart_strategy", o.restart_strategy,
                        {{"none", CmaRestart::none}, {"ipop", CmaRestart::ipop}, {"bipop", CmaRestart::bipop}});
  read("popsize", o.popsize);
  read("inc_popsize", o.inc_popsize);
  read("use_separable_cma", o.use_separable_cma);
  read("with_margin", o.with_margin);
  read("lr_adapt", o.lr_adapt);
  return CmaEsSampler(std::move(o));
}

SamplerRef make_qmc(const OptionReader& read) {
  QMCSamplerOptions o;
  read_word<QMCType>(read, "qmc_type", o.qmc_type, {{"sobol", QMCType::sobol}, {"halton", QMCType::halton}});
  read("scramble", o.scramble);
  read("seed", o.seed);
  return QMCSampler(std::move(o));
}

SamplerRef make_random(const OptionReader& read) {
  RandomSamplerOptions o;
  read("seed", o.seed);
  return RandomSampler(o);
}

SamplerRef make_brute_force(const OptionReader& read) {
  BruteForceSamplerOptions o;
  read("seed", o.seed);
  read("avoid_premature_stop", o.avoid_premature_stop);
  return BruteForceSampler(o);
}

SamplerRef make_grid(const OptionReader& read) {
  Map values;
  GridSamplerOptions o;
  read("values", values);
  read("seed", o.seed);
  Grid grid;
  for (const auto& [name, list] : values) {
    if (!list.is_list()) {
      throw Error({.what = "the values of a grid's parameter are a list",
                   .value = list.to_string(),
                   .where = read.where("values." + name),
                   .hint = {}});
    }
    grid[name] = list.as_list();
  }
  return GridSampler(std::move(grid), o);
}

const std::vector<Entry>& entries() {
  static const std::vector<Entry> all{
      {{"tpe",
        "tree-structured Parzen estimator: learns from good and bad trials; fast, for any space",
        {seed,
         {"n_startup_trials", "random trials at first", "10"},
         {"n_ei_candidates", "draws of which the best is taken", "24"},
         {"multivariate", "choose parameters jointly", "true for one objective"},
         {"group", "choose jointly within each set of parameters that occur together", "false"},
         {"constant_liar", "keep away from what other workers try", "true"}}},
       make_tpe},
      {{"gp",
        "Gaussian processes: the fewest trials, for expensive objectives with up to some 20 parameters",
        {seed,
         {"n_startup_trials", "random trials at first", "10"},
         {"deterministic_objective", "fit no noise", "false"}}},
       make_gp},
      {{"cma",
        "covariance matrix adaptation: floats and ints, many cheap trials, one objective",
        {seed,
         {"x0", "where to start, by parameter", "the middle"},
         {"sigma0", "first standard deviation as a share of the ranges", "1/6"},
         {"n_startup_trials", "random trials at first", "1"},
         {"popsize", "points a generation", "4 + floor(3 ln d)"},
         {"restart_strategy", "when converged: none, ipop or bipop", "none"},
         {"inc_popsize", "factor of the population at a restart", "2"},
         {"use_separable_cma", "a diagonal covariance, for many parameters", "false"},
         {"with_margin", "keep neighbouring ints in reach", "false"},
         {"lr_adapt", "learn slower under noise", "false"},
         {"consider_pruned_trials", "use the last report of pruned trials", "false"}}},
       make_cma},
      {{"qmc",
        "a low-discrepancy sequence: fills the space evenly",
        {seed, {"qmc_type", "sobol or halton", "sobol"}, {"scramble", "randomise the sequence", "false"}}},
       make_qmc},
      {{"random", "every parameter on its own", {seed}}, make_random},
      {{"brute_force",
        "every combination of a finite space once",
        {seed, {"avoid_premature_stop", "go on until nothing is running any more", "false"}}},
       make_brute_force},
      {{"grid",
        "every combination of given values once",
        {{"values", "by parameter, the list of its values", ""}, {"seed", "of the order", "0"}}},
       make_grid},
  };
  return all;
}

}  // namespace

const std::vector<SamplerInfo>& sampler_infos() {
  static const std::vector<SamplerInfo> infos = [] {
    std::vector<SamplerInfo> out;
    for (const auto& entry : entries()) out.push_back(entry.info);
    return out;
  }();
  return infos;
}

SamplerRef make_sampler(const std::string& name, const Map& options) {
  std::vector<std::string> names;
  for (const auto& [info, make] : entries()) {
    names.push_back(info.name);
    if (info.name != name) continue;
    std::vector<std::string> known;
    for (const auto& option : info.options) known.push_back(option.name);
    for (const auto& [key, value] : options) {
      if (std::find(known.begin(), known.end(), key) != known.end()) continue;
      throw Error({.what = "sampler " + name + " has no such option",
                   .value = "\"" + key + "\"",
                   .where = "sampler " + name,
                   .hint = did_you_mean(key, known)});
    }
    return make(OptionReader("sampler", name, options));
  }
  throw Error({.what = "there is no sampler of this name",
               .value = "\"" + name + "\"",
               .where = "make_sampler",
               .hint = did_you_mean(name, names)});
}

}  // namespace levin::tune
