#include <levin/data/loader.h>

#include <levin/core/error.h>
#include <levin/data/map_loader_impl.h>
#include <levin/data/stream_loader_impl.h>

namespace levin {

std::string_view to_string(CombineMode mode) {
  switch (mode) {
    case CombineMode::min_size: return "min_size";
    case CombineMode::max_size_cycle: return "max_size_cycle";
    case CombineMode::max_size: return "max_size";
    case CombineMode::sequential: return "sequential";
    case CombineMode::interleaved: return "interleaved";
  }
  return "";
}

LoaderImpl::~LoaderImpl() = default;

void LoaderImpl::begin_epoch(std::int64_t epoch) {
  if (epoch < 0) {
    throw Error({.what = "epochs count from 0", .value = std::to_string(epoch), .where = {}, .hint = {}});
  }
  ++loop_;
  epoch_ = epoch;
  given_ = 0;
  finished_ = false;
  looped_ = false;
  start_epoch();
}

bool LoaderImpl::next(Batch& batch) {
  if (finished_ || !fetch(batch)) {
    finished_ = true;
    return false;
  }
  ++given_;
  return true;
}

std::uint64_t LoaderImpl::begin_loop() {
  // A position that load_state or begin_epoch has set is where the loop runs; else it is the next epoch's turn.
  if (finished_ || looped_) begin_epoch(epoch_ + 1);
  looped_ = true;
  return ++loop_;
}

Map LoaderImpl::position() const { return {{"epoch", epoch_}, {"batch", given_}, {"finished", finished_}}; }

void LoaderImpl::load_position(const Map& state) {
  const auto epoch = state.get<std::int64_t>("epoch");
  const auto batch = state.get<std::int64_t>("batch");
  const auto finished = state.get<bool>("finished");
  const auto batches = size();
  if (epoch < 0 || batch < 0 || (!finished && batches && batch > *batches)) {
    throw Error({.what = "a saved loader position does not exist",
                 .value = "epoch " + std::to_string(epoch) + ", batch " + std::to_string(batch),
                 .where = {},
                 .hint = {}});
  }
  epoch_ = epoch;
  given_ = finished && batches ? *batches : batch;
  finished_ = finished;
  looped_ = false;
  ++loop_;
}

const Dataset& LoaderImpl::dataset() const {
  throw Error({.what = "this loader does not stand on one dataset", .value = {}, .where = {}, .hint = "see parts()"});
}

const DataLoaderOptions& LoaderImpl::options() const {
  throw Error({.what = "this loader has no options of its own", .value = {}, .where = {}, .hint = "see parts()"});
}

std::span<const DataLoader> LoaderImpl::parts() const { return {}; }
CombineMode LoaderImpl::mode() const { return CombineMode::sequential; }
std::int64_t LoaderImpl::dataloader_idx() const { return 0; }

DataLoader::DataLoader(Dataset dataset, DataLoaderOptions options)
    : impl_(std::make_shared<MapLoader>(std::move(dataset), std::move(options))) {}

DataLoader::DataLoader(IterableDataset dataset, DataLoaderOptions options)
    : impl_(std::make_shared<StreamLoader>(std::move(dataset), std::move(options))) {}

std::int64_t DataLoader::size() const {
  if (const auto batches = impl().size()) return *batches;
  throw Error({.what = "nobody knows the number of batches of this loader before its end",
               .value = {},
               .where = {},
               .hint = "ask has_size() first; at_end() tells whether a batch was the last"});
}

std::optional<Batch> DataLoader::next() {
  std::optional<Batch> batch(std::in_place);
  if (!next(*batch)) batch.reset();
  return batch;
}

DataLoader::Iterator DataLoader::begin() { return Iterator(*this, impl().begin_loop()); }

void DataLoader::throw_undefined() {
  throw Error({.what = "an undefined data loader was used",
               .value = {},
               .where = {},
               .hint = "make one from a dataset: DataLoader(dataset, {.batch_size = 32})"});
}

DataLoader::Iterator& DataLoader::Iterator::operator++() {
  if (loader_.impl().current_loop() != loop_) {
    throw Error({.what = "a data loader was started again while a loop ran over it",
                 .value = {},
                 .where = {},
                 .hint = "a loader has one position: make a second DataLoader over the same dataset"});
  }
  Batch batch;
  if (loader_.next(batch)) {
    batch_ = std::move(batch);
  } else {
    batch_.reset();
  }
  return *this;
}

}  // namespace levin
