#include <levin/data/table_preprocessor.h>

#include <levin/core/console.h>
#include <levin/core/error.h>

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>
#include <set>
#include <unordered_map>
#include <utility>

namespace levin {
namespace {

constexpr std::size_t kManyCategories = 100;

std::string in_quotes(const std::string& text) { return "\"" + text + "\""; }

std::string number_text(double number) {
  if (std::abs(number) <= 0x1p53 && number == std::floor(number)) {
    return std::to_string(static_cast<std::int64_t>(number));
  }
  return format_double(number);
}

std::optional<double> parse_number(const std::string& text) {
  double number = 0;
  const auto* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, number);
  if (error != std::errc() || stop != end) return std::nullopt;
  return number;
}

std::vector<double> present(const csv::Column& column, const std::string& path) {
  std::vector<double> values;
  for (const double number : column.numbers) {
    if (std::isnan(number)) continue;
    if (std::isinf(number)) {
      throw Error(
          {.what = "a column holds an infinite number", .value = in_quotes(column.name), .where = path, .hint = {}});
    }
    values.push_back(number);
  }
  if (values.empty()) {
    throw Error({.what = "a column has no value in any training row",
                 .value = in_quotes(column.name),
                 .where = path,
                 .hint = "drop(" + in_quotes(column.name) + ")"});
  }
  return values;
}

struct Moments {
  double mean = 0;
  double deviation = 0;  // 0 for a constant column
};

Moments moments(const std::vector<double>& values) {
  const auto count = static_cast<double>(values.size());
  double sum = 0;
  for (const double value : values) sum += value;
  const double mean = sum / count;
  double squares = 0, rest = 0;
  for (const double value : values) {
    squares += (value - mean) * (value - mean);
    rest += value - mean;
  }
  const double deviation = std::sqrt(std::max(0.0, (squares - rest * rest / count) / count));
  // What rounding alone can make of a constant column.
  const bool constant = deviation <= 10 * std::numeric_limits<double>::epsilon() * std::abs(mean);
  return {.mean = mean, .deviation = constant ? 0 : deviation};
}

double median(std::vector<double> values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  if (values.size() % 2 == 1) return *middle;
  return (*middle + *std::max_element(values.begin(), middle)) / 2;
}

// The smallest of the most frequent values, as scikit-learn's SimpleImputer.
double most_frequent(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  double best = values.front();
  std::size_t most = 0;
  for (std::size_t begin = 0, end = 0; begin < values.size(); begin = end) {
    while (end < values.size() && values[end] == values[begin]) ++end;
    if (end - begin > most) {
      most = end - begin;
      best = values[begin];
    }
  }
  return best;
}

/** The texts' indices for each row of a column, which may have been read as numbers: -1 missing, -2 unknown. */
class Lookup {
 public:
  explicit Lookup(const std::vector<std::string>& texts) {
    for (std::size_t i = 0; i < texts.size(); ++i) by_text_.emplace(texts[i], static_cast<std::int64_t>(i));
    for (std::size_t i = 0; i < texts.size(); ++i) {
      if (const auto number = parse_number(texts[i])) by_number_.emplace(*number, static_cast<std::int64_t>(i));
    }
  }

  std::vector<std::int64_t> operator()(const csv::Column& column) const {
    std::vector<std::int64_t> rows;
    if (column.kind == csv::Kind::categorical) {
      std::vector<std::int64_t> indices;
      for (const auto& text : column.categories) indices.push_back(find(text));
      for (const auto code : column.codes) rows.push_back(code < 0 ? -1 : indices[static_cast<std::size_t>(code)]);
    } else {
      for (const double number : column.numbers) rows.push_back(std::isnan(number) ? -1 : find(number));
    }
    return rows;
  }

 private:
  std::int64_t find(const std::string& text) const {
    const auto found = by_text_.find(text);
    if (found != by_text_.end()) return found->second;
    const auto number = parse_number(text);
    return number ? find(*number) : -2;
  }
  std::int64_t find(double number) const {
    const auto found = by_number_.find(number);
    return found == by_number_.end() ? -2 : found->second;
  }

