// What `levin tune` searches: the settings whose text is a distribution, or a default space.
#pragma once

#include <levin/app/settings.h>
#include <levin/core/config.h>
#include <levin/core/value.h>
#include <levin/tune/distribution.h>
#include <levin/tune/trial.h>

#include <string>
#include <utility>
#include <vector>

namespace levin::app {

/** A setting that is searched, perhaps only for some choices of another one that is searched, too. */
struct SearchedSetting {
  std::string key;
  tune::Distribution distribution;
  const Dependence* condition = nullptr;  ///< nullptr: always
};

/** Whether `text` is a distribution that `setting` can be drawn from; throws Error when it draws what does not fit. */
bool is_distribution_for(const config::Setting& setting, const std::string& text);

/**
 * The settings to search of `config` (nested, as in Request): those that are distributions. When there are none, a
 * space for tables that covers learning rate, batch size, optimizer, layers, widths, activation, dropout, weight
 * decay, initialisation, noise, mixup, scheduler, early stopping, skip connections and normalisation, but for the
 * settings that `provenance` (key -> where) says the user has fixed. Throws Error when that leaves nothing.
 */
std::vector<SearchedSetting> searched_settings(const Map& config, const Map& provenance);

/** `config` with the text of each searched setting's distribution in its place: what a run keeps, to be run again. */
Map with_distributions(Map config, const std::vector<SearchedSetting>& searched);

/**
 * All values of each searched setting, as the grid sampler tries them. Throws Error for floats without a step and for
 * ranges of more than 1,000 values, which a grid cannot cover.
 */
std::vector<std::pair<std::string, List>> grid_of(const std::vector<SearchedSetting>& searched);

/**
 * Draws what is searched from the trial, in order, and returns `config` with the values in place; a setting whose
 * condition does not hold gets its default.
 */
Map settings_of_trial(tune::Trial& trial, const std::vector<SearchedSetting>& searched, Map config);

}  // namespace levin::app
