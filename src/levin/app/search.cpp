#include <levin/app/search.h>

#include <levin/core/error.h>
#include <levin/tune/space.h>

#include <algorithm>
#include <cmath>
#include <optional>

namespace levin::app {
namespace {

std::vector<SearchedSetting> default_space() {
  using namespace tune;  // the words of search spaces
  return {
      {"optimizer.name", choice({"adamw", "adam", "sgd"})},
      {"optimizer.lr", loguniform(3e-4, 3e-2)},
      {"optimizer.weight_decay", loguniform(1e-6, 1e-1)},
      {"optimizer.momentum", uniform(0.5, 0.99)},
      {"data.batch_size", choice({16, 32, 64, 128, 256})},
      {"data.noise", uniform(0, 0.3)},
      {"data.mixup", quniform(0, 0.4, 0.1)},
      {"model.layers", randint(1, 5)},
      {"model.width", lograndint(16, 513)},
      {"model.activation", choice({"relu", "leaky_relu", "elu", "gelu", "silu", "tanh"})},
      {"model.dropout", uniform(0, 0.5)},
      {"model.norm", choice({"none", "batch", "layer"})},
      {"model.skip", choice({false, true})},
      {"model.init", choice({"default", "xavier_uniform", "kaiming_normal", "orthogonal"})},
      {"scheduler.name", choice({"cosine", "none", "step", "plateau"})},
      {"scheduler.step_size", randint(3, 16)},
      {"scheduler.gamma", uniform(0.1, 0.9)},
      {"scheduler.factor", uniform(0.1, 0.7)},
      {"scheduler.patience", randint(1, 6)},
      {"trainer.early_stopping_patience", choice({0, 5, 10})},
  };
}

// Whether the setting that `dependence` hangs on has one of its choices.
bool holds(const Dependence& dependence, const Map& config) {
  const Value* chosen = find_nested(config, dependence.on);
  return chosen != nullptr && std::find(dependence.choices.begin(), dependence.choices.end(), chosen->to_string()) !=
                                  dependence.choices.end();
}

}  // namespace

bool is_distribution_for(const config::Setting& setting, const std::string& text) {
  if (!is_searchable(setting.key)) return false;
  std::optional<tune::Distribution> distribution;
  try {
    distribution = tune::parse_distribution(text);
  } catch (const Error& error) {
    auto info = error.info();
    info.what = setting.key + ": " + info.what;
    info.where.clear();  // the whole text; where it stands is the caller's to say
    throw Error(std::move(info));
  }
  if (!distribution) return false;
  const auto fits = [&](const Value& value) {
    try {
      config::check(setting, value);
    } catch (const Error& error) {
      auto info = error.info();
      info.what = text + " draws values that do not fit: " + info.what;
      throw Error(std::move(info));
    }
  };
  if (distribution->is_categorical()) {
    for (const auto& value : distribution->choices()) fits(value);
  } else {
    // A whole number drawn as a float would fit at the ends alone.
    if (setting.type == config::Type::integer && distribution->kind() == tune::Distribution::Kind::floating) {
      throw Error({.what = setting.key + " must be " + setting.takes(),
                   .value = text,
                   .where = {},
                   .hint = "use randint, lograndint or choice"});
    }
    fits(distribution->to_external(distribution->low()));
    fits(distribution->to_external(distribution->high()));
  }
  return true;
}

std::vector<SearchedSetting> searched_settings(const Map& config, const Map& provenance) {
  std::vector<SearchedSetting> out;
  for (const auto& setting : schema_for(Command::tune)->settings()) {
    const Value* value = find_nested(config, setting.key);
    if (value == nullptr || !value->is_string() || !is_distribution_for(setting, value->as_string())) continue;
    out.push_back({setting.key, *tune::parse_distribution(value->as_string())});
  }
  if (out.empty()) {
    for (auto& entry : default_space()) {
      const bool is_size = entry.key == "model.layers" || entry.key == "model.width";
      if (provenance.contains(entry.key) || (is_size && provenance.contains("model.widths"))) continue;
      const Dependence* dependence = dependence_of(entry.key);
      if (dependence != nullptr && provenance.contains(dependence->on) && !holds(*dependence, config)) continue;
      out.push_back(std::move(entry));
    }
  }
  if (out.empty()) {
    throw Error({.what = "there is nothing to search: every setting of the default space is fixed",
                 .value = {},
                 .where = {},
                 .hint = "give a setting a distribution, such as --optimizer.lr 'loguniform(1e-4,1e-1)'"});
  }
  // A setting is drawn after the one that it depends on.
  const auto is_searched = [&](const std::string& key) {
    return std::any_of(out.begin(), out.end(), [&](const SearchedSetting& entry) { return entry.key == key; });
  };
  for (auto& entry : out) {
    const Dependence* dependence = dependence_of(entry.key);
    if (dependence != nullptr && is_searched(dependence->on)) entry.condition = dependence;
  }
  std::stable_partition(out.begin(), out.end(),
                        [](const SearchedSetting& entry) { return entry.condition == nullptr; });
  return out;
}

Map with_distributions(Map config, const std::vector<SearchedSetting>& searched) {
  for (const auto& entry : searched) set_nested(config, entry.key, entry.distribution.to_text());
  return config;
}

std::vector<std::pair<std::string, List>> grid_of(const std::vector<SearchedSetting>& searched) {
  constexpr double kMost = 1000;
  std::vector<std::pair<std::string, List>> grid;
  for (const auto& [key, distribution, condition] : searched) {
    if (distribution.is_categorical()) {
      grid.emplace_back(key, distribution.choices());
      continue;
    }
    const double step = distribution.step();
    if (step <= 0 || (distribution.high() - distribution.low()) / step >= kMost) {
      throw Error({.what = "a grid cannot cover the values of " + key,
                   .value = distribution.to_text(),
                   .where = {},
                   .hint = "give it choice(A,B,...) or quniform(LOW,HIGH,STEP), or take another tune.sampler"});
    }
    const auto last = std::llround(std::floor((distribution.high() - distribution.low()) / step + 1e-9));
    List values;
    for (std::int64_t i = 0; i <= last; ++i) {
      values.push_back(distribution.to_external(distribution.low() + static_cast<double>(i) * step));
    }
    grid.emplace_back(key, std::move(values));
  }
  return grid;
}

Map settings_of_trial(tune::Trial& trial, const std::vector<SearchedSetting>& searched, Map config) {
  for (const auto& entry : searched) {
    const auto& setting = schema_for(Command::tune)->at(entry.key);
    if (entry.condition != nullptr && !holds(*entry.condition, config)) {
      set_nested(config, entry.key, setting.fallback);
      continue;
    }
    set_nested(config, entry.key, config::check(setting, trial.suggest(entry.key, entry.distribution), entry.key));
  }
  return config;
}

}  // namespace levin::app
