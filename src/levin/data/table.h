// Table: named columns of numbers or categories, as read from a file.
#pragma once

#include <levin/core/csv.h>
#include <levin/core/export.h>

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <filesystem>
#include <initializer_list>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace levin {

/** Columns of equal length. Tables made from a table share its columns. Every unknown column name throws Error. */
class LEVIN_API Table {
 public:
  Table() = default;
  explicit Table(csv::Table table);

  std::int64_t rows() const noexcept { return rows_; }
  /** The names of the columns, in order. */
  std::vector<std::string> columns() const;
  bool contains(std::string_view name) const noexcept;
  /** The file it was read from, for messages. */
  const std::string& path() const noexcept { return path_; }

  /**
   * One column as a tensor [rows]: int64 for whole numbers; float64 for real numbers and for whole numbers with
   * missing values, NaN where missing; int64 codes into `categories(name)` for texts, -1 where missing.
   */
  at::Tensor column(std::string_view name) const;
  csv::Kind kind(std::string_view name) const { return raw(name).kind; }
  /** The texts of a categorical column, sorted; throws Error for a column of numbers. */
  const std::vector<std::string>& categories(std::string_view name) const;
  /** Rows without a value in this column. */
  std::int64_t missing(std::string_view name) const { return static_cast<std::int64_t>(raw(name).missing); }
  /** The column as it was read. */
  const csv::Column& raw(std::string_view name) const;

  /** Without these columns. */
  Table drop(std::string_view name) const { return drop(std::initializer_list<std::string_view>{name}); }
  Table drop(std::initializer_list<std::string_view> names) const;
  Table drop(std::span<const std::string> names) const;
  /** Only these columns, in this order. */
  Table select(std::string_view name) const { return select(std::initializer_list<std::string_view>{name}); }
  Table select(std::initializer_list<std::string_view> names) const;
  Table select(std::span<const std::string> names) const;
  /** Only these rows, in this order; throws Error for a row outside the table. */
  Table take(std::span<const std::int64_t> rows) const;

  /**
   * All columns as float32 [rows, columns]. Throws Error when a column holds texts or missing values: these need a
   * TablePreprocessor.
   */
  at::Tensor to_tensor() const;

 private:
  std::string path_;
  std::int64_t rows_ = 0;
  std::vector<std::shared_ptr<const csv::Column>> columns_;
};

/** Reads a CSV file with a header; kinds of columns and missing values are found out (csv::read). */
LEVIN_API Table read_csv(const std::filesystem::path& path, const csv::CsvOptions& options = {});

}  // namespace levin
