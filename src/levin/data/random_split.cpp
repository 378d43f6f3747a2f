#include <levin/data/random_split.h>

#include <levin/core/error.h>
#include <levin/core/rng.h>
#include <levin/core/value.h>
#include <levin/data/seed.h>

#include <cmath>
#include <numeric>

namespace levin {
namespace {

class SubsetImpl : public DatasetImpl {
 public:
  SubsetImpl(Dataset dataset, std::vector<std::int64_t> indices)
      : dataset_(std::move(dataset)), indices_(std::move(indices)) {
    const auto inner = dataset_.impl().rows_in_memory();
    if (!inner || inner->indices.empty()) return;
    for (const auto index : indices_) rows_.push_back(inner->indices[static_cast<std::size_t>(index)]);
  }

  std::int64_t size() const override { return static_cast<std::int64_t>(indices_.size()); }

  Batch get(std::int64_t index) const override { return dataset_.get(indices_[static_cast<std::size_t>(index)]); }

  Batch get_batch(std::span<const std::int64_t> indices) const override {
    std::vector<std::int64_t> inner(indices.size());
    for (std::size_t i = 0; i < indices.size(); ++i) {
      const auto index = static_cast<std::size_t>(indices[i]);
      if (index >= indices_.size()) throw_no_index(indices[i]);
      inner[i] = indices_[index];
    }
    return dataset_.get_batch(inner);
  }

  std::optional<RowsInMemory> rows_in_memory() const override {
    auto rows = dataset_.impl().rows_in_memory();
    if (!rows || indices_.empty()) return std::nullopt;
    rows->indices = rows_.empty() ? indices_ : rows_;
    return rows;
  }

  const std::vector<std::int64_t>& indices() const { return indices_; }

 private:
  [[noreturn]] void throw_no_index(std::int64_t index) const {
    throw Error({.what = "a subset of " + std::to_string(indices_.size()) + " samples has none at this index",
                 .value = std::to_string(index),
                 .where = {},
                 .hint = {}});
  }

  Dataset dataset_;
  std::vector<std::int64_t> indices_;
  std::vector<std::int64_t> rows_;  // of a subset of a subset: those of the tensors in memory
};

std::shared_ptr<const DatasetImpl> make_subset(const Dataset& dataset, std::vector<std::int64_t> indices) {
  const auto size = dataset.size();
  for (const auto index : indices) {
    if (index < 0 || index >= size) {
      throw Error({.what = "a subset asks for a sample outside its dataset of " + std::to_string(size) + " samples",
                   .value = std::to_string(index),
                   .where = {},
                   .hint = {}});
    }
  }
  return std::make_shared<SubsetImpl>(dataset, std::move(indices));
}

template <class T>
std::string list_text(std::span<const T> numbers) {
  List list(numbers.begin(), numbers.end());
  return Value(std::move(list)).to_string();
}

}  // namespace

Subset::Subset(const Dataset& dataset, std::vector<std::int64_t> indices)
    : Dataset(make_subset(dataset, std::move(indices))) {}

const std::vector<std::int64_t>& Subset::indices() const { return static_cast<const SubsetImpl&>(impl()).indices(); }

std::vector<std::int64_t> split_counts(std::int64_t size, std::span<const double> fractions) {
  double sum = 0;
  for (const auto fraction : fractions) {
    if (!(fraction >= 0 && fraction <= 1)) {
      throw Error({.what = "a fraction of a split lies outside 0 to 1",
                   .value = format_double(fraction),
                   .where = {},
                   .hint = "give fractions such as {0.8, 0.2}, or whole numbers of samples such as {800, 200}"});
    }
    sum += fraction;
  }
  if (!(std::abs(sum - 1) < 1e-9)) {
    throw Error({.what = "the fractions of a split must sum to 1",
                 .value = list_text(fractions) + ", which sums to " + format_double(sum),
                 .where = {},
                 .hint = {}});
  }
  std::vector<std::int64_t> counts;
  for (const auto fraction : fractions) {
    counts.push_back(static_cast<std::int64_t>(std::floor(static_cast<double>(size) * fraction)));
  }
  auto rest = size - std::accumulate(counts.begin(), counts.end(), std::int64_t{0});
  for (std::size_t i = 0; rest > 0; i = (i + 1) % counts.size(), --rest) ++counts[i];
  return counts;
}

std::vector<std::vector<std::int64_t>> split_indices(std::int64_t size, std::span<const std::int64_t> counts,
                                                     const RandomSplitOptions& options) {
  std::int64_t sum = 0;
  for (const auto count : counts) {
    if (count < 0 || count > size - sum) {
      sum = -1;
      break;
    }
    sum += count;
  }
  if (sum != size) {
    throw Error({.what = "the numbers of samples of a split must sum to the dataset's size, " + std::to_string(size),
                 .value = list_text(counts),
                 .where = {},
                 .hint = "for fractions write floating-point numbers: {0.8, 0.2}"});
  }
  const auto permutation = Rng(options.seed.value_or(current_seed()), "random_split").permutation(size);
  std::vector<std::vector<std::int64_t>> parts;
  auto begin = permutation.begin();
  for (const auto count : counts) {
    parts.emplace_back(begin, begin + count);
    begin += count;
  }
  return parts;
}

std::vector<Dataset> random_split(const Dataset& dataset, std::span<const double> fractions,
                                  const RandomSplitOptions& options) {
  return random_split(dataset, split_counts(dataset.size(), fractions), options);
}

std::vector<Dataset> random_split(const Dataset& dataset, std::span<const std::int64_t> counts,
                                  const RandomSplitOptions& options) {
  std::vector<Dataset> parts;
  for (auto& indices : split_indices(dataset.size(), counts, options)) {
    parts.push_back(Subset(dataset, std::move(indices)));
  }
  return parts;
}

}  // namespace levin
