#include <levin/tune/space.h>

#include <gtest/gtest.h>

#include <cmath>

namespace levin::tune {
namespace {

std::string message(std::string_view text) {
  try {
    const auto parsed = parse_distribution(text);
    return parsed ? parsed->to_text() : "nothing";
  } catch (const Error& error) {
    return error.what();
  }
}

TEST(Space, ReadsTheWords) {
  EXPECT_EQ(parse_distribution("uniform(0, 1)"), Distribution(FloatDistribution{.low = 0, .high = 1}));
  EXPECT_EQ(parse_distribution(" loguniform( 1e-5,1e-1 ) "),
            Distribution(FloatDistribution{.low = 1e-5, .high = 1e-1, .log = true}));
  EXPECT_EQ(parse_distribution("quniform(0, 1, 0.25)"),
            Distribution(FloatDistribution{.low = 0, .high = 1, .step = 0.25}));
  EXPECT_EQ(parse_distribution("randint(1, 4)"), Distribution(IntDistribution{.low = 1, .high = 3}));
  EXPECT_EQ(parse_distribution("lograndint(1, 129)"),
            Distribution(IntDistribution{.low = 1, .high = 128, .log = true}));
  EXPECT_EQ(parse_distribution("qrandint(32, 128, 32)"),
            Distribution(IntDistribution{.low = 32, .high = 128, .step = 32}));
  const auto choices = parse_distribution("choice(adam, 2, 0.5, true, null, \"two, words\", '3')");
  ASSERT_TRUE(choices.has_value());
  EXPECT_EQ(choices->choices(), (List{"adam", 2, 0.5, true, Value(), "two, words", "3"}));
  EXPECT_TRUE(choices->choices()[1].is_int());
  EXPECT_TRUE(choices->choices()[6].is_string());
}

TEST(Space, LeavesPlainSettingsAlone) {
  for (const char* text : {"adam", "0.1", "", "data(1).csv", "(1, 2)", "model(2)", "a uniform(0, 1) text"}) {
    EXPECT_EQ(parse_distribution(text), std::nullopt) << text;
  }
}

TEST(Space, SaysWhatIsWrong) {
  EXPECT_NE(message("logunifrom(1, 2)").find("did you mean \"loguniform\"?"), std::string::npos);
  EXPECT_NE(message("uniform(1)").find("uniform takes 2 arguments"), std::string::npos);
  EXPECT_NE(message("uniform(a, 2)").find("uniform takes numbers: got a"), std::string::npos)
      << message("uniform(a, 2)");
  EXPECT_NE(message("randint(1, 2.5)").find("whole numbers"), std::string::npos);
  EXPECT_NE(message("randint(3, 3)").find("excludes its upper end"), std::string::npos);
  EXPECT_NE(message("loguniform(0, 1)").find("low > 0"), std::string::npos);
  EXPECT_NE(message("uniform(2, 1)").find("low <= high"), std::string::npos);
  EXPECT_NE(message("choice()").find("at least one choice"), std::string::npos);
  EXPECT_NE(message("choice(a,,b)").find("empty argument"), std::string::npos);
  EXPECT_NE(message("choice('a)").find("quote is not closed"), std::string::npos);
}

TEST(Space, TextReadsBack) {
  for (const auto& distribution :
       {uniform(-1, 2), loguniform(1e-7, 3), quniform(0, 3, 0.5), randint(-3, 9), lograndint(1, 10), qrandint(2, 10, 4),
        choice({"adam", "two words", "true", "1e3", "null", "a\"b", "", 1, 2.5, false, Value()})}) {
    const auto back = parse_distribution(distribution.to_text());
    ASSERT_TRUE(back.has_value()) << distribution.to_text();
    EXPECT_EQ(*back, distribution) << distribution.to_text();
  }
  const auto texts = parse_distribution(choice({"1", "true"}).to_text());
  EXPECT_TRUE(texts->choices()[0].is_string());
  EXPECT_TRUE(texts->choices()[1].is_string());
}

TEST(Space, KeepsItsOrder) {
  const SearchSpace space{{"lr", loguniform(1e-4, 1e-1)}, {"width", choice({16, 32, 64})}, {"a", uniform(0, 1)}};
  std::vector<std::string> names;
  for (const auto& entry : space) names.push_back(entry.first);
  EXPECT_EQ(names, (std::vector<std::string>{"lr", "width", "a"}));
  EXPECT_EQ(space.at("width").size(), 3u);
  EXPECT_THROW(space.at("widht"), Error);
  EXPECT_THROW((SearchSpace{{"x", uniform(0, 1)}, {"x", uniform(0, 2)}}), Error);
  const SearchSpace one{{"lr", uniform(0, 1)}};
  EXPECT_EQ(one.size(), 1u);
}

TEST(Distribution, InternalFormsAndBack) {
  const Distribution kinds = choice({Value(), true, 1, 2.5, "a"});
  for (std::size_t i = 0; i < kinds.size(); ++i) {
    const Value& value = kinds.choices()[i];
    EXPECT_EQ(kinds.to_internal(value), static_cast<double>(i)) << value;  // an int 1 is not the bool true
    EXPECT_EQ(kinds.to_external(static_cast<double>(i)), value);
  }
  EXPECT_THROW(kinds.to_internal("b"), Error);
  EXPECT_THROW(kinds.to_external(5), Error);
  EXPECT_TRUE(randint(0, 9).to_external(3).is_int());
  EXPECT_EQ(uniform(0, 1).to_internal(1), 1.0);
  EXPECT_THROW(uniform(0, 1).to_internal("1"), Error);
  EXPECT_THROW(uniform(0, 1).to_internal(std::nan("")), Error);
  EXPECT_THROW(loguniform(1, 2).to_internal(-1.0), Error);
}

TEST(Distribution, RefusesWhatCannotBe) {
  EXPECT_THROW(Distribution(IntDistribution{.low = 0, .high = 8, .log = true}), Error);
  EXPECT_THROW(Distribution(IntDistribution{.low = 1, .high = 8, .log = true, .step = 2}), Error);
  EXPECT_THROW(Distribution(IntDistribution{.low = 0, .high = 8, .step = 0}), Error);
  EXPECT_THROW(Distribution(FloatDistribution{.low = 0, .high = 1, .step = -0.5}), Error);
  EXPECT_THROW(choice(List{Value(List{1})}), Error);
  EXPECT_THROW(Distribution::from_json("{\"name\": \"Beta\", \"attributes\": {}}"), Error);
  EXPECT_THROW(Distribution::from_json("[]"), Error);
}

}  // namespace
}  // namespace levin::tune
