#include <levin/core/error.h>
#include <levin/data/table.h>

#include <gtest/gtest.h>
#include <torch/torch.h>

#include <cmath>

namespace levin {
namespace {

Table parse(const std::string& text) { return Table(csv::parse(text)); }

const char* const kMixed = "a,b,c,d\n1,0.5,x,1\n2,,y,\n3,2.5,,3\n-4,1,x,4\n";

TEST(Table, ColumnsBecomeTensorsOfTheirKind) {
  const auto table = parse(kMixed);
  EXPECT_EQ(table.rows(), 4);
  EXPECT_EQ(table.columns(), (std::vector<std::string>{"a", "b", "c", "d"}));
  EXPECT_TRUE(torch::equal(table.column("a"), torch::tensor({1, 2, 3, -4}, torch::kLong)));
  const auto b = table.column("b");
  EXPECT_EQ(b.scalar_type(), torch::kDouble);
  EXPECT_EQ(b[0].item<double>(), 0.5);
  EXPECT_TRUE(std::isnan(b[1].item<double>()));
  EXPECT_TRUE(torch::equal(table.column("c"), torch::tensor({0, 1, -1, 0}, torch::kLong)));
  EXPECT_EQ(table.categories("c"), (std::vector<std::string>{"x", "y"}));
  const auto d = table.column("d");  // whole numbers with a hole
  EXPECT_EQ(d.scalar_type(), torch::kDouble);
  EXPECT_TRUE(std::isnan(d[1].item<double>()));
  EXPECT_EQ(table.missing("d"), 1);
  EXPECT_EQ(table.kind("d"), csv::Kind::integer);
}

TEST(Table, DropsSelectsAndTakes) {
  const auto table = parse(kMixed);
  using Names = std::vector<std::string>;
  EXPECT_EQ(table.drop("b").columns(), (Names{"a", "c", "d"}));
  EXPECT_EQ(table.drop({"b", "a"}).columns(), (Names{"c", "d"}));
  EXPECT_EQ(table.drop(Names{"d"}).columns(), (Names{"a", "b", "c"}));
  EXPECT_EQ(table.select({"d", "a"}).columns(), (Names{"d", "a"}));
  EXPECT_EQ(table.select("c").columns(), Names{"c"});
  EXPECT_EQ(table.columns().size(), 4u);

  const auto some = table.take(std::vector<int64_t>{3, 1, 3});
  EXPECT_EQ(some.rows(), 3);
  EXPECT_TRUE(torch::equal(some.column("a"), torch::tensor({-4, 2, -4}, torch::kLong)));
  EXPECT_TRUE(torch::equal(some.column("c"), torch::tensor({0, 1, 0}, torch::kLong)));
  EXPECT_EQ(some.missing("c"), 0);
  EXPECT_EQ(some.missing("b"), 1);
}

TEST(Table, ToTensorKeepsRowsAndColumns) {
  const auto x = parse("a,b\n1,0.5\n2,-1.5\n3,2\n").to_tensor();
  EXPECT_EQ(x.scalar_type(), torch::kFloat);
  EXPECT_TRUE(torch::equal(x, torch::tensor({{1.0f, 0.5f}, {2.0f, -1.5f}, {3.0f, 2.0f}})));
}

TEST(Table, ErrorsNameTheColumn) {
  const auto table = parse(kMixed);
  auto message = [](auto code) -> std::string {
    try {
      code();
    } catch (const Error& error) {
      return error.what();
    }
    return "";
  };
  EXPECT_NE(message([&] {
              table.drop({"a", "b"}).to_tensor();
            }).find("\"c\", with values such as \"x\""),
            std::string::npos);
  EXPECT_NE(message([&] { table.drop("c").to_tensor(); }).find("\"b\", missing in 1 of 4 rows"), std::string::npos);
  EXPECT_NE(message([&] { table.drop("c").to_tensor(); }).find("TablePreprocessor"), std::string::npos);
  const auto iris = parse("length,width\n1,2\n");
  EXPECT_NE(message([&] { iris.column("widht"); }).find("did you mean \"width\"?"), std::string::npos);
  EXPECT_NE(message([&] { iris.drop("lengt"); }).find("did you mean \"length\"?"), std::string::npos);
  EXPECT_THROW(iris.select({"width", "width"}), Error);
  EXPECT_THROW(iris.categories("width"), Error);
  EXPECT_THROW(iris.take(std::vector<int64_t>{1}), Error);
}

TEST(Table, ReadsDigits) {
  const auto table = read_csv(LEVIN_SOURCE_DIR "/data/digits/digits.csv");
  const auto y = table.column("target").to(torch::kLong);
  const auto x = table.drop("target").to_tensor() / 16;
  EXPECT_EQ(x.sizes(), (std::vector<int64_t>{1797, 64}));
  EXPECT_EQ(y.min().item<int64_t>(), 0);
  EXPECT_EQ(y.max().item<int64_t>(), 9);
  EXPECT_EQ(x.max().item<float>(), 1);
}

}  // namespace
}  // namespace levin
