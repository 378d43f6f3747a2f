#include <levin/data/loader.h>

#include <levin/core/error.h>
#include <levin/core/rng.h>
#include <levin/data/seed.h>

#include <algorithm>
#include <numeric>
#include <vector>

namespace levin {

struct DataLoader::State {
  Dataset dataset;
  DataLoaderOptions options;
  std::int64_t samples = 0;
  std::int64_t batches = 0;

  std::int64_t epoch = 0;
  std::int64_t batch = 0;           // batches of the epoch given
  bool finished = false;            // the end of the epoch was seen: a loop starts the next one
  bool looped = false;              // a loop began here: the next one starts the next epoch
  std::uint64_t loop = 0;           // which begin() owns the position
  std::vector<std::int64_t> order;  // shuffled: the epoch's permutation; else the indices of one batch
  std::int64_t order_epoch = -1;    // the epoch that a permutation belongs to

  void go_to(std::int64_t new_epoch) {
    epoch = new_epoch;
    batch = 0;
    finished = false;
    looped = false;
  }

  std::span<const std::int64_t> batch_indices() {
    const auto begin = batch * options.batch_size;
    const auto count = static_cast<std::size_t>(std::min(options.batch_size, samples - begin));
    if (!options.shuffle) {
      order.resize(count);
      std::iota(order.begin(), order.end(), begin);
      return order;
    }
    if (order_epoch != epoch) {
      order = Rng(*options.seed, "shuffle", static_cast<std::uint64_t>(epoch)).permutation(samples);
      order_epoch = epoch;
    }
    return std::span(order).subspan(static_cast<std::size_t>(begin), count);
  }

  bool next(Batch& result) {
    if (batch >= batches) {
      finished = true;
      return false;
    }
    result = dataset.get_batch(batch_indices());
    ++batch;
    return true;
  }
};

DataLoader::DataLoader(Dataset dataset, DataLoaderOptions options) : state_(std::make_shared<State>()) {
  if (options.batch_size < 1) {
    throw Error({.what = "a batch size must be at least 1",
                 .value = std::to_string(options.batch_size),
                 .where = "DataLoader .batch_size",
                 .hint = {}});
  }
  state_->samples = dataset.size();
  state_->batches = options.drop_last
                        ? state_->samples / options.batch_size
                        : state_->samples / options.batch_size + (state_->samples % options.batch_size > 0);
  if (!options.seed) options.seed = mix_seed(current_seed(), stable_hash("DataLoader"));
  state_->dataset = std::move(dataset);
  state_->options = options;
}

std::int64_t DataLoader::size() const { return checked().batches; }
const Dataset& DataLoader::dataset() const { return checked().dataset; }
const DataLoaderOptions& DataLoader::options() const { return checked().options; }
std::int64_t DataLoader::epoch() const { return checked().epoch; }
std::int64_t DataLoader::batches_given() const { return checked().batch; }

void DataLoader::begin_epoch(std::int64_t epoch) {
  auto& state = checked();
  if (epoch < 0) {
    throw Error({.what = "epochs count from 0", .value = std::to_string(epoch), .where = {}, .hint = {}});
  }
  ++state.loop;
  state.go_to(epoch);
}

bool DataLoader::next(Batch& batch) { return checked().next(batch); }

std::optional<Batch> DataLoader::next() {
  std::optional<Batch> batch(std::in_place);
  if (!next(*batch)) batch.reset();
  return batch;
}

Map DataLoader::state() const {
  const auto& state = checked();
  // The seed as a signed integer of the same bits: what a Value and a pickle hold.
  return {{"seed", static_cast<std::int64_t>(*state.options.seed)},
          {"epoch", state.epoch},
          {"batch", state.batch},
          {"finished", state.finished},
          {"dataset_size", state.samples},
          {"batch_size", state.options.batch_size},
          {"shuffle", state.options.shuffle},
          {"drop_last", state.options.drop_last}};
}

void DataLoader::load_state(const Map& saved) {
  auto& state = checked();
  const auto seed = static_cast<std::uint64_t>(saved.get<std::int64_t>("seed"));
  const auto epoch = saved.get<std::int64_t>("epoch");
  const auto batch = saved.get<std::int64_t>("batch");
  const auto finished = saved.get<bool>("finished");
  const bool inside = batch > 0 && !finished;
  const Map here = this->state();
  for (const auto* key : {"dataset_size", "batch_size", "shuffle", "drop_last"}) {
    if (inside && !(saved.at(key) == here.at(key))) {
      throw Error({.what = "a loader cannot go on within an epoch with another " + std::string(key),
                   .value = saved.at(key).to_string() + " when saved, " + here.at(key).to_string() + " now",
                   .where = {},
                   .hint = "set it as it was, or resume from the end of an epoch"});
    }
  }
  if (epoch < 0 || batch < 0 || (inside && batch > state.batches)) {
    throw Error({.what = "a saved loader position does not exist",
                 .value = "epoch " + std::to_string(epoch) + ", batch " + std::to_string(batch),
                 .where = {},
                 .hint = {}});
  }
  if (seed != *state.options.seed) state.order_epoch = -1;
  state.options.seed = seed;
  state.epoch = epoch;
  state.batch = finished ? state.batches : batch;
  state.finished = finished;
  state.looped = false;
  ++state.loop;
}

DataLoader::Iterator DataLoader::begin() {
  auto& state = checked();
  // A position that load_state or begin_epoch has set is where the loop runs; else it is the next epoch's turn.
  if (state.finished || state.looped) state.go_to(state.epoch + 1);
  state.looped = true;
  return Iterator(*this, ++state.loop);
}

void DataLoader::throw_undefined() {
  throw Error({.what = "an undefined data loader was used",
               .value = {},
               .where = {},
               .hint = "make one from a dataset: DataLoader(dataset, {.batch_size = 32})"});
}

DataLoader::Iterator& DataLoader::Iterator::operator++() {
  if (loader_.checked().loop != loop_) {
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
