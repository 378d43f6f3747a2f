// TabularData: a CSV file split, preprocessed and served in batches.
#pragma once

#include <levin/app/engine/tabular_module.h>
#include <levin/app/settings.h>
#include <levin/data/data_module.h>
#include <levin/data/table.h>
#include <levin/data/table_preprocessor.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace levin::app {

/** Row numbers of each part of a table. */
struct RowSplit {
  std::vector<std::int64_t> train, val, test;
};

/**
 * Shuffles the rows by `data.split_seed` and cuts them by `data.val_fraction` and `data.test_fraction`. Throws Error
 * when a part that was asked for comes out empty.
 */
RowSplit split_rows(std::int64_t rows, const DataSettings& settings);

/** What the target asks for: `settings.task`, or by its values when that is "auto". Throws Error when they disagree. */
Problem problem_of(const Table& table, const Settings& settings);

/** A table made ready for training: split, preprocessed, in memory. */
struct PreparedData {
  Problem problem = Problem::classification;
  TablePreprocessor preprocessor;
  Dataset train, val, test;  ///< undefined where the split has no such part
};

/** Splits the table and fits the preprocessor on the training rows alone. */
PreparedData prepare(const Table& table, const Settings& settings);

/** The ends of a model for data made by this preprocessor. */
TabularShape shape_of(Problem problem, const TablePreprocessor& preprocessor);

/** Loaders of one training over data that several may share. */
class TabularData : public DataModule {
 public:
  TabularData(std::shared_ptr<const PreparedData> data, std::int64_t batch_size)
      : data_(std::move(data)), batch_size_(batch_size) {}

  DataLoader train_dataloader() override;
  DataLoader val_dataloader() override;
  DataLoader test_dataloader() override;

 private:
  std::shared_ptr<const PreparedData> data_;
  std::int64_t batch_size_;
};

/** A loader over whole rows in order, for evaluation; undefined for an undefined dataset. */
DataLoader eval_loader(Dataset dataset);

}  // namespace levin::app