  std::unordered_map<std::string, std::int64_t> by_text_;
  std::unordered_map<double, std::int64_t> by_number_;
};

std::string value_text(const csv::Column& column, std::size_t row) {
  return column.kind == csv::Kind::categorical ? column.categories[static_cast<std::size_t>(column.codes[row])]
                                               : number_text(column.numbers[row]);
}

// Texts that rows use: a table of some rows still lists the categories of all.
std::vector<std::string> used_categories(const csv::Column& column) {
  std::vector<bool> used(column.categories.size());
  for (const auto code : column.codes) {
    if (code >= 0) used[static_cast<std::size_t>(code)] = true;
  }
  std::vector<std::string> texts;
  for (std::size_t i = 0; i < used.size(); ++i) {
    if (used[i]) texts.push_back(column.categories[i]);
  }
  return texts;
}

std::set<double> distinct(const csv::Column& column) {
  std::set<double> values;
  for (const double number : column.numbers) {
    if (!std::isnan(number)) values.insert(number);
  }
  return values;
}

template <class Enum, std::size_t N>
std::string enum_name(Enum value, const char* const (&names)[N]) {
  return names[static_cast<std::size_t>(value)];
}

template <class Enum, std::size_t N>
Enum enum_value(const Map& map, const char* key, const char* const (&names)[N]) {
  const auto name = map.get<std::string>(key);
  for (std::size_t i = 0; i < N; ++i) {
    if (name == names[i]) return static_cast<Enum>(i);
  }
  throw Error({.what = "the state of a TablePreprocessor holds an unknown " + std::string(key),
               .value = in_quotes(name),
               .where = {},
               .hint = did_you_mean(name, std::vector<std::string>(names, names + N))});
}

constexpr const char* kTasks[] = {"classification", "regression"};
constexpr const char* kImputes[] = {"mean", "median", "zero", "most_frequent"};
constexpr const char* kCategoricals[] = {"one_hot", "codes"};
constexpr const char* kNewMissing[] = {"impute", "error"};

List to_list(const std::vector<std::string>& texts) { return List(texts.begin(), texts.end()); }

std::vector<std::string> to_texts(const List& list) {
  std::vector<std::string> texts;
  for (const auto& value : list) texts.push_back(value.as_string());
  return texts;
}

[[noreturn]] void throw_not_fitted() {
  throw Error({.what = "a TablePreprocessor was used before it was fitted",
               .value = {},
               .where = {},
               .hint = "call fit(training_table) or load_state(state) first"});
}

}  // namespace

Task guess_task(const Table& table, const std::string& target) {
  const auto& column = table.raw(target);
  if (column.kind == csv::Kind::categorical) return Task::classification;
  if (column.kind == csv::Kind::real) return Task::regression;
  const double limit = std::clamp(std::sqrt(static_cast<double>(table.rows())), 2.0, 100.0);
  return static_cast<double>(distinct(column).size()) <= limit ? Task::classification : Task::regression;
}

TablePreprocessor& TablePreprocessor::fit(const Table& training) {
  if (training.rows() == 0) throw Error("a TablePreprocessor cannot be fitted on a table without rows");
  Target target;
  if (!options_.target.empty()) target = fit_target(training);
  std::vector<Column> columns;
  for (const auto& name : training.columns()) {
    if (name != options_.target) columns.push_back(fit_column(training.raw(name), training.path()));
  }
  if (columns.empty()) {
    throw Error({.what = "a table has no column to predict from", .value = {}, .where = training.path(), .hint = {}});
  }
  columns_ = std::move(columns);
  target_ = std::move(target);
  return *this;
}

TablePreprocessor::Column TablePreprocessor::fit_column(const csv::Column& raw, const std::string& path) const {
  Column column;
  column.name = raw.name;
  column.numeric = raw.kind != csv::Kind::categorical;
  column.had_missing = raw.missing > 0;
  if (!column.numeric) {
    column.categories = used_categories(raw);
    if (options_.categoricals == Categoricals::one_hot && column.categories.size() > kManyCategories) {
      console::warning("column " + in_quotes(column.name) + " has " + std::to_string(column.categories.size()) +
                       " categories, each a feature of its own; drop it if it is an identifier, or use codes");
    }
    return column;
  }
  auto values = present(raw, path);
  const auto [mean, deviation] = moments(values);
  if (options_.standardize) {
    column.mean = mean;
    column.scale = deviation > 0 ? deviation : 1;
  }
  switch (options_.impute) {
    case Impute::mean: column.fill = mean; break;
    case Impute::median: column.fill = median(std::move(values)); break;
    case Impute::zero: column.fill = 0; break;
    case Impute::most_frequent: column.fill = most_frequent(std::move(values)); break;
  }
  return column;
}

