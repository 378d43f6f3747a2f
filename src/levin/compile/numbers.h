// The numbers of a step that trials may differ in and yet run one program: a dropout rate, the weight of a loss.
#pragma once

#include <levin/compile/graph.h>

#include <cstddef>
#include <vector>

namespace levin::compile {

/** A number that an operator of a lifted graph takes and could as well read from memory. */
struct Number {
  double value = 0;
  std::size_t node = 0, argument = 0;
};

/** Factors, divisors and terms of arithmetic, and probabilities; in the order of the graph. */
std::vector<Number> numbers_of(const Graph& lifted);

/** Those of `numbers` that are `open` are read from memory of their own from now on: passes do not see their values. */
void read_from_memory(Graph& lifted, const std::vector<Number>& numbers, const std::vector<bool>& open);

}  // namespace levin::compile
