// What the commands that work on a study share: naming its storage, its sampler and its search space.
#pragma once

#include <levin/app/arguments.h>
#include <levin/core/value.h>
#include <levin/tune/samplers/sampler.h>
#include <levin/tune/space.h>
#include <levin/tune/storage/storage.h>

#include <cstdint>
#include <string>
#include <vector>

namespace levin::app {

/** A URL, a file's path (its kind told by its content or its ending), or "" for the newest study.db below runs/. */
std::string storage_url(const std::string& given, bool must_exist = true);

/** Which directions "minimize" or "minimize,maximize" are. */
std::vector<tune::Direction> directions_of(const std::string& text);

/** The samplers that these commands know by name. */
const std::vector<std::string>& sampler_names();
/** The names for a help text. */
std::string sampler_list();
tune::SamplerRef sampler_named(const std::string& name, std::uint64_t seed);

/** The space of texts such as "lr=loguniform(1e-4,1e-1)"; throws Error for a text that is no distribution. */
tune::SearchSpace space_of(const std::vector<std::string>& params);

/** "adam" or "0.5" or "true" as the value that it spells; JSON for lists and quoted texts. */
Value value_of_text(const std::string& text);

}  // namespace levin::app