TablePreprocessor::Target TablePreprocessor::fit_target(const Table& training) const {
  const auto& raw = training.raw(options_.target);
  if (raw.missing > 0) {
    throw Error({.what = "the target has missing values",
                 .value = in_quotes(raw.name) + ", missing in " + std::to_string(raw.missing) + " of " +
                          std::to_string(training.rows()) + " rows",
                 .where = training.path(),
                 .hint = "leave these rows out"});
  }
  Target target;
  target.task = options_.task.value_or(guess_task(training, options_.target));
  const bool texts = raw.kind == csv::Kind::categorical;
  if (target.task == Task::classification) {
    if (texts) {
      target.classes = used_categories(raw);
    } else {
      for (const double number : distinct(raw)) target.classes.push_back(number_text(number));
    }
    if (target.classes.size() < 2) {
      throw Error({.what = "the target has one class only, so there is nothing to tell apart",
                   .value = in_quotes(raw.name) + " is always " + in_quotes(target.classes.front()),
                   .where = training.path(),
                   .hint = "choose another target, or check how the rows were selected"});
    }
    return target;
  }
  if (texts) {
    throw Error({.what = "a target of texts cannot be the target of a regression",
                 .value = in_quotes(raw.name) + ", with values such as " + in_quotes(raw.categories.front()),
                 .where = training.path(),
                 .hint = "use the task classification"});
  }
  const auto [mean, deviation] = moments(present(raw, training.path()));
  if (deviation == 0) {
    throw Error({.what = "the target has the same value in every row, so there is nothing to learn",
                 .value = in_quotes(raw.name) + " is always " + number_text(mean),
                 .where = training.path(),
                 .hint = "choose another target, or check how the rows were selected"});
  }
  target.mean = mean;
  target.scale = deviation;
  return target;
}

std::int64_t TablePreprocessor::width(const Column& column) const {
  if (column.numeric) return options_.missing_indicator && column.had_missing ? 2 : 1;
  if (options_.categoricals == Categoricals::codes) return 0;
  return static_cast<std::int64_t>(column.categories.size()) + (column.had_missing ? 1 : 0);
}

Batch TablePreprocessor::transform(const Table& table) const {
  if (!fitted()) throw_not_fitted();
  for (const auto& column : columns_) {
    if (table.contains(column.name)) continue;
    throw Error({.what = "the table lacks a column that was there in training",
                 .value = in_quotes(column.name),
                 .where = table.path(),
                 .hint = did_you_mean(column.name, table.columns())});
  }
  std::int64_t features = 0;
  for (const auto& column : columns_) features += width(column);
  const auto codes = static_cast<std::int64_t>(cardinalities().size());
  auto x = at::zeros({table.rows(), features}, at::kFloat);
  auto categories = at::empty({table.rows(), codes}, at::kLong);

  auto* cell = x.mutable_data_ptr<float>();
  auto* code = categories.mutable_data_ptr<std::int64_t>();
  for (const auto& column : columns_) {
    const auto& raw = table.raw(column.name);
    if (column.numeric) {
      transform_numbers(column, raw, table.path(), cell, features);
    } else if (codes == 0) {
      transform_texts(column, raw, cell, nullptr, features);
    } else {
      transform_texts(column, raw, nullptr, code++, codes);
    }
    cell += width(column);
  }

  Batch result{{"x", x}};
  if (codes > 0) result.push_back("categories", categories);
  if (!options_.target.empty() && table.contains(options_.target)) result.push_back("y", transform_target(table));
  return result;
}

