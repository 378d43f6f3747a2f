// A joint choice, published on its trial before its parameters are suggested, so that other workers know of it.
#pragma once

#include <levin/core/value.h>
#include <levin/tune/study_view.h>

#include <string>

namespace levin::tune {

/** Asks to set the attributes `<key><i>`: `params` as JSON in pieces, as Optuna does. */
void publish_params(StudyView& study, const std::string& key, const Map& params);

/** What a running trial is known to try: its suggested parameters over its published ones. */
Map published_params(const FrozenTrial& trial, const std::string& key);

}  // namespace levin::tune
