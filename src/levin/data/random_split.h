// Subsets and random splits of a dataset.
#pragma once

#include <levin/data/dataset.h>

#include <array>
#include <cstddef>
#include <optional>
#include <type_traits>
#include <vector>

namespace levin {

/** The samples of `dataset` at `indices`, in this order. A batch is still one call to the dataset's get_batch. */
class LEVIN_API Subset : public Dataset {
 public:
  /** Throws Error when an index lies outside the dataset. */
  Subset(const Dataset& dataset, std::vector<std::int64_t> indices);

  const std::vector<std::int64_t>& indices() const;
};

struct RandomSplitOptions {
  /** Decides the permutation, whatever the thread or torch's generator; by default current_seed(). */
  std::optional<std::uint64_t> seed;
};

/**
 * How many of `size` samples each part gets. Fractions must sum to 1; each part is rounded down and what remains goes
 * round the parts from the first, one each (torch.utils.data.random_split). Throws Error for a bad sum.
 */
LEVIN_API std::vector<std::int64_t> split_counts(std::int64_t size, std::span<const double> fractions);

/** The indices 0..size-1 shuffled and cut into parts of `counts`, which must sum to `size`. */
LEVIN_API std::vector<std::vector<std::int64_t>> split_indices(std::int64_t size, std::span<const std::int64_t> counts,
                                                               const RandomSplitOptions& options = {});

/** Disjoint random parts that together are the dataset; by fractions that sum to 1. */
LEVIN_API std::vector<Dataset> random_split(const Dataset& dataset, std::span<const double> fractions,
                                            const RandomSplitOptions& options = {});
/** By numbers of samples that sum to the dataset's size. */
LEVIN_API std::vector<Dataset> random_split(const Dataset& dataset, std::span<const std::int64_t> counts,
                                            const RandomSplitOptions& options = {});

/**
 * With a list in braces, fit for structured bindings: `auto [train, val] = random_split(data, {0.8, 0.2}, {.seed =
 * 0})`. Floating-point lists are fractions, integer lists are numbers of samples.
 */
template <class T, std::size_t N>
requires std::is_arithmetic_v<T> std::array<Dataset, N> random_split(const Dataset& dataset, const T (&lengths)[N],
                                                                     const RandomSplitOptions& options = {}) {
  using Length = std::conditional_t<std::is_floating_point_v<T>, double, std::int64_t>;
  std::array<Length, N> list;
  for (std::size_t i = 0; i < N; ++i) list[i] = static_cast<Length>(lengths[i]);
  auto parts = random_split(dataset, std::span<const Length>(list), options);
  std::array<Dataset, N> result;
  for (std::size_t i = 0; i < N; ++i) result[i] = std::move(parts[i]);
  return result;
}

}  // namespace levin
