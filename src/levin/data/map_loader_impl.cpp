#include <levin/data/map_loader_impl.h>

#include <levin/core/error.h>
#include <levin/core/rng.h>
#include <levin/data/seed.h>

#include <algorithm>
#include <numeric>

namespace levin {

MapLoader::MapLoader(Dataset dataset, DataLoaderOptions options) {
  if (options.batch_size < 1) {
    throw Error({.what = "a batch size must be at least 1",
                 .value = std::to_string(options.batch_size),
                 .where = "DataLoader .batch_size",
                 .hint = {}});
  }
  samples_ = dataset.size();
  batches_ = options.drop_last ? samples_ / options.batch_size
                               : samples_ / options.batch_size + (samples_ % options.batch_size > 0);
  if (!options.seed) options.seed = mix_seed(current_seed(), stable_hash("DataLoader"));
  dataset_ = std::move(dataset);
  options_ = options;
}

std::span<const std::int64_t> MapLoader::batch_indices() {
  const auto begin = batches_given() * options_.batch_size;
  const auto count = static_cast<std::size_t>(std::min(options_.batch_size, samples_ - begin));
  if (!options_.shuffle) {
    order_.resize(count);
    std::iota(order_.begin(), order_.end(), begin);
    return order_;
  }
  if (order_epoch_ != epoch()) {
    order_ = Rng(*options_.seed, "shuffle", static_cast<std::uint64_t>(epoch())).permutation(samples_);
    order_epoch_ = epoch();
  }
  return std::span(order_).subspan(static_cast<std::size_t>(begin), count);
}

bool MapLoader::fetch(Batch& batch) {
  if (at_end()) return false;
  batch = dataset_.get_batch(batch_indices());
  return true;
}

Map MapLoader::state() const {
  Map state = position();
  // The seed as a signed integer of the same bits: what a Value and a pickle hold.
  state["seed"] = static_cast<std::int64_t>(*options_.seed);
  state["dataset_size"] = samples_;
  state["batch_size"] = options_.batch_size;
  state["shuffle"] = options_.shuffle;
  state["drop_last"] = options_.drop_last;
  return state;
}

void MapLoader::load_state(const Map& saved) {
  const auto seed = static_cast<std::uint64_t>(saved.get<std::int64_t>("seed"));
  const bool inside = saved.get<std::int64_t>("batch") > 0 && !saved.get<bool>("finished");
  const Map here = state();
  for (const auto* key : {"dataset_size", "batch_size", "shuffle", "drop_last"}) {
    if (inside && !(saved.at(key) == here.at(key))) {
      throw Error({.what = "a loader cannot go on within an epoch with another " + std::string(key),
                   .value = saved.at(key).to_string() + " when saved, " + here.at(key).to_string() + " now",
                   .where = {},
                   .hint = "set it as it was, or resume from the end of an epoch"});
    }
  }
  load_position(saved);
  if (seed != *options_.seed) order_epoch_ = -1;
  options_.seed = seed;
}

std::shared_ptr<LoaderImpl> MapLoader::sequential_copy() const {
  auto options = options_;
  options.shuffle = false;
  return std::make_shared<MapLoader>(dataset_, options);
}

}  // namespace levin
