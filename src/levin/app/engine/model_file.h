// The command line's models in checkpoint files, complete enough to be used without anything else.
#pragma once

#include <levin/app/engine/tabular_data.h>
#include <levin/app/engine/tabular_module.h>
#include <levin/app/settings.h>

#include <memory>
#include <string>

namespace levin::app {

/** What a checkpoint keeps beside the weights: the configuration, the problem and the fitted preprocessor. */
Map model_card(const Map& config, const PreparedData& data);

/** A new model with fresh weights for this data. */
std::unique_ptr<TabularModule> make_model(const Settings& settings, const Map& config, const PreparedData& data);

/** A model read from a file. */
struct LoadedModel {
  std::unique_ptr<TabularModule> module;
  Problem problem = Problem::classification;
  TablePreprocessor preprocessor;
  Map config;
};

/** Reads a checkpoint that `levin fit` or `levin tune` wrote; throws Error for any other file. */
LoadedModel load_model(const std::string& path);

}  // namespace levin::app
