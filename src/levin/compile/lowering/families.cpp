#include <levin/compile/lowering/families.h>

namespace levin::compile::lowering {

std::vector<Family> families() {
  return {{"Matrix products", matmul()}, {"Element-wise groups", pointwise()}, {"Convolution and pooling", images()},
          {"Normalisation", norms()},    {"Sequences", sequences()},           {"Losses and softmax", losses()},
          {"Reductions", reductions()},  {"Copies", copies()},                 {"Small networks", small_mlp()}, {"Random numbers", random()}};
}

bool is_plain(const Graph& graph, ValueId value) {
  return value != kNone && graph.at(value).dtype == at::kFloat && graph.at(value).contiguous();
}

}  // namespace levin::compile::lowering
