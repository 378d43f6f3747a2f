#include <levin/tune/relation.h>

#include <algorithm>
#include <cmath>

namespace levin::tune {
namespace {

std::string text_of(const LinearExpr& sum) {
  std::string out;
  for (const auto& [name, factor] : sum.terms()) {
    if (!out.empty())
      out += factor < 0 ? " - " : " + ";
    else if (factor < 0)
      out += "-";
    if (std::abs(factor) != 1) out += format_double(std::abs(factor)) + " * ";
    out += name;
  }
  if (out.empty() || sum.constant() != 0) out += (out.empty() ? "" : " + ") + format_double(sum.constant());
  return out;
}

}  // namespace

LinearExpr param(std::string name) {
  LinearExpr out(0);
  out.terms_.emplace_back(std::move(name), 1);
  return out;
}

LinearExpr operator+(LinearExpr a, const LinearExpr& b) {
  for (const auto& [name, factor] : b.terms_) {
    const auto it =
        std::find_if(a.terms_.begin(), a.terms_.end(), [&name = name](const auto& term) { return term.first == name; });
    if (it != a.terms_.end())
      it->second += factor;
    else
      a.terms_.emplace_back(name, factor);
  }
  a.constant_ += b.constant_;
  return a;
}

LinearExpr operator-(LinearExpr a, const LinearExpr& b) { return std::move(a) + -1.0 * b; }

LinearExpr operator*(double factor, LinearExpr a) {
  for (auto& term : a.terms_) term.second *= factor;
  a.constant_ *= factor;
  return a;
}

Relation::Relation(std::string description, std::vector<std::string> names, std::function<bool(const Map&)> holds)
    : description_(std::move(description)), names_(std::move(names)), holds_(std::move(holds)) {
  if (names_.empty()) {
    throw Error(
        {.what = "a relation names the parameters it is about", .value = description_, .where = {}, .hint = {}});
  }
  if (!holds_) throw Error({.what = "a relation needs a function", .value = description_, .where = {}, .hint = {}});
}

Relation::Relation(Kind kind, const LinearExpr& a, const char* sign, const LinearExpr& b)
    : kind_(kind), description_(text_of(a) + sign + text_of(b)), linear_(a - b) {
  for (const auto& [name, factor] : linear_->terms()) names_.push_back(name);
  if (names_.empty()) {
    throw Error({.what = "a relation needs a parameter", .value = description_, .where = {}, .hint = {}});
  }
}

Relation operator<(const LinearExpr& a, const LinearExpr& b) { return {Relation::Kind::less, a, " < ", b}; }
Relation operator<=(const LinearExpr& a, const LinearExpr& b) { return {Relation::Kind::less_equal, a, " <= ", b}; }
Relation operator==(const LinearExpr& a, const LinearExpr& b) { return {Relation::Kind::equal, a, " == ", b}; }

bool Relation::holds(const Map& params) const {
  for (const auto& name : names_) {
    if (!params.contains(name)) return true;
  }
  if (kind_ == Kind::predicate) return holds_(params);
  double sum = linear_->constant(), size = std::abs(linear_->constant());
  for (const auto& [name, factor] : linear_->terms()) {
    const double part = factor * params.at(name).as_double();
    sum += part;
    size += std::abs(part);
  }
  switch (kind_) {
    case Kind::less: return sum < 0;
    case Kind::less_equal: return sum <= 0;
    default: return std::abs(sum) <= 1e-9 * std::max(size, 1e-300);
  }
}

}  // namespace levin::tune
