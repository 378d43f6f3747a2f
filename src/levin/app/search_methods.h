// The samplers and pruners of `levin tune`: by name, with options as texts.
#pragma once

#include <levin/app/search.h>
#include <levin/app/settings.h>
#include <levin/tune/pruners/pruner.h>
#include <levin/tune/samplers/sampler.h>

#include <cstddef>
#include <string>
#include <vector>

namespace levin::app {

/** Texts such as "population_size=20" as a map; values are numbers, true, false, null, JSON, or else texts. */
Map options_of(const std::vector<std::string>& texts, const std::string& setting);

/** The sampler that the settings name; `searched` are the values of a grid. */
tune::SamplerRef sampler_of(const Settings& settings, const std::vector<SearchedSetting>& searched);
/** The pruner that the settings name. Epochs are noisy at first: by default the first three are left alone. */
tune::PrunerRef pruner_of(const Settings& settings);

/** What each sampler and pruner does and which options it has, for help. */
std::string search_methods_help(std::size_t width);

}  // namespace levin::app
