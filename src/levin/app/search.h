// What `levin tune` searches: the settings whose text is a distribution, or a default space.
#pragma once

#include <levin/core/config.h>
#include <levin/core/value.h>
#include <levin/tune/distribution.h>
#include <levin/tune/trial.h>

#include <optional>
#include <string>
#include <vector>

namespace levin::app {

/** A setting that is searched, perhaps only where another one has a certain value. */
struct SearchedSetting {
  std::string key;
  tune::Distribution distribution;
  std::string only_if = "";  ///< another setting's key; "": always
  std::string is = "";       ///< the text of the value that it must have
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

/** Draws what is searched from the trial, in order, and returns `config` with the values in place. */
Map settings_of_trial(tune::Trial& trial, const std::vector<SearchedSetting>& searched, Map config);

}  // namespace levin::app
