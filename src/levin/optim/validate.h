// Checks that the optimizers share.
#pragma once

#include <levin/core/error.h>
#include <levin/core/value.h>

#include <string>

namespace levin::optim {

/** Throws Error unless `ok`: the setting `name` of `owner` must be `rule`. */
inline void require(bool ok, const std::string& owner, const std::string& name, double value, const std::string& rule) {
  if (ok) return;
  throw Error(
      {.what = owner + ": " + name + " must be " + rule, .value = format_double(value), .where = {}, .hint = {}});
}

}  // namespace levin::optim
