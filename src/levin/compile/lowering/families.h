// The rules of lowering, a file for each family of operators.
#pragma once

#include <levin/compile/lower.h>

#include <span>
#include <vector>

namespace levin::compile::lowering {

std::span<const Rule> copies();
std::span<const Rule> images();
std::span<const Rule> losses();
std::span<const Rule> matmul();
std::span<const Rule> norms();
std::span<const Rule> pointwise();
std::span<const Rule> random();
std::span<const Rule> reductions();
std::span<const Rule> sequences();
std::span<const Rule> small_mlp();

struct Family {
  std::string_view title;
  std::span<const Rule> rules;
};
/** All of them. */
std::vector<Family> families();

/** A float32 value, row-major without gaps. */
bool is_plain(const Graph& graph, ValueId value);

}  // namespace levin::compile::lowering
