#include <levin/tune/pruners/pruner.h>

namespace levin::tune {

Pruner::~Pruner() = default;

}  // namespace levin::tune
