#include <levin/train/callbacks/callback.h>

namespace levin {

CallbackImpl::~CallbackImpl() = default;

}  // namespace levin
