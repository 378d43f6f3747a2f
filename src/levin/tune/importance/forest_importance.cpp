#include <levin/tune/importance/importance.h>
#include <levin/tune/regression_forest.h>
#include <levin/tune/samplers/sampler.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <numeric>

namespace levin::tune {
namespace {

// A parameter's columns: one for a number, one per choice for a categorical parameter.
struct Columns {
  std::string name;
  std::size_t first = 0, count = 1;
};

struct Encoded {
  std::vector<Columns> params;      // those with more than one value
  std::vector<std::string> single;  // the others
  std::vector<double> low, high;    // of the columns
  RowMatrix x;
  std::vector<double> y;
};

void check(const ForestImportanceOptions& options, const char* where) {
  for (const auto& [what, value] :
       {std::pair("n_trees must be positive", options.n_trees), {"max_depth must be positive", options.max_depth}}) {
    if (value < 1) throw Error({.what = what, .value = std::to_string(value), .where = where, .hint = {}});
  }
}

Encoded encode(const ImportanceProblem& problem, const char* where) {
  if (!problem.target && problem.directions.size() > 1) {
    throw Error({.what = "with several objectives this needs a target",
                 .value = std::to_string(problem.directions.size()) + " objectives",
                 .where = where,
                 .hint = "for instance .target = [](const FrozenTrial& t) { return t.values[0]; }"});
  }
  const auto wanted = [&](const std::string& name) {
    return problem.params.empty() ||
           std::find(problem.params.begin(), problem.params.end(), name) != problem.params.end();
  };
  const auto has_all = [&](const FrozenTrial& trial) {
    return std::all_of(problem.params.begin(), problem.params.end(),
                       [&](const auto& name) { return trial.distributions.contains(name); });
  };
  // What all trials (that have the parameters asked for) have with equal distributions.
  std::optional<std::map<std::string, Distribution>> space;
  for (const auto& trial : problem.trials) {
    if (!has_all(trial)) continue;
    if (!space) {
      space.emplace();
      for (const auto& [name, distribution] : trial.distributions) {
        if (wanted(name)) space->emplace(name, distribution);
      }
      continue;
    }
    for (auto it = space->begin(); it != space->end();) {
      const Distribution* other = trial.distributions.find(it->first);
      if (other != nullptr && *other == it->second) {
        ++it;
      } else if (problem.params.empty()) {
        it = space->erase(it);
      } else {
        throw Error({.what = "the parameter's range changes from trial to trial",
                     .value = "\"" + it->first + "\"",
                     .where = where,
                     .hint = "PedAnovaImportanceEvaluator knows how to deal with that"});
      }
    }
  }
  Encoded out;
  if (!space) return out;
  for (const auto& [name, d] : *space) {
    if (d.single()) {
      out.single.push_back(name);
      continue;
    }
    const std::size_t count = d.is_categorical() ? d.size() : 1;
    out.params.push_back({name, out.low.size(), count});
    for (std::size_t i = 0; i < count; ++i) {
      out.low.push_back(d.is_categorical() ? 0 : d.low());
      out.high.push_back(d.is_categorical() ? 1 : d.high());
    }
  }
  out.x.n_columns = out.low.size();
  for (const auto& trial : problem.trials) {
    const double target = problem.target ? problem.target(trial) : trial.values.front();
    if (!std::isfinite(target) || !has_all(trial)) continue;
    std::vector<double> row(out.x.n_columns, 0.0);
    for (const auto& columns : out.params) {
      const double internal = space->at(columns.name).to_internal(trial.params.at(columns.name));
      if (columns.count == 1 && !space->at(columns.name).is_categorical()) {
        row[columns.first] = internal;
      } else {
        row[columns.first + static_cast<std::size_t>(internal)] = 1;
      }
    }
    out.x.push_row(row);
    out.y.push_back(target);
  }
  return out;
}

RegressionForest grow(const Encoded& data, const ForestImportanceOptions& options) {
  Rng rng(seed_or_random(options.seed), "tune.importance");
  return RegressionForest(
      data.x, data.y,
      {.n_trees = static_cast<std::size_t>(options.n_trees), .max_depth = static_cast<std::size_t>(options.max_depth)},
      rng);
}

// A leaf of a tree: its box, its share of the space, its value.
struct Leaf {
  std::vector<double> low, high;
  double share = 1, value = 0;
};

std::vector<Leaf> leaves_of(const RegressionTree& tree, const Encoded& data) {
  std::vector<Leaf> out;
  const auto descend = [&](auto&& self, std::int32_t index, Leaf box) -> void {
    const auto& node = tree.nodes[static_cast<std::size_t>(index)];
    if (node.feature < 0) {
      for (std::size_t j = 0; j < box.low.size(); ++j) {
        box.share *= (box.high[j] - box.low[j]) / (data.high[j] - data.low[j]);
      }
      box.value = node.value;
      out.push_back(std::move(box));
      return;
    }
    const auto feature = static_cast<std::size_t>(node.feature);
    Leaf left = box;
    left.high[feature] = node.threshold;
    box.low[feature] = node.threshold;
    self(self, node.left, std::move(left));
    self(self, node.right, std::move(box));
  };
  descend(descend, 0, {data.low, data.high, 1, 0});
  return out;
}

// The variance of what is left when all but the parameter is averaged out, as a function of the parameter: over all
// pairs of leaves, their values times the probability that a random parameter lies in both.
double marginal_variance_of_block(const std::vector<Leaf>& leaves, const Columns& columns, const Encoded& data,
                                  double mean) {
  double out = 0;
  std::vector<double> width(leaves.size(), 1.0);  // of each leaf's box in the parameter's columns
  for (std::size_t i = 0; i < leaves.size(); ++i) {
    for (std::size_t j = columns.first; j < columns.first + columns.count; ++j) {
      width[i] *= (leaves[i].high[j] - leaves[i].low[j]) / (data.high[j] - data.low[j]);
    }
  }
  for (std::size_t a = 0; a < leaves.size(); ++a) {
    for (std::size_t b = 0; b <= a; ++b) {
      double both = 1;
      for (std::size_t j = columns.first; j < columns.first + columns.count && both > 0; ++j) {
        const double overlap =
            std::min(leaves[a].high[j], leaves[b].high[j]) - std::max(leaves[a].low[j], leaves[b].low[j]);
        both *= std::max(0.0, overlap) / (data.high[j] - data.low[j]);
      }
      const double product = leaves[a].share / width[a] * (leaves[a].value - mean) * leaves[b].share / width[b] *
                             (leaves[b].value - mean) * both;
      out += a == b ? product : 2 * product;
    }
  }
  return std::max(0.0, out);
}

// The same for one column, cell by cell between the splits.
double marginal_variance_of_column(const std::vector<Leaf>& leaves, std::size_t column, const Encoded& data,
                                   double mean) {
  std::vector<double> edges;
  for (const auto& leaf : leaves) edges.push_back(leaf.low[column]);
  edges.push_back(data.high[column]);
  std::sort(edges.begin(), edges.end());
  edges.erase(std::unique(edges.begin(), edges.end()), edges.end());
  std::vector<double> change(edges.size(), 0.0);
  const auto cell = [&](double edge) {
    return static_cast<std::size_t>(std::lower_bound(edges.begin(), edges.end(), edge) - edges.begin());
  };
  const double range = data.high[column] - data.low[column];
  for (const auto& leaf : leaves) {
    const double density = leaf.share * (leaf.value - mean) * range / (leaf.high[column] - leaf.low[column]);
    change[cell(leaf.low[column])] += density;
    change[cell(leaf.high[column])] -= density;
  }
  double out = 0, level = 0;
  for (std::size_t i = 0; i + 1 < edges.size(); ++i) {
    level += change[i];
    out += level * level * (edges[i + 1] - edges[i]) / range;
  }
  return out;
}

Importances named(const Encoded& data, const std::vector<double>& importances) {
  Importances out;
  for (std::size_t i = 0; i < data.params.size(); ++i) out.emplace_back(data.params[i].name, importances[i]);
  for (const auto& name : data.single) out.emplace_back(name, 0.0);
  return out;
}

}  // namespace

FanovaImportanceEvaluator::FanovaImportanceEvaluator(ForestImportanceOptions options) : options_(options) {
  check(options, "FanovaImportanceEvaluator");
}

Importances FanovaImportanceEvaluator::evaluate(const ImportanceProblem& problem) const {
  const Encoded data = encode(problem, "FanovaImportanceEvaluator");
  std::vector<double> importances(data.params.size(), 0.0);
  if (data.params.empty() || data.y.size() <= 1) return named(data, importances);
  const RegressionForest forest = grow(data, options_);
  double n_trees = 0;
  for (const auto& tree : forest.trees()) {
    const auto leaves = leaves_of(tree, data);
    double mean = 0, variance = 0;
    for (const auto& leaf : leaves) mean += leaf.share * leaf.value;
    for (const auto& leaf : leaves) variance += leaf.share * (leaf.value - mean) * (leaf.value - mean);
    if (!(variance > 0)) continue;
    ++n_trees;
    for (std::size_t i = 0; i < data.params.size(); ++i) {
      const Columns& columns = data.params[i];
      importances[i] += (columns.count == 1 ? marginal_variance_of_column(leaves, columns.first, data, mean)
                                            : marginal_variance_of_block(leaves, columns, data, mean)) /
                        variance;
    }
  }
  if (n_trees == 0) {
    throw Error({.what = "the target is the same in all trials",
                 .value = format_double(data.y.front()),
                 .where = "FanovaImportanceEvaluator",
                 .hint = {}});
  }
  for (double& importance : importances) importance /= n_trees;
  return named(data, importances);
}

MeanDecreaseImpurityImportanceEvaluator::MeanDecreaseImpurityImportanceEvaluator(ForestImportanceOptions options)
    : options_(options) {
  check(options, "MeanDecreaseImpurityImportanceEvaluator");
}

Importances MeanDecreaseImpurityImportanceEvaluator::evaluate(const ImportanceProblem& problem) const {
  const Encoded data = encode(problem, "MeanDecreaseImpurityImportanceEvaluator");
  std::vector<double> importances(data.params.size(), 0.0);
  if (data.params.empty() || data.y.size() <= 1) return named(data, importances);
  double total = 0;
  const RegressionForest forest = grow(data, options_);
  for (const auto& tree : forest.trees()) {
    std::vector<double> decrease(data.x.n_columns, 0.0);
    const auto weighted = [&](std::int32_t i) {
      const auto& node = tree.nodes[static_cast<std::size_t>(i)];
      return node.weight * node.variance;
    };
    double sum = 0;
    for (std::size_t i = 0; i < tree.nodes.size(); ++i) {
      const auto& node = tree.nodes[i];
      if (node.feature < 0) continue;
      const double gain = node.weight * node.variance - weighted(node.left) - weighted(node.right);
      decrease[static_cast<std::size_t>(node.feature)] += gain;
      sum += gain;
    }
    if (!(sum > 0)) continue;
    ++total;
    for (std::size_t i = 0; i < data.params.size(); ++i) {
      const Columns& columns = data.params[i];
      for (std::size_t j = 0; j < columns.count; ++j) importances[i] += decrease[columns.first + j] / sum;
    }
  }
  if (total > 0) {
    for (double& importance : importances) importance /= total;
  }
  return named(data, importances);
}

}  // namespace levin::tune
