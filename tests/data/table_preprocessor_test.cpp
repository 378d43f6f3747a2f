#include <levin/core/console.h>
#include <levin/core/error.h>
#include <levin/core/json.h>
#include <levin/data/table_preprocessor.h>
#include <levin/data/tensor_dataset.h>

#include <gtest/gtest.h>
#include <torch/torch.h>

#include <cmath>
#include <fstream>
#include <sstream>

namespace levin {
namespace {

Table parse(const std::string& text) { return Table(csv::parse(text)); }

Map golden() {
  std::ifstream file(LEVIN_SOURCE_DIR "/tests/golden/data/preprocessor.json");
  std::stringstream text;
  text << file.rdbuf();
  return parse_json(text.str()).as_map();
}

torch::Tensor to_tensor(const Value& rows) {
  std::vector<torch::Tensor> tensors;
  for (const auto& row : rows.as_list()) {
    std::vector<double> cells;
    for (const auto& cell : row.as_list()) cells.push_back(cell.as_double());
    tensors.push_back(torch::tensor(cells, torch::kDouble));
  }
  return torch::stack(tensors);
}

std::vector<int64_t> rows_of(const Map& map) {
  std::vector<int64_t> rows;
  for (const auto& row : map.at("rows").as_list()) rows.push_back(row.as_int());
  return rows;
}

std::vector<int64_t> training_rows(int64_t count) {
  std::vector<int64_t> rows;
  for (int64_t i = 0; i < count; ++i) {
    if (i % 5) rows.push_back(i);
  }
  return rows;
}

std::string message_of(const std::function<void()>& code) {
  try {
    code();
  } catch (const Error& error) {
    return error.what();
  }
  return "no Error was thrown";
}

TEST(TablePreprocessor, StandardisesAndImputesAsScikitLearn) {
  const auto expected = golden();
  const auto penguins = read_csv(LEVIN_SOURCE_DIR "/data/penguins/penguins.csv").drop({"island", "sex", "target"});
  const std::pair<const char*, Impute> strategies[] = {{"penguins_mean", Impute::mean},
                                                       {"penguins_median", Impute::median},
                                                       {"penguins_zero", Impute::zero},
                                                       {"penguins_most_frequent", Impute::most_frequent}};
  for (const auto& [name, impute] : strategies) {
    TablePreprocessor preprocessor({.impute = impute});
    preprocessor.fit(penguins.take(training_rows(penguins.rows())));
    const auto x = preprocessor.transform(penguins.take(rows_of(expected)))["x"];
    const auto wanted = to_tensor(expected.at(name)).to(torch::kFloat);
    EXPECT_TRUE(torch::allclose(x, wanted, 1e-6, 1e-6)) << name << "\n" << x << "\n" << wanted;
    const auto state = preprocessor.state();
    for (std::size_t i = 0; i < 5; ++i) {
      const auto& column = state.at("columns").as_list()[i].as_map();
      const double mean = expected.at("scaler_mean").as_list()[i].as_double();
      const double scale = expected.at("scaler_scale").as_list()[i].as_double();
      EXPECT_NEAR(column.get<double>("mean"), mean, 1e-12 * std::abs(mean));
      EXPECT_NEAR(column.get<double>("scale"), scale, 1e-12 * scale);
    }
  }
}

TEST(TablePreprocessor, EncodesTextsAsScikitLearn) {
  const auto expected = golden();
  const auto texts = read_csv(LEVIN_SOURCE_DIR "/data/penguins/penguins.csv").select({"island", "sex"});
  TablePreprocessor preprocessor;
  preprocessor.fit(texts.take(training_rows(texts.rows())));
  EXPECT_EQ(preprocessor.feature_names(), (std::vector<std::string>{"island=Biscoe", "island=Dream", "island=Torgersen",
                                                                    "sex=female", "sex=male", "sex=?"}));
  const auto x = preprocessor.transform(texts.take(rows_of(expected)))["x"];
  // scikit-learn puts the missing sex, an empty text, first.
  const auto wanted = to_tensor(expected.at("penguins_one_hot")).index_select(1, torch::tensor({0, 1, 2, 4, 5, 3}));
  EXPECT_TRUE(torch::equal(x, wanted.to(torch::kFloat)));
}

TEST(TablePreprocessor, StandardisesARegressionTargetAndGoesBack) {
  const auto expected = golden();
  const auto diabetes = read_csv(LEVIN_SOURCE_DIR "/data/diabetes/diabetes.csv");
  TablePreprocessor preprocessor({.target = "target"});
  preprocessor.fit(diabetes.take(training_rows(diabetes.rows())));
  EXPECT_EQ(preprocessor.task(), Task::regression);
  const auto shown = diabetes.take(rows_of(expected));
  const auto batch = preprocessor.transform(shown);
  EXPECT_EQ(batch["x"].sizes(), (std::vector<int64_t>{8, 10}));
  EXPECT_EQ(batch["y"].sizes(), (std::vector<int64_t>{8, 1}));
  EXPECT_TRUE(torch::allclose(batch["y"], to_tensor(expected.at("diabetes_target")).to(torch::kFloat), 1e-6, 1e-6));
  const auto back = preprocessor.inverse_target(batch["y"]).squeeze(1).to(torch::kDouble);
  EXPECT_TRUE(torch::allclose(back, shown.column("target").to(torch::kDouble), 1e-5, 1e-4));
  EXPECT_EQ(TensorDataset(batch).size(), 8);
}

TEST(TablePreprocessor, MapsClassesToIndices) {
  const auto training = parse("x,kind\n1,b\n2,a\n3,c\n4,a\n");
  TablePreprocessor preprocessor({.target = "kind"});
  const auto y = preprocessor.fit(training).transform(training)["y"];
  EXPECT_EQ(preprocessor.task(), Task::classification);
  EXPECT_EQ(preprocessor.classes(), (std::vector<std::string>{"a", "b", "c"}));
  EXPECT_TRUE(torch::equal(y, torch::tensor({1, 0, 2, 0}, torch::kLong)));
  EXPECT_FALSE(preprocessor.transform(parse("x\n5\n")).contains("y"));
  EXPECT_NE(message_of([&] { preprocessor.transform(parse("x,kind\n5,dog\n")); }).find("\"dog\""), std::string::npos);
  EXPECT_THROW(preprocessor.inverse_target(torch::zeros({1})), Error);
}

TEST(TablePreprocessor, NumbersMayNameClassesInOrderOfSize) {
  const auto training = parse("x,label\n1,10\n2,9\n3,-1\n4,9\n");
  TablePreprocessor preprocessor({.target = "label", .task = Task::classification});
  const auto y = preprocessor.fit(training).transform(training)["y"];
  EXPECT_EQ(preprocessor.classes(), (std::vector<std::string>{"-1", "9", "10"}));
  EXPECT_TRUE(torch::equal(y, torch::tensor({2, 1, 0, 1}, torch::kLong)));
}

TEST(TablePreprocessor, GuessesTheTask) {
  auto task = [](const std::string& name) {
    return guess_task(read_csv(LEVIN_SOURCE_DIR "/data/" + name + "/" + name + ".csv"), "target");
  };
  EXPECT_EQ(task("digits"), Task::classification);
  EXPECT_EQ(task("penguins"), Task::classification);
  EXPECT_EQ(task("breast_cancer"), Task::classification);
  EXPECT_EQ(task("diabetes"), Task::regression);
  EXPECT_EQ(guess_task(parse("x,y\n1,0.5\n2,1.5\n"), "y"), Task::regression);
  EXPECT_EQ(guess_task(parse("x,y\n1,0\n2,1\n"), "y"), Task::classification);
}

TEST(TablePreprocessor, ConstantColumnsBecomeZeros) {
  const auto training = parse("a,b\n0.1,5\n0.1,6\n0.1,7\n");
  const auto x = TablePreprocessor().fit(training).transform(training)["x"];
  EXPECT_TRUE(torch::isfinite(x).all().item<bool>());
  EXPECT_LT(x.select(1, 0).abs().max().item<float>(), 1e-6);
}

TEST(TablePreprocessor, KeepsUnitsWhenAsked) {
  const auto training = parse("a\n1\n\n4\n");
  const auto table = parse("a,b\n1,0\n,0\n4,0\n");
  TablePreprocessor preprocessor({.standardize = false, .impute = Impute::median});
  const auto x = preprocessor.fit(table.select("a")).transform(table)["x"];
  EXPECT_TRUE(torch::equal(x, torch::tensor({{1.0f}, {2.5f}, {4.0f}})));
}

TEST(TablePreprocessor, IndicatesMissingNumbers) {
  const auto training = parse("a,b\n1,1\n,2\n3,3\n");
  TablePreprocessor preprocessor({.standardize = false, .impute = Impute::zero, .missing_indicator = true});
  const auto x = preprocessor.fit(training).transform(training)["x"];
  EXPECT_EQ(preprocessor.feature_names(), (std::vector<std::string>{"a", "a:missing", "b"}));
  EXPECT_TRUE(torch::equal(x, torch::tensor({{1.0f, 0.0f, 1.0f}, {0.0f, 1.0f, 2.0f}, {3.0f, 0.0f, 3.0f}})));
}

TEST(TablePreprocessor, CodesLeaveZeroForTheUnknown) {
  const auto training = parse("c,a,d\nx,1,p\ny,2,q\nx,3,p\n");
  TablePreprocessor preprocessor({.categoricals = Categoricals::codes});
  preprocessor.fit(training);
  EXPECT_EQ(preprocessor.cardinalities(), (std::vector<int64_t>{3, 3}));
  EXPECT_EQ(preprocessor.feature_names(), std::vector<std::string>{"a"});
  const auto batch = preprocessor.transform(parse("a,d,c\n1,q,y\n2,p,new\n3,,x\n"));
  EXPECT_EQ(batch.names(), (std::vector<std::string>{"x", "categories"}));
  EXPECT_TRUE(torch::equal(batch["categories"], torch::tensor({{2, 2}, {0, 1}, {1, 0}}, torch::kLong)));
}

TEST(TablePreprocessor, UnseenTextsAreAllZerosOrFallInWithTheMissing) {
  const auto training = parse("full,holes\nx,p\ny,\nx,q\n");
  TablePreprocessor preprocessor;
  preprocessor.fit(training);
  const auto x = preprocessor.transform(parse("full,holes\nnew,new\n,\ny,q\n"))["x"];
  EXPECT_TRUE(torch::equal(x, torch::tensor({{0, 0, 0, 0, 1}, {0, 0, 0, 0, 1}, {0, 1, 0, 1, 0}}, torch::kFloat)));
}

TEST(TablePreprocessor, TextsThatLookLikeNumbersElsewhereAreFound) {
  const auto training = parse("grade,v\n1,0\n2,0\nA,0\n");
  TablePreprocessor preprocessor;
  preprocessor.fit(training);
  const auto x = preprocessor.transform(parse("grade,v\n2,0\n1,0\n"))["x"];
  EXPECT_EQ(preprocessor.feature_names(), (std::vector<std::string>{"grade=1", "grade=2", "grade=A", "v"}));
  EXPECT_TRUE(torch::equal(x, torch::tensor({{0, 1, 0, 0}, {1, 0, 0, 0}}, torch::kFloat)));
}

TEST(TablePreprocessor, LearnsFromTheTrainingRowsAlone) {
  const auto table = parse("a,c\n1,x\n3,y\n100,z\n");
  TablePreprocessor preprocessor;
  preprocessor.fit(table.take(std::vector<int64_t>{0, 1}));
  EXPECT_EQ(preprocessor.feature_names(), (std::vector<std::string>{"a", "c=x", "c=y"}));
  const auto x = preprocessor.transform(table)["x"];
  EXPECT_FLOAT_EQ(x[0][0].item<float>(), -1);
  EXPECT_FLOAT_EQ(x[1][0].item<float>(), 1);
  EXPECT_FLOAT_EQ(x[2][0].item<float>(), 98);
}

TEST(TablePreprocessor, NewMissingNumbersAreImputedOrAnError) {
  const auto training = parse("a,b\n1,1\n3,2\n");
  const auto holes = parse("a,b\n,2\n3,1\n");
  const auto x = TablePreprocessor({.standardize = false}).fit(training).transform(holes)["x"];
  EXPECT_TRUE(torch::equal(x, torch::tensor({{2.0f, 2.0f}, {3.0f, 1.0f}})));
  TablePreprocessor strict({.new_missing = NewMissing::error});
  strict.fit(training);
  EXPECT_NE(message_of([&] { strict.transform(holes); }).find("column \"a\" has missing values"), std::string::npos);
}

TEST(TablePreprocessor, ErrorsAreClear) {
  const auto training = parse("height,weight,y\n1,2,0\n2,3,1\n3,5,1\n");
  TablePreprocessor preprocessor({.target = "y"});
  EXPECT_THROW(preprocessor.transform(training), Error);
  preprocessor.fit(training);
  EXPECT_NE(message_of([&] { preprocessor.transform(parse("heigth,weight\n1,2\n")); }).find("did you mean \"heigth\"?"),
            std::string::npos);
  EXPECT_NE(message_of([&] { preprocessor.transform(parse("height,weight\n1,heavy\n")); }).find("\"heavy\""),
            std::string::npos);
  auto fit = [](const std::string& text, std::optional<Task> task = std::nullopt) {
    return message_of([&] { TablePreprocessor({.target = "y", .task = task}).fit(parse(text)); });
  };
  EXPECT_NE(fit("x,y\n1,a\n2,a\n").find("one class only"), std::string::npos);
  EXPECT_NE(fit("x,y\n1,0.5\n2,0.5\n").find("same value in every row"), std::string::npos);
  EXPECT_NE(fit("x,y\n1,a\n2,\n3,b\n").find("missing in 1 of 3 rows"), std::string::npos);
  EXPECT_NE(fit("x,y\n1,a\n2,b\n", Task::regression).find("target of texts"), std::string::npos);
  EXPECT_NE(fit("y\n1\n2\n").find("no column to predict from"), std::string::npos);
  EXPECT_NE(fit("x,z,y\n,1,0\n,2,1\n").find("\"x\""), std::string::npos);
  EXPECT_NE(fit("x,yy\n1,2\n").find("did you mean \"yy\"?"), std::string::npos);
  EXPECT_THROW(TablePreprocessor().fit(training.take({})), Error);
  EXPECT_THROW(TablePreprocessor().fit(training).task(), Error);
}

TEST(TablePreprocessor, StateHoldsEverything) {
  const auto penguins = read_csv(LEVIN_SOURCE_DIR "/data/penguins/penguins.csv");
  const TablePreprocessorOptions all[] = {
      {.target = "target"},
      {.target = "body_mass_g", .task = Task::regression, .impute = Impute::median, .missing_indicator = true},
      {.target = "target", .standardize = false, .categoricals = Categoricals::codes, .new_missing = NewMissing::error},
      {}};
  for (const auto& options : all) {
    auto table = penguins;
    if (options.target == "body_mass_g") {  // a target may not have holes
      std::vector<int64_t> rows;
      const auto whole = torch::isfinite(penguins.column("body_mass_g").to(torch::kDouble));
      for (int64_t i = 0; i < penguins.rows(); ++i) {
        if (whole[i].item<bool>()) rows.push_back(i);
      }
      table = penguins.take(rows);
    }
    TablePreprocessor fitted(options);
    fitted.fit(table);
    // Through text, as through a file.
    const auto state = parse_json(to_json(fitted.state())).as_map();
    TablePreprocessor loaded;
    loaded.load_state(state);
    EXPECT_EQ(loaded.state(), fitted.state());
    EXPECT_EQ(loaded.feature_names(), fitted.feature_names());
    EXPECT_EQ(loaded.classes(), fitted.classes());
    const auto before = fitted.transform(table), after = loaded.transform(table);
    ASSERT_EQ(before.names(), after.names());
    for (int64_t i = 0; i < before.size(); ++i) EXPECT_TRUE(torch::equal(before[i], after[i]));
  }
  TablePreprocessor loaded;
  EXPECT_THROW(loaded.load_state({{"version", 2}}), Error);
  EXPECT_THROW(loaded.load_state({}), Error);
}

}  // namespace
}  // namespace levin
