#include <levin/app/engine/tabular_data.h>

#include <levin/core/error.h>
#include <levin/core/rng.h>
#include <levin/data/tensor_dataset.h>

#include <ATen/ops/arange.h>

#include <algorithm>
#include <cmath>

namespace levin::app {
namespace {

Dataset dataset_of(const TablePreprocessor& preprocessor, const Table& table, const std::vector<std::int64_t>& rows) {
  if (rows.empty()) return {};
  return TensorDataset(preprocessor.transform(table.take(rows)));
}

}  // namespace

RowSplit split_rows(std::int64_t rows, const DataSettings& settings) {
  const auto part = [&](double fraction) {
    return static_cast<std::int64_t>(std::llround(fraction * static_cast<double>(rows)));
  };
  const std::int64_t val = part(settings.val_fraction), test = part(settings.test_fraction);
  const auto check = [&](const char* key, double fraction, std::int64_t count) {
    if (fraction > 0 && count == 0) {
      throw Error({.what = std::string(key) + " leaves no row of " + std::to_string(rows),
                   .value = format_double(fraction),
                   .where = settings.path,
                   .hint = std::string("use a larger share, or ") + key + " 0 to do without"});
    }
  };
  check("data.val_fraction", settings.val_fraction, val);
  check("data.test_fraction", settings.test_fraction, test);
  if (val + test >= rows) {
    throw Error({.what = "the table has too few rows to split",
                 .value = std::to_string(rows),
                 .where = settings.path,
                 .hint = "use more rows or smaller fractions"});
  }
  const auto order = Rng(static_cast<std::uint64_t>(settings.split_seed), "split").permutation(rows);
  const auto cut = [&](std::int64_t begin, std::int64_t end) {
    return std::vector<std::int64_t>(order.begin() + begin, order.begin() + end);
  };
  return {.train = cut(val + test, rows), .val = cut(0, val), .test = cut(val, val + test)};
}

Problem problem_of(const Table& table, const Settings& settings) {
  const csv::Column& target = table.raw(settings.target);
  const bool text = target.kind == csv::Kind::categorical;
  const auto classes = [&]() -> std::size_t {
    if (text) return target.categories.size();
    std::vector<double> values = target.numbers;
    std::erase_if(values, [](double v) { return std::isnan(v); });
    std::sort(values.begin(), values.end());
    return static_cast<std::size_t>(std::unique(values.begin(), values.end()) - values.begin());
  };
  if (settings.task == "auto") {
    if (guess_task(table, settings.target) == Task::regression) return Problem::regression;
    return classes() == 2 ? Problem::binary : Problem::classification;
  }
  if (settings.task == "regression") {
    if (text) {
      throw Error({.what = "a regression needs numbers as its target",
                   .value = "texts in column \"" + settings.target + "\", such as " +
                            (target.categories.empty() ? "" : target.categories[0]),
                   .where = settings.data.path,
                   .hint = "use --task classification, or another target"});
    }
    return Problem::regression;
  }
  if (settings.task == "binary") {
    if (const std::size_t n = classes(); n != 2) {
      throw Error({.what = "task binary needs a target with two classes",
                   .value = std::to_string(n) + " in column \"" + settings.target + "\"",
                   .where = settings.data.path,
                   .hint = "use --task classification"});
    }
    return Problem::binary;
  }
  return Problem::classification;
}

PreparedData prepare(const Table& full_table, const Settings& settings) {
  if (settings.target.empty()) {
    throw Error({.what = "which column is to be predicted?",
                 .value = {},
                 .where = {},
                 .hint = "give --target COLUMN; the table has " + join_words(full_table.columns())});
  }
  full_table.raw(settings.target);  // must be there
  const Table table = full_table.drop(settings.data.drop_columns);
  if (!table.contains(settings.target)) {
    throw Error({.what = "the target is among data.drop_columns",
                 .value = settings.target,
                 .where = {},
                 .hint = "take it out of the list"});
  }
  PreparedData data;
  data.problem = problem_of(table, settings);
  const RowSplit split = split_rows(table.rows(), settings.data);
  data.preprocessor = TablePreprocessor(
      {.target = settings.target,
       .task = data.problem == Problem::regression ? Task::regression : Task::classification,
       .standardize = settings.data.standardize,
       .impute = settings.data.missing == "median" ? Impute::median
                 : settings.data.missing == "zero" ? Impute::zero
                                                   : Impute::mean,
       .categoricals = settings.data.categorical == "embedding" ? Categoricals::codes : Categoricals::one_hot});
  data.preprocessor.fit(table.take(split.train));
  data.train = dataset_of(data.preprocessor, table, split.train);
  data.val = dataset_of(data.preprocessor, table, split.val);
  data.test = dataset_of(data.preprocessor, table, split.test);
  return data;
}

TabularShape shape_of(Problem problem, const TablePreprocessor& preprocessor) {
  TabularShape shape{.problem = problem,
                     .features = static_cast<std::int64_t>(preprocessor.feature_names().size()),
                     .cardinalities = preprocessor.cardinalities()};
  if (problem == Problem::classification) shape.outputs = static_cast<std::int64_t>(preprocessor.classes().size());
  if (problem == Problem::regression) {
    const at::Tensor ends = preprocessor.inverse_target(at::arange(2, at::kDouble));
    shape.target_scale = (ends[1] - ends[0]).item<double>();
  }
  return shape;
}

DataLoader TabularData::train_dataloader() { return {data_->train, {.batch_size = batch_size_, .shuffle = true}}; }
DataLoader TabularData::val_dataloader() { return eval_loader(data_->val); }
DataLoader TabularData::test_dataloader() { return eval_loader(data_->test); }

DataLoader eval_loader(Dataset dataset) {
  if (!dataset.defined()) return {};
  return {std::move(dataset), {.batch_size = 1024}};
}

}  // namespace levin::app
