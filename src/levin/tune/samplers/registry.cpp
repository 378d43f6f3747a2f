#include <levin/tune/samplers/registry.h>

#include <levin/tune/samplers/auto.h>
#include <levin/tune/samplers/bohb.h>
#include <levin/tune/samplers/brute_force.h>
#include <levin/tune/samplers/cma_es_sampler.h>
#include <levin/tune/samplers/dehb.h>
#include <levin/tune/samplers/gp.h>
#include <levin/tune/samplers/grid.h>
#include <levin/tune/samplers/nsga.h>
#include <levin/tune/samplers/qmc.h>
#include <levin/tune/samplers/random.h>
#include <levin/tune/samplers/random_forest.h>
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

SamplerRef make_auto(const OptionReader& read) {
  AutoSamplerOptions o;
  read("n_trials", o.n_trials);
  read("seed", o.seed);
  return AutoSampler(o);
}

// What both genetic samplers take. A crossover is named; its own options are those of the C++ class.
template <class Options>
Options read_genetic(const OptionReader& read) {
  Options o;
  read("population_size", o.population_size);
  read("mutation_prob", o.mutation_prob);
  read("crossover_prob", o.crossover_prob);
  read("swapping_prob", o.swapping_prob);
  read("seed", o.seed);
  enum class Kind { uniform, blxalpha, spx, sbx, vsbx, undx };
  Kind kind = Kind::uniform;
  read_word<Kind>(read, "crossover", kind,
                  {{"uniform", Kind::uniform},
                   {"blxalpha", Kind::blxalpha},
                   {"spx", Kind::spx},
                   {"sbx", Kind::sbx},
                   {"vsbx", Kind::vsbx},
                   {"undx", Kind::undx}});
  if (kind == Kind::blxalpha) o.crossover = BLXAlphaCrossover();
  if (kind == Kind::spx) o.crossover = SPXCrossover();
  if (kind == Kind::sbx) o.crossover = SBXCrossover();
  if (kind == Kind::vsbx) o.crossover = VSBXCrossover();
  if (kind == Kind::undx) o.crossover = UNDXCrossover();
  enum class Change { redraw, polynomial };
  Change change = Change::redraw;
  read_word<Change>(read, "mutation", change, {{"redraw", Change::redraw}, {"polynomial", Change::polynomial}});
  if (change == Change::polynomial) o.mutation = PolynomialMutation();
  return o;
}

SamplerRef make_nsga2(const OptionReader& read) { return NSGAIISampler(read_genetic<NSGAIISamplerOptions>(read)); }

SamplerRef make_nsga3(const OptionReader& read) {
  auto o = read_genetic<NSGAIIISamplerOptions>(read);
  read("dividing_parameter", o.dividing_parameter);
  return NSGAIIISampler(std::move(o));
}

SamplerRef make_random_forest(const OptionReader& read) {
  RandomForestSamplerOptions o;
  read("n_startup_trials", o.n_startup_trials);
  read("n_trees", o.n_trees);
  read("max_features", o.max_features);
  read("n_challengers", o.n_challengers);
  read("n_local_searches", o.n_local_searches);
  read("random_fraction", o.random_fraction);
  read("log_values", o.log_values);
  read("seed", o.seed);
  return RandomForestSampler(o);
}

SamplerRef make_bohb(const OptionReader& read) {
  BOHBSamplerOptions o;
  read("min_points", o.min_points);
  read("top_fraction", o.top_fraction);
  read("n_candidates", o.n_candidates);
  read("random_fraction", o.random_fraction);
  read("bandwidth_factor", o.bandwidth_factor);
  read("min_bandwidth", o.min_bandwidth);
  read("seed", o.seed);
  return BOHBSampler(o);
}

SamplerRef make_dehb(const OptionReader& read) {
  DEHBSamplerOptions o;
  read("min_resource", o.min_resource);
  read("max_resource", o.max_resource);
  read("reduction_factor", o.reduction_factor);
  read("mutation_factor", o.mutation_factor);
  read("crossover_prob", o.crossover_prob);
  read("seed", o.seed);
  return DEHBSampler(o);
}

const std::vector<NamedOption> genetic_options{{"population_size", "trials in a generation", "50"},
                                               {"crossover", "uniform, blxalpha, spx, sbx, vsbx or undx", "uniform"},
                                               {"crossover_prob", "how many children have several parents", "0.9"},
                                               {"swapping_prob", "of uniform crossover", "0.5"},
                                               {"mutation", "redraw or polynomial", "redraw"},
                                               {"mutation_prob", "of each parameter", "one in their number"},
                                               seed};

std::vector<NamedOption> with(std::vector<NamedOption> options, NamedOption last) {
  options.push_back(std::move(last));
  return options;
}

const std::vector<Entry>& entries() {
  static const std::vector<Entry> all{
      {{"auto",
        "chooses among the others by the space, the budget and the objectives, and says which",
        {seed, {"n_trials", "trials that the study will have", "not known"}}},
       make_auto},
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
      {{"nsga2", "a genetic search: cheap trials, several objectives", genetic_options}, make_nsga2},
      {{"nsga3", "the same, spread along reference lines: many objectives",
        with(genetic_options, {"dividing_parameter", "parts of each objective's axis", "3"})},
       make_nsga3},
      {{"random_forest",
        "random forests in SMAC's manner: categorical and conditional spaces",
        {seed,
         {"n_startup_trials", "random trials at first", "10"},
         {"n_trees", "of the forest", "10"},
         {"max_features", "share of the parameters that a split chooses from", "1"},
         {"n_challengers", "random points looked at", "5000"},
         {"n_local_searches", "searches from the best points", "10"},
         {"random_fraction", "trials drawn at random", "0.2"},
         {"log_values", "fit the logarithm of the values", "true"}}},
       make_random_forest},
      {{"bohb",
        "kernel densities on the highest budget reached; with pruner hyperband",
        {seed,
         {"min_points", "trials that a budget needs", "parameters + 1"},
         {"top_fraction", "of the trials, that count as good", "0.15"},
         {"n_candidates", "draws of which the best is taken", "64"},
         {"random_fraction", "trials drawn at random", "1/3"},
         {"bandwidth_factor", "how much wider candidates are drawn", "3"},
         {"min_bandwidth", "of the range", "0.001"}}},
       make_bohb},
      {{"dehb",
        "differential evolution on budgets; with pruner budget",
        {seed,
         {"min_resource", "steps of the smallest budget", "1"},
         {"max_resource", "steps of a whole trial", "100"},
         {"reduction_factor", "between budgets", "3"},
         {"mutation_factor", "weight of a difference of parents", "0.5"},
         {"crossover_prob", "share taken from the mutant", "0.5"}}},
       make_dehb},
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
