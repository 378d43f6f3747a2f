// What a table's target asks of a model.
#pragma once

#include <string_view>

namespace levin::app {

/** Classes (a softmax output each), two classes (one logit), or a number. */
enum class Problem { classification, binary, regression };

constexpr std::string_view name_of(Problem problem) {
  return problem == Problem::classification ? "classification" : problem == Problem::binary ? "binary" : "regression";
}

}  // namespace levin::app
