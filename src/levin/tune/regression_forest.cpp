#include <levin/tune/regression_forest.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

namespace levin::tune {
namespace {

constexpr double equal_values = 1e-7;  // closer values are not told apart, as in scikit-learn

// Grows one tree. For every column the rows are kept in the order of their value; a split divides each of these lists
// in place, so that no node sorts again.
class Grower {
 public:
  Grower(const RowMatrix& x, std::span<const double> y, const std::vector<std::vector<std::uint32_t>>& sorted,
         std::vector<double> weights, const RegressionForestOptions& options, Rng& rng)
      : x_(x), y_(y), weights_(std::move(weights)), options_(options), rng_(rng), goes_left_(y.size()) {
    for (const auto& order : sorted) {
      orders_.emplace_back();
      for (const auto i : order) {
        if (weights_[i] > 0) orders_.back().push_back(i);
      }
    }
    columns_.resize(x.n_columns);
    std::iota(columns_.begin(), columns_.end(), std::size_t{0});
    buffer_.resize(orders_.front().size());
  }

  RegressionTree grow() {
    tree_.nodes.emplace_back();
    split(0, 0, orders_.front().size(), 0);
    return std::move(tree_);
  }

 private:
  struct Split {
    double gain = 0;
    std::size_t column = 0, place = 0;  // the first `place` rows of the column's list go left
    double threshold = 0;
  };

  void split(std::size_t node, std::size_t begin, std::size_t end, std::size_t depth) {
    double weight = 0, sum = 0, squares = 0;
    for (std::size_t i = begin; i < end; ++i) {
      const auto row = orders_.front()[i];
      weight += weights_[row];
      sum += weights_[row] * y_[row];
    }
    const double mean = sum / weight;
    for (std::size_t i = begin; i < end; ++i) {
      const auto row = orders_.front()[i];
      squares += weights_[row] * (y_[row] - mean) * (y_[row] - mean);
    }
    tree_.nodes[node].value = mean;
    tree_.nodes[node].variance = squares / weight;
    tree_.nodes[node].weight = weight;
    if (depth >= options_.max_depth || end - begin < options_.min_samples_split) return;
    if (squares / weight <= 1e-16 * std::max(1.0, mean * mean)) return;

    const Split best = best_split(begin, end, weight, mean);
    if (best.place == 0) return;
    for (std::size_t i = begin; i < end; ++i) {
      goes_left_[orders_[best.column][i]] = i < begin + best.place;
    }
    for (auto& order : orders_) {
      std::size_t left = begin, right = 0;
      for (std::size_t i = begin; i < end; ++i) {
        if (goes_left_[order[i]]) {
          order[left++] = order[i];
        } else {
          buffer_[right++] = order[i];
        }
      }
      std::copy_n(buffer_.begin(), right, order.begin() + static_cast<std::ptrdiff_t>(left));
    }
    const std::size_t left = tree_.nodes.size();
    tree_.nodes.resize(left + 2);
    tree_.nodes[node].feature = static_cast<std::int32_t>(best.column);
    tree_.nodes[node].threshold = best.threshold;
    tree_.nodes[node].left = static_cast<std::int32_t>(left);
    tree_.nodes[node].right = static_cast<std::int32_t>(left + 1);
    split(left, begin, begin + best.place, depth + 1);
    split(left + 1, begin + best.place, end, depth + 1);
  }

  Split best_split(std::size_t begin, std::size_t end, double weight, double mean) {
    const auto wanted = static_cast<std::size_t>(
        std::max(1.0, std::floor(options_.max_features * static_cast<double>(columns_.size()))));
    Split best;
    std::size_t n_useful = 0;
    // In random order, so that none is preferred among equals. Constant columns do not count.
    for (std::size_t i = 0; i < columns_.size() && n_useful < wanted; ++i) {
      std::swap(columns_[i], columns_[i + rng_.below(columns_.size() - i)]);
      const std::size_t column = columns_[i];
      const auto& order = orders_[column];
      if (x_.at(order[end - 1], column) - x_.at(order[begin], column) <= equal_values) continue;
      ++n_useful;
      double left_weight = 0, left_sum = 0;  // of the deviations from the mean
      for (std::size_t k = begin; k + 1 < end; ++k) {
        const auto row = order[k];
        left_weight += weights_[row];
        left_sum += weights_[row] * (y_[row] - mean);
        const double here = x_.at(row, column), next = x_.at(order[k + 1], column);
        if (next - here <= equal_values) continue;
        const double right_weight = weight - left_weight;
        if (left_weight < static_cast<double>(options_.min_samples_leaf)) continue;
        if (right_weight < static_cast<double>(options_.min_samples_leaf)) break;
        const double gain = left_sum * left_sum * (1 / left_weight + 1 / right_weight);
        if (gain > best.gain) best = {gain, column, k + 1 - begin, here / 2 + next / 2};
      }
    }
    return best;
  }

  const RowMatrix& x_;
  const std::span<const double> y_;
  const std::vector<double> weights_;
  const RegressionForestOptions& options_;
  Rng& rng_;
  std::vector<std::vector<std::uint32_t>> orders_;
  std::vector<std::size_t> columns_;
  std::vector<std::uint8_t> goes_left_;
  std::vector<std::uint32_t> buffer_;
  RegressionTree tree_;
};

}  // namespace

const RegressionTree::Node& RegressionTree::leaf(std::span<const double> row) const {
  const Node* node = &nodes.front();
  while (node->feature >= 0) {
    const bool left = row[static_cast<std::size_t>(node->feature)] <= node->threshold;
    node = &nodes[static_cast<std::size_t>(left ? node->left : node->right)];
  }
  return *node;
}

RegressionForest::RegressionForest(const RowMatrix& x, std::span<const double> y,
                                   const RegressionForestOptions& options, Rng& rng) {
  const std::size_t n = y.size();
  std::vector<std::vector<std::uint32_t>> sorted(x.n_columns, std::vector<std::uint32_t>(n));
  for (std::size_t column = 0; column < x.n_columns; ++column) {
    std::iota(sorted[column].begin(), sorted[column].end(), 0u);
    std::sort(sorted[column].begin(), sorted[column].end(),
              [&](auto a, auto b) { return x.at(a, column) < x.at(b, column); });
  }
  for (std::size_t t = 0; t < options.n_trees; ++t) {
    std::vector<double> weights(n, options.bootstrap ? 0.0 : 1.0);
    if (options.bootstrap) {
      for (std::size_t i = 0; i < n; ++i) ++weights[rng.below(n)];
    }
    trees_.push_back(Grower(x, y, sorted, std::move(weights), options, rng).grow());
  }
}

RegressionForest::Prediction RegressionForest::predict(std::span<const double> row) const {
  double sum = 0, squares = 0, within = 0;
  for (const auto& tree : trees_) {
    const auto& leaf = tree.leaf(row);
    sum += leaf.value;
    squares += leaf.value * leaf.value;
    within += leaf.variance;
  }
  const double n = static_cast<double>(trees_.size()), mean = sum / n;
  return {mean, std::max(0.0, squares / n - mean * mean) + within / n};
}

}  // namespace levin::tune