void TablePreprocessor::transform_numbers(const Column& column, const csv::Column& raw, const std::string& path,
                                          float* cell, std::int64_t stride) const {
  if (raw.kind == csv::Kind::categorical) {
    const auto texts = used_categories(raw);
    const auto bad = std::find_if(texts.begin(), texts.end(), [](const auto& text) { return !parse_number(text); });
    throw Error({.what = "a column that held numbers in training holds texts",
                 .value = in_quotes(column.name) + (bad == texts.end() ? "" : ", for instance " + in_quotes(*bad)),
                 .where = path,
                 .hint = {}});
  }
  if (raw.missing > 0 && !column.had_missing) {
    const auto text = "column " + in_quotes(column.name) + " has missing values, but had none in training";
    if (options_.new_missing == NewMissing::error) {
      throw Error({.what = text,
                   .value = std::to_string(raw.missing) + " of " + std::to_string(raw.numbers.size()) + " rows",
                   .where = path,
                   .hint = "NewMissing::impute fills them"});
    }
    console::warn_once(text + "; they are filled with " + number_text(column.fill));
  }
  const bool indicator = width(column) == 2;
  for (const double number : raw.numbers) {
    if (std::isinf(number)) {
      throw Error(
          {.what = "a column holds an infinite number", .value = in_quotes(column.name), .where = path, .hint = {}});
    }
    const bool missing = std::isnan(number);
    cell[0] = static_cast<float>(((missing ? column.fill : number) - column.mean) / column.scale);
    if (indicator) cell[1] = missing;
    cell += stride;
  }
}

void TablePreprocessor::transform_texts(const Column& column, const csv::Column& raw, float* cell, std::int64_t* code,
                                        std::int64_t stride) const {
  const auto rows = Lookup(column.categories)(raw);
  const auto unknown = std::find(rows.begin(), rows.end(), -2);
  if (unknown != rows.end()) {
    console::warn_once("column " + in_quotes(column.name) + " holds values that were not there in training, such as " +
                       in_quotes(value_text(raw, static_cast<std::size_t>(unknown - rows.begin()))) +
                       "; they count as unknown");
  }
  for (const auto row : rows) {
    if (code) {
      *code = row < 0 ? 0 : row + 1;
      code += stride;
    } else {
      if (row >= 0) {
        cell[row] = 1;
      } else if (column.had_missing) {
        cell[column.categories.size()] = 1;
      }
      cell += stride;
    }
  }
}

at::Tensor TablePreprocessor::transform_target(const Table& table) const {
  const auto& raw = table.raw(options_.target);
  if (raw.missing > 0) {
    throw Error({.what = "the target has missing values",
                 .value = in_quotes(raw.name) + ", missing in " + std::to_string(raw.missing) + " rows",
                 .where = table.path(),
                 .hint = "leave these rows out, or drop the column to predict it"});
  }
  if (target_.task == Task::classification) {
    const auto rows = Lookup(target_.classes)(raw);
    auto y = at::empty({table.rows()}, at::kLong);
    auto* index = y.mutable_data_ptr<std::int64_t>();
    for (std::size_t i = 0; i < rows.size(); ++i) {
      if (rows[i] < 0) {
        const auto text = value_text(raw, i);
        throw Error({.what = "the target holds a class that was not there in training",
                     .value = in_quotes(text),
                     .where = table.path(),
                     .hint = did_you_mean(text, target_.classes)});
      }
      index[i] = rows[i];
    }
    return y;
  }
  if (raw.kind == csv::Kind::categorical) {
    throw Error({.what = "a target that held numbers in training holds texts",
                 .value = in_quotes(raw.name),
                 .where = table.path(),
                 .hint = {}});
  }
  auto y = at::empty({table.rows(), 1}, at::kFloat);
  std::transform(raw.numbers.begin(), raw.numbers.end(), y.mutable_data_ptr<float>(),
                 [this](double number) { return static_cast<float>((number - target_.mean) / target_.scale); });
  return y;
}

std::vector<std::string> TablePreprocessor::feature_names() const {
  std::vector<std::string> names;
  for (const auto& column : columns_) {
    if (column.numeric) {
      names.push_back(column.name);
      if (width(column) == 2) names.push_back(column.name + ":missing");
    } else if (width(column) > 0) {
      for (const auto& category : column.categories) names.push_back(column.name + "=" + category);
      if (column.had_missing) names.push_back(column.name + "=?");
    }
  }
  return names;
}

