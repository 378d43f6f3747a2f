// DataModule: everything about the data of a task in one class, as the Trainer calls it.
#pragma once

#include <levin/core/export.h>
#include <levin/core/value.h>
#include <levin/data/loader.h>

namespace levin {

/** What a Trainer is about to do. */
enum class Stage { fit, validate, test, predict };

/**
 * Where a task's data come from (Lightning's LightningDataModule).
 *
 * Order of the calls: `prepare_data`, `setup(stage)`, the loaders of the stage, ..., `teardown(stage)`. A loader that
 * is not overridden is undefined: fit runs without validation then, and a stage that needs it fails with a clear
 * Error. The state is stored in checkpoints, for instance a fitted TablePreprocessor.
 */
class LEVIN_API DataModule {
 public:
  DataModule() = default;
  DataModule(const DataModule&) = default;
  DataModule& operator=(const DataModule&) = default;
  virtual ~DataModule();

  /** Downloads and conversions on disk; called once a machine, so it must not set members. */
  virtual void prepare_data();
  /** Reads and splits the data; called in every process, once a stage. */
  virtual void setup(Stage stage);
  virtual void teardown(Stage stage);

  virtual DataLoader train_dataloader();
  virtual DataLoader val_dataloader();
  virtual DataLoader test_dataloader();
  virtual DataLoader predict_dataloader();

  virtual Map state_dict() const;
  virtual void load_state_dict(const Map& state);
};

}  // namespace levin
