// The commands of the `levin` binary that run the training part.
#pragma once

#include <string_view>

namespace levin::app {

enum class Command { fit, test, predict, tune, worker };

constexpr std::string_view name_of(Command command) {
  switch (command) {
    case Command::fit: return "fit";
    case Command::test: return "test";
    case Command::predict: return "predict";
    case Command::tune: return "tune";
    case Command::worker: return "worker";
  }
  return "";
}

}  // namespace levin::app
