// LEVIN_BEST(Function): the address of the best version of a function that HWY_EXPORT has put into a table.
#pragma once

#include <hwy/highway.h>

namespace levin::compile::kernels {

inline void choose_target_once() {
  if (!hwy::GetChosenTarget().IsInitialized()) hwy::GetChosenTarget().Update(hwy::SupportedTargets());
}

}  // namespace levin::compile::kernels

#define LEVIN_BEST(FUNCTION) (::levin::compile::kernels::choose_target_once(), &HWY_DYNAMIC_DISPATCH(FUNCTION))
