// TablePreprocessor: from the columns of a table to the tensors of a network, fitted on the training rows.
#pragma once

#include <levin/core/export.h>
#include <levin/core/value.h>
#include <levin/data/batch.h>
#include <levin/data/table.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace levin {

/** What a target asks for. */
enum class Task { classification, regression };

/** The value that stands for a missing number: a statistic of the column's present training values, or 0. */
enum class Impute { mean, median, zero, most_frequent };

/** How texts reach a network: one 0/1 column a category, or integer codes for embeddings. */
enum class Categoricals { one_hot, codes };

/** What to do about a missing number in a column that had none in training. */
enum class NewMissing { impute, error };

struct TablePreprocessorOptions {
  std::string target;        ///< the column to predict; "" for none
  std::optional<Task> task;  ///< by default guessed from the target (guess_task)
  bool standardize = true;   ///< numbers to mean 0 and standard deviation 1
  Impute impute = Impute::mean;
  bool missing_indicator = false;  ///< adds a 0/1 column for every column of numbers with missing training values
  Categoricals categoricals = Categoricals::one_hot;
  NewMissing new_missing = NewMissing::impute;  ///< `impute` warns once a column
};

/**
 * Classification for texts, and for whole numbers of few distinct values (at most the square root of the rows, 2 to
 * 100); else regression.
 */
LEVIN_API Task guess_task(const Table& table, const std::string& target);

/**
 * Learns from the training rows how to turn a table into tensors and does the same to any other table.
 *
 * Numbers: (x - mean) / standard deviation over the present training values (population formula, 1 for constant
 * columns, as scikit-learn's StandardScaler); missing values are imputed. Texts, one-hot: a column a category; missing
 * ones have a column of their own if training had any, unseen ones (with one warning) fall into it, or are all zeros.
 * Texts, codes: 1 to n in the order of the categories, 0 for missing and unseen. Classes of a target: indices in
 * sorted order. Regression targets: standardised.
 */
class LEVIN_API TablePreprocessor {
 public:
  explicit TablePreprocessor(TablePreprocessorOptions options = {}) : options_(std::move(options)) {}

  /**
   * Learns from these rows, which should be the training split alone. Throws Error for a table without features or
   * rows, a column without any value, an infinite number, a target with missing values, one class or one value.
   */
  TablePreprocessor& fit(const Table& training);
  bool fitted() const noexcept { return !columns_.empty(); }

  /**
   * Named tensors, one row a row: "x" float32 [rows, features]; with Categoricals::codes and texts in the table
   * "categories" int64 [rows, texts]; "y" if the table has the target, int64 [rows] for classification, float32
   * [rows, 1] for regression. Columns that were not there in training are ignored. Throws Error for a missing column,
   * texts where training had numbers, an unknown class.
   */
  Batch transform(const Table& table) const;

  /** The names of x's columns: a number's own, "name=category", "name=?" (missing text), "name:missing" (indicator). */
  std::vector<std::string> feature_names() const;
  /** Codes of each column of "categories", the unknown 0 included: the sizes of embedding tables. */
  std::vector<std::int64_t> cardinalities() const;

  const TablePreprocessorOptions& options() const noexcept { return options_; }
  /** The target's task; throws Error without a target. */
  Task task() const;
  /** Names of the classes, by index; empty for regression. */
  const std::vector<std::string>& classes() const noexcept { return target_.classes; }
  /** Predictions of a regression in the target's own units; any shape. */
  at::Tensor inverse_target(const at::Tensor& standardized) const;

  /** Everything that was learnt, for a checkpoint. */
  Map state() const;
  void load_state(const Map& state);

 private:
  struct Column {
    std::string name;
    bool numeric = true;
    bool had_missing = false;
    double mean = 0, scale = 1, fill = 0;  // numbers; `fill` in the column's own units
    std::vector<std::string> categories;   // texts
  };
  struct Target {
    Task task = Task::regression;
    double mean = 0, scale = 1;        // regression
    std::vector<std::string> classes;  // classification
  };

  Column fit_column(const csv::Column& column, const std::string& path) const;
  Target fit_target(const Table& training) const;
  std::int64_t width(const Column& column) const;
  void transform_numbers(const Column& column, const csv::Column& raw, const std::string& path, float* cell,
                         std::int64_t stride) const;
  void transform_texts(const Column& column, const csv::Column& raw, float* cell, std::int64_t* code,
                       std::int64_t stride) const;
  at::Tensor transform_target(const Table& table) const;

  TablePreprocessorOptions options_;
  std::vector<Column> columns_;
  Target target_;
};

}  // namespace levin
