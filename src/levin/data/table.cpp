#include <levin/data/table.h>

#include <levin/core/error.h>

#include <ATen/ops/empty.h>

#include <algorithm>
#include <utility>

namespace levin {
namespace {

std::shared_ptr<const csv::Column> take_rows(const csv::Column& column, std::span<const std::int64_t> rows) {
  auto result = std::make_shared<csv::Column>();
  result->name = column.name;
  result->kind = column.kind;
  result->categories = column.categories;
  for (const auto row : rows) {
    const auto i = static_cast<std::size_t>(row);
    if (column.kind == csv::Kind::categorical) {
      result->codes.push_back(column.codes[i]);
      result->missing += column.codes[i] < 0;
    } else {
      result->numbers.push_back(column.numbers[i]);
      result->missing += column.numbers[i] != column.numbers[i];
    }
  }
  return result;
}

}  // namespace

Table::Table(csv::Table table) : path_(std::move(table.path)), rows_(static_cast<std::int64_t>(table.rows)) {
  for (auto& column : table.columns) columns_.push_back(std::make_shared<const csv::Column>(std::move(column)));
}

std::vector<std::string> Table::columns() const {
  std::vector<std::string> names;
  for (const auto& column : columns_) names.push_back(column->name);
  return names;
}

bool Table::contains(std::string_view name) const noexcept {
  return std::any_of(columns_.begin(), columns_.end(), [&](const auto& column) { return column->name == name; });
}

const csv::Column& Table::raw(std::string_view name) const {
  for (const auto& column : columns_) {
    if (column->name == name) return *column;
  }
  throw Error({.what = "the table has no column of this name",
               .value = "\"" + std::string(name) + "\"",
               .where = path_,
               .hint = did_you_mean(name, columns())});
}

at::Tensor Table::column(std::string_view name) const {
  const auto& column = raw(name);
  const bool real = column.kind == csv::Kind::real || (column.kind == csv::Kind::integer && column.missing > 0);
  auto result = at::empty({rows_}, real ? at::kDouble : at::kLong);
  if (real) {
    std::copy(column.numbers.begin(), column.numbers.end(), result.mutable_data_ptr<double>());
  } else if (column.kind == csv::Kind::integer) {
    std::transform(column.numbers.begin(), column.numbers.end(), result.mutable_data_ptr<std::int64_t>(),
                   [](double number) { return static_cast<std::int64_t>(number); });
  } else {
    std::copy(column.codes.begin(), column.codes.end(), result.mutable_data_ptr<std::int64_t>());
  }
  return result;
}

const std::vector<std::string>& Table::categories(std::string_view name) const {
  const auto& column = raw(name);
  if (column.kind != csv::Kind::categorical) {
    throw Error({.what = "a column of numbers has no categories",
                 .value = "\"" + column.name + "\"",
                 .where = path_,
                 .hint = "name it in CsvOptions .categorical to read its numbers as texts"});
  }
  return column.categories;
}

Table Table::drop(std::initializer_list<std::string_view> names) const {
  for (const auto name : names) raw(name);
  Table result = *this;
  std::erase_if(result.columns_,
                [&](const auto& column) { return std::find(names.begin(), names.end(), column->name) != names.end(); });
  return result;
}

Table Table::drop(std::span<const std::string> names) const {
  Table result = *this;
  for (const auto& name : names) result = result.drop(name);
  return result;
}

Table Table::select(std::initializer_list<std::string_view> names) const {
  const std::vector<std::string> list(names.begin(), names.end());
  return select(list);
}

Table Table::select(std::span<const std::string> names) const {
  Table result;
  result.path_ = path_;
  result.rows_ = rows_;
  for (const auto& name : names) {
    raw(name);
    if (result.contains(name)) {
      throw Error({.what = "a column was selected twice", .value = "\"" + name + "\"", .where = path_, .hint = {}});
    }
    result.columns_.push_back(
        *std::find_if(columns_.begin(), columns_.end(), [&](const auto& column) { return column->name == name; }));
  }
  return result;
}

Table Table::take(std::span<const std::int64_t> rows) const {
  for (const auto row : rows) {
    if (row < 0 || row >= rows_) {
      throw Error({.what = "a table of " + std::to_string(rows_) + " rows has none at this index",
                   .value = std::to_string(row),
                   .where = path_,
                   .hint = {}});
    }
  }
  Table result;
  result.path_ = path_;
  result.rows_ = static_cast<std::int64_t>(rows.size());
  for (const auto& column : columns_) result.columns_.push_back(take_rows(*column, rows));
  return result;
}

at::Tensor Table::to_tensor() const {
  for (const auto& column : columns_) {
    if (column->kind == csv::Kind::categorical) {
      throw Error({.what = "a column of texts cannot be a column of a tensor",
                   .value = "\"" + column->name + "\", with values such as \"" +
                            (column->categories.empty() ? "" : column->categories.front()) + "\"",
                   .where = path_,
                   .hint = "encode it by a TablePreprocessor, or drop(\"" + column->name + "\")"});
    }
    if (column->missing > 0) {
      throw Error({.what = "a column with missing values cannot be a column of a tensor",
                   .value = "\"" + column->name + "\", missing in " + std::to_string(column->missing) + " of " +
                            std::to_string(rows_) + " rows",
                   .where = path_,
                   .hint = "fill them by a TablePreprocessor, or drop(\"" + column->name + "\")"});
    }
  }
  const auto width = static_cast<std::int64_t>(columns_.size());
  auto result = at::empty({rows_, width}, at::kFloat);
  auto* data = result.mutable_data_ptr<float>();
  for (const auto& column : columns_) {
    float* cell = data++;
    for (const double number : column->numbers) {
      *cell = static_cast<float>(number);
      cell += width;
    }
  }
  return result;
}

Table read_csv(const std::filesystem::path& path, const csv::CsvOptions& options) {
  return Table(csv::read(path, options));
}

}  // namespace levin
