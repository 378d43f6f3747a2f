// DataModule: everything about the data of a task in one class, as the Trainer calls it.
#pragma once

#include <levin/core/export.h>
#include <levin/core/lifetime.h>
#include <levin/core/value.h>
#include <levin/data/batch.h>
#include <levin/data/loader.h>

#include <cstdint>
#include <exception>

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

  /** Around the copy of a batch to the device, for each batch; `transfer_batch_to_device` is `batch.to(device)`. */
  virtual Batch on_before_batch_transfer(Batch batch, std::int64_t dataloader_idx);
  virtual Batch transfer_batch_to_device(Batch batch, c10::Device device, std::int64_t dataloader_idx);
  virtual Batch on_after_batch_transfer(Batch batch, std::int64_t dataloader_idx);
  /** The run ended in an error. */
  virtual void on_exception(std::exception_ptr error);

  virtual Map state_dict() const;
  virtual void load_state_dict(const Map& state);

  /** Keeps hyperparameters with the data: saved in checkpoints and given to loggers. Merges into earlier ones. */
  void save_hyperparameters(const Map& hparams);
  const Map& hparams() const { return hparams_; }

 private:
  friend class Trainer;

  Lifetime lifetime_;
  Map hparams_;
};

}  // namespace levin
