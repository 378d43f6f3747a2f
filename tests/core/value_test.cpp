#include <levin/core/value.h>

#include <gtest/gtest.h>

#include <cmath>

namespace levin {
namespace {

TEST(Value, KeepsTypesApart) {
  EXPECT_TRUE(Value(true).is_bool());
  EXPECT_TRUE(Value(1).is_int());
  EXPECT_TRUE(Value(1.0).is_float());
  EXPECT_TRUE(Value("x").is_string());
  EXPECT_TRUE(Value().is_null());
  EXPECT_EQ(Value(1), Value(1.0));
  EXPECT_NE(Value(1), Value(true));
}

TEST(Value, MapKeepsOrderAndNamesTheNearestKey) {
  Map map{{"width", 64}, {"lr", 0.1}, {"dropout", 0}};
  map["width"] = 32;
  EXPECT_EQ(map.to_string(), R"({"width": 32, "lr": 0.1, "dropout": 0})");
  EXPECT_EQ(map.get<int>("width"), 32);
  EXPECT_DOUBLE_EQ(map.get<double>("dropout"), 0.0);
  EXPECT_EQ(map.get("missing", 5), 5);
  try {
    map.at("drop_out");
    FAIL();
  } catch (const Error& error) {
    EXPECT_STREQ(error.what(), "there is no key \"drop_out\"; did you mean \"dropout\"?");
  }
}

TEST(Value, WrongTypeSaysWhatWasFoundAndWhere) {
  Map map{{"lr", "fast"}};
  try {
    map.get<double>("lr");
    FAIL();
  } catch (const Error& error) {
    EXPECT_STREQ(error.what(), "expected a number: got string fast (key \"lr\")");
  }
  EXPECT_THROW(Value(1.5).as<int>(), Error);
  EXPECT_THROW(Value(300).as<signed char>(), Error);
  EXPECT_EQ(Value(2.0).as<int>(), 2);
}

TEST(Value, FloatsReadBackExactly) {
  for (double x : {0.1, 1e-5, 1.0, -0.0, 1e300, 5e-324, 1.0 / 3}) {
    EXPECT_EQ(std::strtod(format_double(x).c_str(), nullptr), x) << format_double(x);
  }
  EXPECT_EQ(format_double(3), "3.0");
  EXPECT_EQ(format_double(std::nan("")), "nan");
  EXPECT_EQ(format_double(-INFINITY), "-inf");
}

TEST(Error, SuggestsTheNearestWord) {
  const std::vector<std::string> keys{"optimizer.lr", "optimizer.name", "trainer.max_epochs"};
  EXPECT_EQ(closest("optimiser.lr", keys), "optimizer.lr");
  EXPECT_EQ(closest("max_epoch", keys), "trainer.max_epochs");
  EXPECT_EQ(closest("xyz", keys), "");
  EXPECT_EQ(did_you_mean("zzzzz", keys), "choose from optimizer.lr, optimizer.name and trainer.max_epochs");
}

}  // namespace
}  // namespace levin
