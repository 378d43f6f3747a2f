// Relations between parameters that every config must keep: a < b, sums, anything that a function can tell.
#pragma once

#include <levin/core/export.h>
#include <levin/core/value.h>

#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace levin::tune {

/** A sum of parameters times numbers, plus a number; grows by +, - and *. */
class LEVIN_API LinearExpr {
 public:
  LinearExpr(double constant) : constant_(constant) {}

  friend LEVIN_API LinearExpr param(std::string name);
  friend LEVIN_API LinearExpr operator+(LinearExpr a, const LinearExpr& b);
  friend LEVIN_API LinearExpr operator-(LinearExpr a, const LinearExpr& b);
  friend LEVIN_API LinearExpr operator*(double factor, LinearExpr a);

  const std::vector<std::pair<std::string, double>>& terms() const noexcept { return terms_; }
  double constant() const noexcept { return constant_; }

 private:
  std::vector<std::pair<std::string, double>> terms_;
  double constant_ = 0;
};

/** A parameter in a relation: `param("low") < param("high")`, `param("a") + 2 * param("b") <= 1`. */
LEVIN_API LinearExpr param(std::string name);

/** Something that must hold between parameters. A relation is skipped while one of its parameters is not there. */
class LEVIN_API Relation {
 public:
  /** Anything that `holds` can tell; `description` appears in messages. */
  Relation(std::string description, std::vector<std::string> names, std::function<bool(const Map&)> holds);

  const std::string& description() const noexcept { return description_; }
  const std::vector<std::string>& names() const noexcept { return names_; }
  /** Whether it holds, with a relative tolerance of 1e-9 for equalities; true when a name is missing. */
  bool holds(const Map& params) const;

  /** Of linear relations: left side minus right side, which must be below, at most or equal to 0. */
  const std::optional<LinearExpr>& linear() const noexcept { return linear_; }
  bool is_equality() const noexcept { return kind_ == Kind::equal; }

 private:
  enum class Kind { less, less_equal, equal, predicate };
  friend LEVIN_API Relation operator<(const LinearExpr& a, const LinearExpr& b);
  friend LEVIN_API Relation operator<=(const LinearExpr& a, const LinearExpr& b);
  friend LEVIN_API Relation operator==(const LinearExpr& a, const LinearExpr& b);
  Relation(Kind kind, const LinearExpr& a, const char* sign, const LinearExpr& b);

  Kind kind_ = Kind::predicate;
  std::string description_;
  std::vector<std::string> names_;
  std::function<bool(const Map&)> holds_;
  std::optional<LinearExpr> linear_;
};

LEVIN_API Relation operator<(const LinearExpr& a, const LinearExpr& b);
LEVIN_API Relation operator<=(const LinearExpr& a, const LinearExpr& b);
LEVIN_API Relation operator==(const LinearExpr& a, const LinearExpr& b);
inline Relation operator>(const LinearExpr& a, const LinearExpr& b) { return b < a; }
inline Relation operator>=(const LinearExpr& a, const LinearExpr& b) { return b <= a; }

}  // namespace levin::tune
