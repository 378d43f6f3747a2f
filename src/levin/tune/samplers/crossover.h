// Crossovers and mutations of genetic samplers: how a child is made of its parents.
#pragma once

#include <levin/core/export.h>
#include <levin/core/rng.h>

#include <concepts>
#include <cstddef>
#include <memory>
#include <optional>
#include <span>
#include <utility>
#include <vector>

namespace levin::tune {

/** The ends of a gene's range, on the scale on which genes are given. */
struct GeneRange {
  double low = 0;
  double high = 1;
};

using Genes = std::vector<double>;

/** Makes a child of the numeric genes of its parents. A child beyond its range is made anew by the caller. */
class LEVIN_API Crossover {
 public:
  virtual ~Crossover();
  virtual std::size_t n_parents() const { return 2; }
  /** `parents`: n_parents() vectors as long as `ranges`. */
  virtual Genes cross(const std::vector<Genes>& parents, std::span<const GeneRange> ranges, Rng& rng,
                      bool multi_objective) const = 0;
};

/** Each gene from one of the parents, from the second with probability 1 - swapping_prob. */
class LEVIN_API UniformCrossover : public Crossover {
 public:
  explicit UniformCrossover(double swapping_prob = 0.5);
  Genes cross(const std::vector<Genes>& parents, std::span<const GeneRange> ranges, Rng& rng,
              bool multi_objective) const override;

 private:
  double swapping_prob_;
};

/** Uniform in the box of the parents, widened by alpha of its width on each side (Eshelman and Schaffer 1993). */
class LEVIN_API BLXAlphaCrossover : public Crossover {
 public:
  explicit BLXAlphaCrossover(double alpha = 0.5);
  Genes cross(const std::vector<Genes>& parents, std::span<const GeneRange> ranges, Rng& rng,
              bool multi_objective) const override;

 private:
  double alpha_;
};

/** Uniform in the simplex of three parents, blown up by epsilon, by default sqrt(d + 2) (Tsutsui et al. 1999). */
class LEVIN_API SPXCrossover : public Crossover {
 public:
  explicit SPXCrossover(std::optional<double> epsilon = std::nullopt);
  std::size_t n_parents() const override { return 3; }
  Genes cross(const std::vector<Genes>& parents, std::span<const GeneRange> ranges, Rng& rng,
              bool multi_objective) const override;

 private:
  std::optional<double> epsilon_;
};

struct SBXCrossoverOptions {
  std::optional<double> eta = std::nullopt;  ///< larger stays nearer; by default 20 with several objectives, else 2
  double uniform_crossover_prob = 0.5;
  double use_child_gene_prob = 0.5;
};

/** Simulated binary crossover within the bounds (Deb and Beyer 2001; Deb, Sindhya and Okabe 2007). */
class LEVIN_API SBXCrossover : public Crossover {
 public:
  SBXCrossover(SBXCrossoverOptions options = {});
  Genes cross(const std::vector<Genes>& parents, std::span<const GeneRange> ranges, Rng& rng,
              bool multi_objective) const override;

 private:
  SBXCrossoverOptions options_;
};

/** Simulated binary crossover that also reaches beyond the parents (Ballester and Carter 2004). */
class LEVIN_API VSBXCrossover : public Crossover {
 public:
  VSBXCrossover(SBXCrossoverOptions options = {});
  Genes cross(const std::vector<Genes>& parents, std::span<const GeneRange> ranges, Rng& rng,
              bool multi_objective) const override;

 private:
  SBXCrossoverOptions options_;
};

struct UNDXCrossoverOptions {
  double sigma_xi = 0.5;                           ///< spread along the line of the first two parents
  std::optional<double> sigma_eta = std::nullopt;  ///< spread across it; by default 0.35 / sqrt(d)
};

/** Normal around the middle of two parents, as wide across as the third is away (Ono and Kobayashi 1997). */
class LEVIN_API UNDXCrossover : public Crossover {
 public:
  UNDXCrossover(UNDXCrossoverOptions options = {});
  std::size_t n_parents() const override { return 3; }
  Genes cross(const std::vector<Genes>& parents, std::span<const GeneRange> ranges, Rng& rng,
              bool multi_objective) const override;

 private:
  UNDXCrossoverOptions options_;
};

/** Changes one numeric gene. What it returns is clipped to the range. */
class LEVIN_API Mutation {
 public:
  virtual ~Mutation();
  virtual double mutate(double gene, GeneRange range, Rng& rng) const = 0;
};

/** A step that is small more often than large, the more so the larger eta (Deb and Goyal 1996). */
class LEVIN_API PolynomialMutation : public Mutation {
 public:
  explicit PolynomialMutation(double eta = 20);
  double mutate(double gene, GeneRange range, Rng& rng) const override;

 private:
  double eta_;
};

/** An object of a class derived from Base, held by value in options; may be empty. */
template <class Base>
class HeldByValue {
 public:
  HeldByValue() = default;
  template <class T>
  requires std::derived_from<T, Base> HeldByValue(T object) : object_(std::make_shared<const T>(std::move(object))) {}

  explicit operator bool() const noexcept { return object_ != nullptr; }
  const Base& operator*() const { return *object_; }
  const Base* operator->() const { return object_.get(); }

 private:
  std::shared_ptr<const Base> object_;
};

using CrossoverRef = HeldByValue<Crossover>;
using MutationRef = HeldByValue<Mutation>;

}  // namespace levin::tune
