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

Map DataModule::state_dict() const { return {}; }
void DataModule::load_state_dict(const Map& /*state*/) {}

}  // namespace levin
