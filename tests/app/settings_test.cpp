#include <levin/app/search.h>
#include <levin/app/settings.h>
#include <levin/core/error.h>
#include <levin/tune/space.h>

#include <gtest/gtest.h>

#include <algorithm>

namespace levin::app {
namespace {

config::Config defaults(Command command) { return config::Config(schema_for(command)); }

Map config_with(const std::vector<std::pair<std::string, std::string>>& values, Command command = Command::fit) {
  auto config = defaults(command);
  for (const auto& [key, text] : values) config.set(key, text);
  return config.to_map();
}

// Text that means another value than the default.
std::string other_value(const config::Setting& setting) {
  const auto& range = setting.range;
  switch (setting.type) {
    case config::Type::boolean: return setting.fallback.as_bool() ? "false" : "true";
    case config::Type::integer: {
      const double base = setting.fallback.is_null() ? 6 : setting.fallback.as_double();
      return std::to_string(static_cast<std::int64_t>(base) + 1);
    }
    case config::Type::real: return range.contains(0.37) ? "0.37" : "none";
    case config::Type::duration: return "7";
    case config::Type::text:
      for (const auto& choice : setting.choices) {
        if (Value(choice) != setting.fallback) return choice;
      }
      return setting.choices.empty() ? "other" : "";
    case config::Type::list_of_texts: return "other";
    case config::Type::list_of_integers: return "7,8";
  }
  return "";
}

// No setting is accepted and then forgotten.
TEST(Settings, EverySettingReachesTheTrainingPart) {
  for (const Command command : {Command::fit, Command::test, Command::predict, Command::tune}) {
    const Settings plain = read_settings(defaults(command).to_map());
    for (const auto& setting : schema_for(command)->settings()) {
      const std::string text = other_value(setting);
      if (text.empty()) {
        EXPECT_EQ(setting.key, "model.name") << "the only setting with a single choice";
        continue;
      }
      EXPECT_NE(read_settings(config_with({{setting.key, text}}, command)), plain)
          << name_of(command) << " --" << setting.key << " " << text;
    }
  }
}

TEST(Settings, DefaultsFitTheirOwnSettings) {
  for (const auto& setting : schema_for(Command::tune)->settings()) {
    if (!setting.fallback.is_null()) {
      EXPECT_NO_THROW(config::check(setting, setting.fallback)) << setting.key;
    }
    EXPECT_FALSE(setting.help.empty()) << setting.key;
    EXPECT_TRUE(known_to_any_command(setting.key));
  }
  EXPECT_FALSE(known_to_any_command("optimizer.lrr"));
}

TEST(Settings, DependentDefaults) {
  EXPECT_EQ(read_settings(config_with({})).optimizer.weight_decay, 0.01);
  EXPECT_EQ(read_settings(config_with({{"optimizer.name", "adam"}})).optimizer.weight_decay, 0);
  EXPECT_EQ(
      read_settings(config_with({{"optimizer.name", "sgd"}, {"optimizer.weight_decay", "0.5"}})).optimizer.weight_decay,
      0.5);
  EXPECT_EQ(read_settings(config_with({{"trainer.max_epochs", "33"}})).scheduler.T_max, 33);
  EXPECT_EQ(read_settings(config_with({{"scheduler.T_max", "9"}})).scheduler.T_max, 9);
  using Widths = std::vector<std::int64_t>;
  EXPECT_EQ(read_settings(config_with({})).model.widths, (Widths{128, 128}));
  EXPECT_EQ(read_settings(config_with({{"model.layers", "0"}})).model.widths, Widths{});
  EXPECT_EQ(read_settings(config_with({{"model.widths", "5,6,7"}})).model.widths, (Widths{5, 6, 7}));

  const auto tune = [](const std::vector<std::pair<std::string, std::string>>& values) {
    return read_fixed_settings(config_with(values, Command::tune)).tune;
  };
  EXPECT_EQ(tune({}).timeout, 60);
  EXPECT_EQ(tune({}).trials, std::nullopt);
  EXPECT_EQ(tune({{"tune.trials", "5"}}).timeout, std::nullopt);
  EXPECT_EQ(tune({{"tune.trials", "5"}, {"tune.timeout", "2m"}}).timeout, 120);
}

TEST(Settings, ContradictionsAreErrors) {
  EXPECT_THROW(read_settings(config_with({{"data.val_fraction", "0.5"}, {"data.test_fraction", "0.5"}})), Error);
  EXPECT_THROW(read_settings(config_with(
                   {{"optimizer.name", "sgd"}, {"optimizer.nesterov", "true"}, {"optimizer.momentum", "0"}})),
               Error);
}

TEST(Settings, SettingsWithoutEffectAreTold) {
  auto config = defaults(Command::fit);
  EXPECT_TRUE(settings_without_effect(config).empty());
  config.set("optimizer.momentum", "0.9");
  EXPECT_TRUE(settings_without_effect(config).empty()) << "the default need not be told";
  config.set("optimizer.momentum", "0.5");
  config.set("scheduler.gamma", "0.5");
  config.set("model.widths", "3");
  config.set("model.layers", "1");
  EXPECT_EQ(settings_without_effect(config),
            (std::vector<std::string>{"optimizer.momentum (command line) has no effect: optimizer.name is adamw",
                                      "scheduler.gamma (command line) has no effect: scheduler.name is cosine",
                                      "model.layers (command line) has no effect: model.widths is set"}));
  config.set("optimizer.name", "sgd");
  config.set("scheduler.name", "step");
  EXPECT_EQ(settings_without_effect(config).size(), 1U);
}

std::vector<std::string> keys_of(const std::vector<SearchedSetting>& searched) {
  std::vector<std::string> keys;
  for (const auto& entry : searched) keys.push_back(entry.key);
  return keys;
}

bool has(const std::vector<std::string>& keys, const std::string& key) {
  return std::find(keys.begin(), keys.end(), key) != keys.end();
}

TEST(Search, TheDefaultSpaceCoversTheHyperparametersAndFitsTheSettings) {
  const auto searched = searched_settings(config_with({}, Command::tune), {});
  const auto keys = keys_of(searched);
  for (const char* key :
       {"optimizer.lr", "data.batch_size", "optimizer.name", "model.layers", "model.width", "model.activation",
        "model.dropout", "optimizer.weight_decay", "model.init", "data.noise", "data.mixup", "scheduler.name",
        "scheduler.gamma", "trainer.early_stopping_patience", "model.skip", "model.norm"}) {
    EXPECT_TRUE(has(keys, key)) << key;
  }
  for (const auto& entry : searched) {
    const auto& setting = schema_for(Command::tune)->at(entry.key);
    EXPECT_TRUE(is_distribution_for(setting, entry.distribution.to_text())) << entry.key;
    if (entry.condition != nullptr) {
      EXPECT_TRUE(has(keys, entry.condition->on));
    }
  }
}

TEST(Search, WhatIsGivenIsNotSearched) {
  const auto config = config_with({{"optimizer.name", "adam"}, {"model.widths", "8"}}, Command::tune);
  const auto keys = keys_of(searched_settings(config, {{"optimizer.name", "x"}, {"model.widths", "x"}}));
  for (const char* key : {"optimizer.name", "optimizer.momentum", "model.layers", "model.width"}) {
    EXPECT_FALSE(has(keys, key)) << key;
  }
  EXPECT_TRUE(has(keys, "optimizer.lr"));
  const auto sgd = config_with({{"optimizer.name", "sgd"}}, Command::tune);
  EXPECT_TRUE(has(keys_of(searched_settings(sgd, {{"optimizer.name", "x"}})), "optimizer.momentum"));

  Map everything;
  for (const auto& setting : schema_for(Command::tune)->settings()) everything[setting.key] = "x";
  EXPECT_THROW(searched_settings(config, everything), Error);
}

TEST(Search, GivenDistributionsAreTheWholeSpace) {
  Map config = config_with({}, Command::tune);
  set_nested(config, "optimizer.lr", "loguniform(1e-4,1e-1)");
  set_nested(config, "model.layers", "randint(1,4)");
  const auto searched = searched_settings(config, {{"optimizer.lr", "command line"}});
  EXPECT_EQ(keys_of(searched), (std::vector<std::string>{"model.layers", "optimizer.lr"}));

  tune::FixedTrial trial({{"optimizer.lr", 0.05}, {"model.layers", 3}});
  const auto settings = read_settings(settings_of_trial(trial, searched, config));
  EXPECT_EQ(settings.optimizer.lr, 0.05);
  EXPECT_EQ(settings.model.widths.size(), 3U);
}

TEST(Search, ConditionalSettingsFollowTheDraw) {
  // Momentum stands before the name here; it is drawn after it all the same, and for sgd alone.
  Map wanted = config_with({}, Command::tune);
  set_nested(wanted, "optimizer.momentum", "uniform(0,0.8)");
  set_nested(wanted, "optimizer.beta1", "uniform(0.5,0.8)");
  set_nested(wanted, "optimizer.name", "choice(adam,sgd)");
  const auto space = searched_settings(wanted, {});
  EXPECT_EQ(keys_of(space), (std::vector<std::string>{"optimizer.name", "optimizer.momentum", "optimizer.beta1"}));
  tune::FixedTrial adam({{"optimizer.name", "adam"}, {"optimizer.beta1", 0.6}});
  auto settings = read_settings(settings_of_trial(adam, space, wanted));
  EXPECT_EQ(settings.optimizer.momentum, 0.9);
  EXPECT_EQ(settings.optimizer.beta1, 0.6);
  tune::FixedTrial sgd({{"optimizer.name", "sgd"}, {"optimizer.momentum", 0.25}});
  settings = read_settings(settings_of_trial(sgd, space, wanted));
  EXPECT_EQ(settings.optimizer.momentum, 0.25);
  EXPECT_EQ(settings.optimizer.beta1, 0.9);
}

TEST(Search, GridsAreFinite) {
  const auto grid = grid_of({{"model.layers", tune::randint(1, 4)},
                             {"model.dropout", tune::quniform(0, 0.3, 0.1)},
                             {"model.norm", tune::choice({"none", "batch"})},
                             {"model.width", tune::qrandint(16, 64, 16)}});
  ASSERT_EQ(grid.size(), 4U);
  EXPECT_EQ(grid[0], (std::pair<std::string, List>("model.layers", {1, 2, 3})));
  ASSERT_EQ(grid[1].second.size(), 4U);
  EXPECT_NEAR(grid[1].second[3].as_double(), 0.3, 1e-12);
  EXPECT_EQ(grid[2].second, (List{"none", "batch"}));
  EXPECT_EQ(grid[3].second, (List{16, 32, 48, 64}));
  EXPECT_THROW(grid_of({{"optimizer.lr", tune::uniform(0.1, 0.2)}}), Error);
  EXPECT_THROW(grid_of({{"model.width", tune::randint(1, 5000)}}), Error);
}

TEST(Settings, NestedKeys) {
  Map map;
  set_nested(map, "a.b.c", 1);
  set_nested(map, "a.d", 2);
  EXPECT_EQ(map.to_string(), "{\"a\": {\"b\": {\"c\": 1}, \"d\": 2}}");
  ASSERT_NE(find_nested(map, "a.b.c"), nullptr);
  EXPECT_EQ(*find_nested(map, "a.b.c"), Value(1));
  EXPECT_EQ(find_nested(map, "a.x.c"), nullptr);
  EXPECT_EQ(find_nested(map, "a.d.c"), nullptr);
}

}  // namespace
}  // namespace levin::app
