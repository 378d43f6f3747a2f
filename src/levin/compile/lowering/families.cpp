#include <levin/compile/lowering/families.h>

namespace levin::compile::lowering {

std::vector<std::span<const Rule>> families() { return {}; }

}  // namespace levin::compile::lowering
