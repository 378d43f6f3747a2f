#include <levin/core/json.h>

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace levin {
namespace {

TEST(Json, WritesAsPythonDoes) {
  const Map map{{"lr", 0.1},  {"layers", List{1, 2}},   {"none", Value()},
                {"on", true}, {"name", "a\"b\\\n\x01"}, {"e", 1e-5}};
  EXPECT_EQ(to_json(map),
            R"({"lr": 0.1, "layers": [1, 2], "none": null, "on": true, "name": "a\"b\\\n\u0001", "e": 1e-05})");
  EXPECT_EQ(to_json(2.0), "2.0");
  EXPECT_EQ(to_json(List{}), "[]");
  EXPECT_EQ(to_json(Map{}), "{}");
}

TEST(Json, KeepsNonFiniteNumbers) {
  const double inf = std::numeric_limits<double>::infinity();
  EXPECT_EQ(to_json(List{inf, -inf, std::nan("")}), "[Infinity, -Infinity, NaN]");
  const Value back = parse_json("[Infinity, -Infinity, NaN]");
  EXPECT_EQ(back.as_list()[0].as_double(), inf);
  EXPECT_EQ(back.as_list()[1].as_double(), -inf);
  EXPECT_TRUE(std::isnan(back.as_list()[2].as_double()));
}

TEST(Json, ReadsWhatItWrites) {
  const Map map{
      {"a", List{1, 2.5, "x", Value(), false, Map{{"deep", List{List{}}}}}}, {"big", 1e300}, {"tiny", 5e-324}};
  EXPECT_EQ(parse_json(to_json(map)), Value(map));
}

TEST(Json, TellsIntsFromFloats) {
  EXPECT_TRUE(parse_json("3").is_int());
  EXPECT_TRUE(parse_json("3.0").is_float());
  EXPECT_TRUE(parse_json("3e0").is_float());
  EXPECT_EQ(parse_json("-9223372036854775808").as_int(), std::numeric_limits<std::int64_t>::min());
  EXPECT_TRUE(parse_json("9223372036854775808").is_float());  // beyond 64 bits
  EXPECT_EQ(parse_json("1e999").as_double(), std::numeric_limits<double>::infinity());
}

TEST(Json, ReadsEscapesAndSurrogatePairs) {
  EXPECT_EQ(parse_json(R"("\u00fc\u20ac\ud83d\ude00\t\/")").as_string(), "\xC3\xBC\xE2\x82\xAC\xF0\x9F\x98\x80\t/");
  EXPECT_EQ(parse_json(R"("\ud800x")").as_string(), "\xEF\xBF\xBDx");  // half a pair
}

TEST(Json, ReplacesInvalidUtf8) {
  EXPECT_EQ(to_json(std::string("a\xFF\xC3\xBC\xC0\xAF")), "\"a\xEF\xBF\xBD\xC3\xBC\xEF\xBF\xBD\xEF\xBF\xBD\"");
}

TEST(Json, LastOfEqualKeysWins) { EXPECT_EQ(parse_json(R"({"a": 1, "a": 2})").as_map().at("a").as_int(), 2); }

std::string message(std::string_view text) {
  try {
    parse_json(text);
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

TEST(Json, SaysWhereItIsWrong) {
  EXPECT_NE(message("{\"a\": 1,\n  b}").find("line 2, column 3"), std::string::npos) << message("{\"a\": 1,\n  b}");
  for (const char* text : {"", "[1,]", "{\"a\" 1}", "[1 2]", "01", "1.", ".5", "1e", "tru", "\"abc", "\"\\x\"",
                           "\"\\u12g4\"", "\"\\ud800\\u0041\"", "1 2", "-", "\"a\nb\"", "{1: 2}", "+1"}) {
    EXPECT_NE(message(text), "no error") << text;
  }
}

TEST(Json, RefusesBottomlessNesting) {
  EXPECT_NE(message(std::string(100000, '[')).find("deeper"), std::string::npos);
  const std::string fine = std::string(200, '[') + std::string(200, ']');
  EXPECT_EQ(message(fine), "no error");
}

}  // namespace
}  // namespace levin
