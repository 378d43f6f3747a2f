// RegressionForest: regression trees on resampled data. What importances and the random-forest sampler stand on.
#pragma once

#include <levin/core/export.h>
#include <levin/core/rng.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace levin::tune {

/** Rows of numbers, one after the other. */
struct RowMatrix {
  std::size_t n_columns = 0;
  std::vector<double> data = {};

  std::size_t n_rows() const { return n_columns == 0 ? 0 : data.size() / n_columns; }
  std::span<const double> row(std::size_t i) const { return {data.data() + i * n_columns, n_columns}; }
  double at(std::size_t i, std::size_t j) const { return data[i * n_columns + j]; }
  void push_row(std::span<const double> row) { data.insert(data.end(), row.begin(), row.end()); }
};

struct RegressionTree {
  struct Node {
    std::int32_t feature = -1;  ///< what an inner node asks for; -1 in a leaf
    double threshold = 0;       ///< rows up to it go left
    std::int32_t left = -1, right = -1;
    double value = 0;     ///< mean of the node's rows
    double variance = 0;  ///< of the node's rows
    double weight = 0;    ///< number of the node's rows, with repetitions
  };
  std::vector<Node> nodes;  ///< the root first

  const Node& leaf(std::span<const double> row) const;
};

struct RegressionForestOptions {
  std::size_t n_trees = 64;
  std::size_t max_depth = 64;
  std::size_t min_samples_split = 2;  ///< distinct rows that a node must have to be split
  std::size_t min_samples_leaf = 1;   ///< rows, with repetitions, on each side of a split
  double max_features = 1.0;          ///< share of the columns that a node may split by, drawn anew for each
  bool bootstrap = true;              ///< whether each tree sees as many rows drawn with replacement, or all
};

/**
 * CART regression trees (Breiman et al. 1984), each grown on a bootstrap sample by the splits that reduce the variance
 * most (Breiman 2001, "Random forests"). The same data, options and stream give the same forest.
 */
class LEVIN_API RegressionForest {
 public:
  /** `x`: n rows, at least one; `y`: n finite numbers. */
  RegressionForest(const RowMatrix& x, std::span<const double> y, const RegressionForestOptions& options, Rng& rng);

  const std::vector<RegressionTree>& trees() const noexcept { return trees_; }

  struct Prediction {
    double mean = 0;
    double variance = 0;  ///< between the trees' means, plus the mean variance within their leaves
  };
  Prediction predict(std::span<const double> row) const;

 private:
  std::vector<RegressionTree> trees_;
};

}  // namespace levin::tune
