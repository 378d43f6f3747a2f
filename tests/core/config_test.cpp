#include <levin/core/config.h>
#include <levin/core/error.h>
#include <levin/core/rng.h>

#include <gtest/gtest.h>

#include <chrono>
#include <cmath>
#include <filesystem>
#include <fstream>

namespace levin::config {
namespace {

std::shared_ptr<const Schema> schema() {
  static const auto instance = std::make_shared<const Schema>(std::vector<Setting>{
      {.key = "seed", .type = Type::integer, .fallback = 0, .range = Range::at_least(0)},
      {.key = "data.path", .type = Type::text, .aliases = {"data"}},
      {.key = "data.drop", .type = Type::list_of_texts, .fallback = List{}},
      {.key = "data.fraction", .type = Type::real, .fallback = 0.15, .range = Range::below(0, 1)},
      {.key = "model.widths", .type = Type::list_of_integers, .range = Range::at_least(1)},
      {.key = "optimizer.name", .fallback = "adamw", .choices = {"sgd", "adam", "adamw"}},
      {.key = "optimizer.lr", .type = Type::real, .fallback = 1e-3, .range = Range::above(0)},
      {.key = "optimizer.nesterov", .type = Type::boolean, .fallback = false},
      {.key = "tune.timeout", .type = Type::duration, .range = Range::above(0)},
      {.key = "tune.name", .type = Type::text},
  });
  return instance;
}

Config from(const std::string& yaml, Rules rules = {}) {
  Config config(schema(), std::move(rules));
  config.parse_yaml(yaml, "c.yaml");
  return config;
}

std::string error_of(const std::string& yaml) {
  try {
    from(yaml);
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

std::string set_error(const std::string& key, const std::string& text) {
  try {
    Config config(schema());
    config.set(key, text);
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

Value set(const std::string& key, const std::string& text) {
  Config config(schema());
  config.set(key, text);
  return config.get(key);
}

TEST(Config, DefaultsHoldUntilSomethingIsSet) {
  Config config(schema());
  EXPECT_EQ(config.get<double>("optimizer.lr"), 1e-3);
  EXPECT_TRUE(config.get("model.widths").is_null());
  EXPECT_FALSE(config.is_set("optimizer.lr"));
  config.set("optimizer.lr", "0.001");
  EXPECT_TRUE(config.is_set("optimizer.lr"));
  EXPECT_EQ(config.where("optimizer.lr"), "command line");
}

TEST(Config, LaterSettingsWinAndRememberWhere) {
  Config config(schema());
  config.parse_yaml("optimizer:\n  lr: 0.1\n  name: sgd\n", "a.yaml");
  config.parse_yaml("optimizer.lr: 0.2\nseed: 3\n", "b.yaml");
  EXPECT_EQ(config.get<double>("optimizer.lr"), 0.2);
  EXPECT_EQ(config.where("optimizer.lr"), "b.yaml:1:15");
  EXPECT_EQ(config.get<std::string>("optimizer.name"), "sgd");
  EXPECT_EQ(config.where("optimizer.name"), "a.yaml:3:9");
  config.set("seed", "4");
  EXPECT_EQ(config.get<int>("seed"), 4);
}

TEST(Config, AKeyMayBeASettingAndAGroup) {
  EXPECT_EQ(from("data: x.csv\n").get<std::string>("data.path"), "x.csv");
  const auto config = from("data:\n  path: y.csv\n  fraction: 0.5\n");
  EXPECT_EQ(config.get<std::string>("data"), "y.csv");
  EXPECT_EQ(config.get<double>("data.fraction"), 0.5);
  EXPECT_NO_THROW(from("tune:\noptimizer: ~\n")) << "an empty group sets nothing";
}

TEST(Config, TextBecomesTheSettingsType) {
  EXPECT_TRUE(set("seed", "1e3").is_int());
  EXPECT_EQ(set("seed", " 1e3 ").as_int(), 1000);
  EXPECT_TRUE(set("optimizer.lr", "1").is_float());
  EXPECT_EQ(set("optimizer.lr", "+1e-4").as_double(), 1e-4);
  EXPECT_EQ(set("optimizer.nesterov", "Yes"), Value(true));
  EXPECT_EQ(set("optimizer.nesterov", "0"), Value(false));
  EXPECT_EQ(set("model.widths", "128, 64"), Value(List{128, 64}));
  EXPECT_EQ(set("model.widths", "[128]"), Value(List{128}));
  EXPECT_TRUE(set("model.widths", "null").is_null());
  EXPECT_EQ(set("data.drop", "id,name of x"), Value(List{"id", "name of x"}));
  EXPECT_EQ(set("data.drop", ""), Value(List{}));
  EXPECT_EQ(set("data.path", "true"), Value("true"));
  EXPECT_EQ(from("data: 2020\ndata.drop: [no, 1]\n").get("data.drop"), Value(List{"no", "1"}));
}

TEST(Config, Durations) {
  const auto seconds = [](const char* text) { return set("tune.timeout", text).as_double(); };
  EXPECT_EQ(seconds("90"), 90);
  EXPECT_EQ(seconds("90s"), 90);
  EXPECT_EQ(seconds("1.5h"), 5400);
  EXPECT_EQ(seconds("1h30m5s"), 5405);
  EXPECT_EQ(seconds("10min"), 600);
  EXPECT_EQ(seconds("2d"), 172800);
  for (const char* bad : {"5x", "m", "10m1h", "1m2", "-5s", "0", "5ss", "nan"}) {
    EXPECT_NE(set_error("tune.timeout", bad), "no error") << bad;
  }
}

TEST(Config, ErrorsSayWhatWhereAndWhatToDo) {
  EXPECT_EQ(error_of("optimizer:\n  lrr: 1\n"),
            "there is no setting \"optimizer.lrr\" (c.yaml:2:3); did you mean \"optimizer.lr\"?");
  EXPECT_EQ(set_error("lr", "1"), "there is no setting \"lr\" (command line); did you mean \"optimizer.lr\"?");
  EXPECT_EQ(error_of("optimizer:\n  lr: fast\n"),
            "optimizer.lr must be a number above 0: got \"fast\" (c.yaml:2:7); the default is 0.001");
  EXPECT_EQ(set_error("optimizer.lr", "0"),
            "optimizer.lr must be a number above 0: got \"0\" (command line); the default is 0.001");
  EXPECT_EQ(set_error("data.fraction", "1"),
            "data.fraction must be a number in [0, 1): got \"1\" (command line); the default is 0.15");
  EXPECT_EQ(set_error("optimizer.name", "adamv"),
            "optimizer.name has no such choice: got \"adamv\" (command line); did you mean \"adam\"?");
  EXPECT_EQ(
      set_error("optimizer", "adam"),
      "\"optimizer\" is a group of settings, not a setting (command line); it has optimizer.name, optimizer.lr and "
      "optimizer.nesterov");
  EXPECT_EQ(
      error_of("model.widths: [64, 0]\n"),
      "model.widths must be a list of whole numbers of at least 1 such as 64,32: got \"0\" (c.yaml:1:20); leave it out "
      "to have none");
  EXPECT_NE(error_of("optimizer.lr: [1, 2]\n").find("must be a number above 0: got a list"), std::string::npos);
  EXPECT_NE(error_of("optimizer.lr: {a: 1}\n").find("got a map (c.yaml:1:15)"), std::string::npos);
  EXPECT_NE(error_of("optimizer.lr:\n").find("got nothing (c.yaml:1:1)"), std::string::npos);
  EXPECT_NE(error_of("seed: 1.5\n").find("a whole number of at least 0: got \"1.5\""), std::string::npos);
  EXPECT_NE(set_error("optimizer.lr", "inf"), "no error");
  EXPECT_NE(set_error("optimizer.lr", "nan"), "no error");
  EXPECT_NE(set_error("seed", "99999999999999999999"), "no error");
}

TEST(Config, BadYamlIsAnErrorWithItsPlace) {
  EXPECT_NE(error_of("a: [1, 2\n").find("the file is not valid YAML"), std::string::npos);
  EXPECT_NE(error_of("seed: 1\n\tx: 2\n").find("c.yaml:2:"), std::string::npos);
  EXPECT_NE(error_of("- 1\n- 2\n").find("the file must hold settings by key (c.yaml:1:1)"), std::string::npos);
  EXPECT_NE(error_of("seed: 1\nseed: 2\n").find("the key \"seed\" stands twice (c.yaml:2:1)"), std::string::npos);
  EXPECT_NE(error_of("seed: 1\n---\nseed: 2\n").find("several YAML documents"), std::string::npos);
  EXPECT_NE(error_of("? [a, b]\n: 1\n").find("a key must be a text"), std::string::npos);
  EXPECT_NE(error_of("seed: *x\n").find("not valid YAML"), std::string::npos);
  EXPECT_EQ(error_of(""), "no error");
  EXPECT_EQ(error_of("# nothing\n"), "no error");
}

// Aliases of aliases, self-references, and nesting without end: an Error, at once.
TEST(Config, HostileYamlIsBounded) {
  std::string bomb = "a0: &a0 [1,1,1,1,1,1,1,1,1,1]\n";
  for (int i = 1; i < 20; ++i) {
    const auto last = "*a" + std::to_string(i - 1);
    bomb += "a" + std::to_string(i) + ": &a" + std::to_string(i) + " [" + last;
    for (int j = 0; j < 9; ++j) bomb += "," + last;
    bomb += "]\n";
  }
  std::string wide = "data.drop: &x [" + std::string(20000, ',') + "]\n";
  std::string many = "data.drop: [a";
  for (int i = 0; i < 20000; ++i) many += ",a";
  const auto start = std::chrono::steady_clock::now();
  for (const std::string& text :
       {bomb, wide, many + "]\n", std::string("optimizer: &o {optimizer: *o}\n"),
        "data.drop: " + std::string(100000, '['), std::string(100000, '{'), std::string(5000, '-') + " x",
        std::string("&a ") + std::string(3000, '*'), std::string("data: &d\n  data: *d\n")}) {
    EXPECT_NE(error_of(text), "no error") << text.substr(0, 40);
  }
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(10));
}

TEST(Config, RulesTakeTextsAndPassKeysOver) {
  Rules rules;
  rules.takes_text = [](const Setting& setting, const std::string& text) {
    if (!text.starts_with("uniform(")) return false;
    if (setting.key == "seed") throw Error("a seed cannot be searched");
    return true;
  };
  rules.passes_over = [](const std::string& key) { return key == "other" || key == "other.x"; };
  const auto config = from("optimizer.lr: uniform(1,2)\nother: {x: 1}\n", rules);
  EXPECT_EQ(config.get("optimizer.lr"), Value("uniform(1,2)"));
  try {
    from("\nseed: uniform(1,2)\n", rules);
    FAIL();
  } catch (const Error& error) {
    EXPECT_STREQ(error.what(), "a seed cannot be searched (c.yaml:2:7)");
  }
  EXPECT_THROW(from("othre: 1\n", rules), Error);
}

TEST(Config, CheckHoldsValuesToTheSetting) {
  const auto& lr = schema()->at("optimizer.lr");
  EXPECT_TRUE(check(lr, 1).is_float());
  EXPECT_THROW(check(lr, "0.1"), Error);
  EXPECT_THROW(check(lr, -1.0), Error);
  EXPECT_THROW(check(schema()->at("optimizer.name"), "x"), Error);
  EXPECT_EQ(check(schema()->at("model.widths"), List{1, 2.0}), Value(List{1, 2}));
  EXPECT_TRUE(check(schema()->at("model.widths"), nullptr).is_null());
}

TEST(Config, YamlReadsBackToTheSameConfiguration) {
  const std::vector<std::string> pieces = {"a", "\"", "\\",       ":", " ", "#", "'",  "null", "true", "1e5", "\n",
                                           "-", "~",  "\xc3\xa9", "{", "%", "@", "\t", "\x01", "no",   "0x1"};
  for (std::uint64_t seed = 0; seed < 300; ++seed) {
    Rng rng(seed, "config");
    const auto text = [&] {
      std::string out;
      for (std::uint64_t n = rng.below(4); n > 0; --n) out += pieces[rng.below(pieces.size())];
      return out;
    };
    Config config(schema());
    // A text of just "null" means none on the command line; elsewhere it is kept.
    const std::string path = text();
    if (rng.below(3) > 0) config.set("data.path", path);
    if (rng.below(2)) config.set("seed", std::to_string(rng.below(1000)));
    if (rng.below(2)) config.set("optimizer.lr", format_double(std::pow(10, rng.uniform(-300, 300))));
    if (rng.below(2)) config.set("data.drop", "x, no,true,~,12,a b");
    if (rng.below(2)) config.set("model.widths", "7,8");
    if (rng.below(2)) config.set("optimizer.nesterov", "on");
    if (rng.below(2)) config.set("tune.timeout", std::to_string(rng.below(100000) + 1) + "m");
    const std::string yaml = config.to_yaml();
    const auto again = from(yaml);
    EXPECT_EQ(again.to_map(), config.to_map()) << yaml;
    EXPECT_EQ(again.to_yaml(), yaml);
  }
}

TEST(Config, DumpIsGroupedInOrder) {
  Config config(schema());
  config.set("optimizer.lr", "1e-5");
  config.set("data", "my file.csv");
  EXPECT_EQ(
      config.to_yaml(),
      "seed: 0\ndata:\n  path: \"my file.csv\"\n  drop: []\n  fraction: 0.15\nmodel:\n  widths: null\noptimizer:\n"
      "  name: adamw\n  lr: 1.0e-05\n  nesterov: false\ntune:\n  timeout: null\n  name: null\n");
  EXPECT_EQ(config.to_map().at("optimizer").as_map().get<double>("lr"), 1e-5);
}

TEST(Config, ReadsFiles) {
  const auto path = std::filesystem::temp_directory_path() / "levin_config_test.yaml";
  std::ofstream(path) << "seed: 7\n";
  Config config(schema());
  config.read_yaml(path);
  EXPECT_EQ(config.get<int>("seed"), 7);
  EXPECT_EQ(config.where("seed"), path.string() + ":1:7");
  std::ofstream(path) << std::string(2 << 20, '#');
  EXPECT_THROW(config.read_yaml(path), Error);
  std::filesystem::remove(path);
  EXPECT_THROW(config.read_yaml(path), Error);
}

}  // namespace
}  // namespace levin::config
