// Samplers by name, with their options as a map: for command lines and configuration files.
#pragma once

#include <levin/core/export.h>
#include <levin/tune/named_options.h>
#include <levin/tune/samplers/sampler.h>

#include <string>
#include <vector>

namespace levin::tune {

struct SamplerInfo {
  std::string name;
  std::string summary;
  std::vector<NamedOption> options;
};

/** The samplers that `make_sampler` knows, in the order in which to list them. */
LEVIN_API const std::vector<SamplerInfo>& sampler_infos();

/**
 * The sampler called `name`: auto, tpe, gp, cma, qmc, nsga2, nsga3, random_forest, bohb, dehb, random, brute_force,
 * grid. Options are those of its C++ struct, names included; what is left out takes the struct's default. Throws Error
 * for an unknown name or option (naming the nearest one), an option of another type, and whatever the sampler refuses.
 */
LEVIN_API SamplerRef make_sampler(const std::string& name, const Map& options = {});

}  // namespace levin::tune