std::vector<std::int64_t> TablePreprocessor::cardinalities() const {
  std::vector<std::int64_t> counts;
  if (options_.categoricals == Categoricals::one_hot) return counts;
  for (const auto& column : columns_) {
    if (!column.numeric) counts.push_back(static_cast<std::int64_t>(column.categories.size()) + 1);
  }
  return counts;
}

Task TablePreprocessor::task() const {
  if (!fitted()) throw_not_fitted();
  if (options_.target.empty()) throw Error("a TablePreprocessor without a target has no task");
  return target_.task;
}

at::Tensor TablePreprocessor::inverse_target(const at::Tensor& standardized) const {
  if (task() != Task::regression) {
    throw Error({.what = "only a regression's target has units to go back to",
                 .value = {},
                 .where = {},
                 .hint = "classes() names the classes"});
  }
  return standardized.mul(target_.scale).add(target_.mean);
}

Map TablePreprocessor::state() const {
  List columns;
  for (const auto& column : columns_) {
    Map entry{{"name", column.name}, {"numeric", column.numeric}, {"had_missing", column.had_missing}};
    if (column.numeric) {
      entry["mean"] = column.mean;
      entry["scale"] = column.scale;
      entry["fill"] = column.fill;
    } else {
      entry["categories"] = to_list(column.categories);
    }
    columns.push_back(std::move(entry));
  }
  return {{"version", 1},
          {"target", options_.target},
          {"task", options_.task ? Value(enum_name(*options_.task, kTasks)) : Value()},
          {"standardize", options_.standardize},
          {"impute", enum_name(options_.impute, kImputes)},
          {"missing_indicator", options_.missing_indicator},
          {"categoricals", enum_name(options_.categoricals, kCategoricals)},
          {"new_missing", enum_name(options_.new_missing, kNewMissing)},
          {"columns", std::move(columns)},
          {"fitted_target", Map{{"task", enum_name(target_.task, kTasks)},
                                {"mean", target_.mean},
                                {"scale", target_.scale},
                                {"classes", to_list(target_.classes)}}}};
}

void TablePreprocessor::load_state(const Map& state) {
  if (const auto version = state.get<std::int64_t>("version"); version != 1) {
    throw Error({.what = "the state of a TablePreprocessor is of an unknown version",
                 .value = std::to_string(version),
                 .where = {},
                 .hint = "a newer Levin wrote it"});
  }
  TablePreprocessor loaded;
  auto& options = loaded.options_;
  options.target = state.get<std::string>("target");
  if (!state.at("task").is_null()) options.task = enum_value<Task>(state, "task", kTasks);
  options.standardize = state.get<bool>("standardize");
  options.impute = enum_value<Impute>(state, "impute", kImputes);
  options.missing_indicator = state.get<bool>("missing_indicator");
  options.categoricals = enum_value<Categoricals>(state, "categoricals", kCategoricals);
  options.new_missing = enum_value<NewMissing>(state, "new_missing", kNewMissing);
  for (const auto& value : state.at("columns").as_list()) {
    const auto& entry = value.as_map();
    Column column;
    column.name = entry.get<std::string>("name");
    column.numeric = entry.get<bool>("numeric");
    column.had_missing = entry.get<bool>("had_missing");
    if (column.numeric) {
      column.mean = entry.get<double>("mean");
      column.scale = entry.get<double>("scale");
      column.fill = entry.get<double>("fill");
    } else {
      column.categories = to_texts(entry.at("categories").as_list());
    }
    loaded.columns_.push_back(std::move(column));
  }
  const auto& target = state.at("fitted_target").as_map();
  loaded.target_.task = enum_value<Task>(target, "task", kTasks);
  loaded.target_.mean = target.get<double>("mean");
  loaded.target_.scale = target.get<double>("scale");
  loaded.target_.classes = to_texts(target.at("classes").as_list());
  *this = std::move(loaded);
}

}  // namespace levin
