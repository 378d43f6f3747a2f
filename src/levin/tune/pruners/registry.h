// Pruners by name, with their options as a map: for command lines and configuration files.
#pragma once

#include <levin/core/export.h>
#include <levin/tune/named_options.h>
#include <levin/tune/pruners/pruner.h>

#include <string>
#include <vector>

namespace levin::tune {

struct PrunerInfo {
  std::string name;
  std::string summary;
  std::vector<NamedOption> options;
};

/** The pruners that `make_pruner` knows, in the order in which to list them. */
LEVIN_API const std::vector<PrunerInfo>& pruner_infos();

/**
 * The pruner called `name`: none, median, percentile, halving, hyperband, patient, threshold, wilcoxon, budget. Options
 * are those of its C++ struct, names included; what is left out takes the struct's default. `patient` also takes
 * `pruner`, the name of the pruner that it holds back, and that pruner's options. Throws Error for an unknown name or
 * option (naming the nearest one), an option of another type, and whatever the pruner refuses.
 */
LEVIN_API PrunerRef make_pruner(const std::string& name, const Map& options = {});

}  // namespace levin::tune
