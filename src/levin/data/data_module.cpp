#include <levin/data/data_module.h>

namespace levin {

DataModule::~DataModule() = default;

void DataModule::prepare_data() {}
void DataModule::setup(Stage /*stage*/) {}
void DataModule::teardown(Stage /*stage*/) {}

DataLoader DataModule::train_dataloader() { return {}; }
DataLoader DataModule::val_dataloader() { return {}; }
DataLoader DataModule::test_dataloader() { return {}; }
DataLoader DataModule::predict_dataloader() { return {}; }

Batch DataModule::on_before_batch_transfer(Batch batch, std::int64_t /*dataloader_idx*/) { return batch; }
Batch DataModule::transfer_batch_to_device(Batch batch, c10::Device device, std::int64_t /*dataloader_idx*/) {
  return batch.to(device, /*non_blocking=*/true);
}
Batch DataModule::on_after_batch_transfer(Batch batch, std::int64_t /*dataloader_idx*/) { return batch; }
void DataModule::on_exception(std::exception_ptr /*error*/) {}

Map DataModule::state_dict() const { return {}; }
void DataModule::load_state_dict(const Map& /*state*/) {}

void DataModule::save_hyperparameters(const Map& hparams) {
  for (const auto& [key, value] : hparams) hparams_[key] = value;
}

}  // namespace levin
