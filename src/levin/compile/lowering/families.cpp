#include <levin/compile/lowering/families.h>

namespace levin::compile::lowering {

std::vector<std::span<const Rule>> families() {
  return {matmul(), pointwise(), images(), norms(), sequences(), losses(), reductions(), copies(), small_mlp()};
}

bool is_plain(const Graph& graph, ValueId value) {
  return value != kNone && graph.at(value).dtype == at::kFloat && graph.at(value).contiguous();
}

}  // namespace levin::compile::lowering
