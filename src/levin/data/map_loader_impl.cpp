#include <levin/data/map_loader_impl.h>

#include <levin/core/rng.h>

#include <algorithm>
#include <numeric>

namespace levin {
namespace {

void check_exclusive(const DataLoaderOptions& options) {
  const char* other = nullptr;
  if (options.sampler && options.shuffle) other = "shuffle";
  if (options.batch_sampler) {
    if (options.batch_size != 1) other = "batch_size";
    if (options.shuffle) other = "shuffle";
    if (options.sampler) other = "sampler";
    if (options.drop_last) other = "drop_last";
  }
  if (!other) return;
  const std::string sampler = options.batch_sampler ? "batch_sampler" : "sampler";
  throw Error({.what = "a " + sampler + " decides what " + other + " would decide",
               .value = sampler + " and " + other,
               .where = "DataLoader",
               .hint = "set only one of them"});
}

std::string list_indices(std::span<const std::int64_t> indices) {
  std::string text;
  for (std::size_t i = 0; i < std::min<std::size_t>(indices.size(), 5); ++i) {
    text += (i ? ", " : "") + std::to_string(indices[i]);
  }
  return text + (indices.size() > 5 ? ", ... (" + std::to_string(indices.size()) + ")" : "");
}

}  // namespace

MapLoader::MapLoader(Dataset dataset, DataLoaderOptions options) {
  check_exclusive(options);
  options_ = checked_loader_options(std::move(options));
  dataset_ = std::move(dataset);
  samples_ = dataset_.size();
  drawn_ = options_.sampler ? options_.sampler.size() : samples_;
  batches_ = options_.batch_sampler ? options_.batch_sampler.size()
             : options_.drop_last   ? drawn_ / options_.batch_size
                                    : drawn_ / options_.batch_size + (drawn_ % options_.batch_size > 0);
}

void MapLoader::plan_epoch() {
  if (in_order() || planned_epoch_ == epoch()) return;
  planned_epoch_ = -1;
  ends_.clear();
  if (options_.shuffle) {
    order_ = Rng(*options_.seed, "shuffle", static_cast<std::uint64_t>(epoch())).permutation(samples_);
  } else {
    std::int64_t planned = 0, promised = 0;
    if (options_.sampler) {
      order_ = options_.sampler.order(epoch());
      planned = static_cast<std::int64_t>(order_.size());
      promised = drawn_;
    } else {
      order_.clear();
      for (const auto& batch : options_.batch_sampler.batches(epoch())) {
        if (batch.empty()) throw Error("a batch sampler gave a batch without samples");
        order_.insert(order_.end(), batch.begin(), batch.end());
        ends_.push_back(order_.size());
      }
      planned = static_cast<std::int64_t>(ends_.size());
      promised = batches_;
    }
    if (planned != promised) {
      throw Error({.what = "a sampler gave another number than its size() says",
                   .value = std::to_string(planned) + " in epoch " + std::to_string(epoch()) + ", size() " +
                            std::to_string(promised),
                   .where = {},
                   .hint = {}});
    }
    for (const auto index : order_) {
      if (index >= 0 && index < samples_) continue;
      throw Error({.what = "a sampler gave the index of no sample",
                   .value = std::to_string(index),
                   .where = {},
                   .hint = "the dataset has " + std::to_string(samples_) + " samples"});
    }
  }
  planned_epoch_ = epoch();
}

std::span<const std::int64_t> MapLoader::batch_indices(std::int64_t batch, std::vector<std::int64_t>& scratch) const {
  if (options_.batch_sampler) {
    const auto i = static_cast<std::size_t>(batch);
    const auto begin = i == 0 ? 0 : ends_[i - 1];
    return std::span(order_).subspan(begin, ends_[i] - begin);
  }
  const auto begin = batch * options_.batch_size;
  const auto count = static_cast<std::size_t>(std::min(options_.batch_size, drawn_ - begin));
  if (!in_order()) return std::span(order_).subspan(static_cast<std::size_t>(begin), count);
  scratch.resize(count);
  std::iota(scratch.begin(), scratch.end(), begin);
  return scratch;
}

Batch MapLoader::load(std::int64_t batch, std::int64_t worker, std::vector<std::int64_t>& scratch) const {
  const WorkerScope scope(
      {.id = worker, .num_workers = options_.num_workers, .seed = *options_.seed, .epoch = epoch()});
  const auto indices = batch_indices(batch, scratch);
  try {
    auto loaded =
        options_.collate_fn ? options_.collate_fn(dataset_.get_samples(indices)) : dataset_.get_batch(indices);
    return finish_batch(std::move(loaded), {.epoch = epoch(), .indices = indices}, options_);
  } catch (...) {
    rethrow_named("batch " + std::to_string(batch) + " of epoch " + std::to_string(epoch()) + ", samples " +
                  list_indices(indices) + " of " + dataset_.impl().name());
  }
}

bool MapLoader::fetch(Batch& batch) {
  if (at_end()) return false;
  if (options_.num_workers == 0) {
    plan_epoch();
    batch = load(batches_given(), -1, scratch_);
    return true;
  }
  if (!running_) {
    if (workers_) workers_->stop();
    plan_epoch();
    if (!workers_) {
      workers_ = make_prefetch<Batch>(options_, [this](std::int64_t ticket, std::int64_t worker) {
        std::vector<std::int64_t> indices;
        return load(ticket, worker, indices);
      });
    }
    workers_->start(batches_given(), batches_);
    running_ = true;
  }
  try {
    batch = workers_->take(std::chrono::duration<double>(options_.timeout));
  } catch (...) {
    // After a timeout the worker may never come back: waiting for it is left to the next use.
    running_ = false;
    throw;
  }
  if (batches_given() + 1 >= batches_) stop_workers();
  return true;
}

UpcomingRows MapLoader::upcoming_rows() {
  if (options_.num_workers > 0 || options_.collate_fn || options_.transform || options_.pin_memory || at_end())
    return {};
  const auto memory = dataset_.impl().rows_in_memory();
  if (!memory) return {};
  plan_epoch();
  UpcomingRows upcoming{.tensors = memory->tensors};
  std::int64_t begin = batches_given() * options_.batch_size;
  if (options_.batch_sampler) {
    // As many batches as have the size of the next one.
    const auto size = [&](std::size_t batch) { return ends_[batch] - (batch == 0 ? 0 : ends_[batch - 1]); };
    const auto next = static_cast<std::size_t>(batches_given());
    auto end = next + 1;
    while (end < ends_.size() && size(end) == size(next)) ++end;
    upcoming.batch_size = static_cast<std::int64_t>(size(next));
    upcoming.batches = static_cast<std::int64_t>(end - next);
    begin = static_cast<std::int64_t>(ends_[next] - size(next));
  } else {
    const std::int64_t whole = drawn_ / options_.batch_size - batches_given();
    upcoming.batch_size = whole > 0 ? options_.batch_size : drawn_ - begin;
    upcoming.batches = std::max<std::int64_t>(whole, 1);
  }
  if (in_order()) {
    upcoming.first = begin;
    if (!memory->indices.empty()) upcoming.rows = memory->indices.data() + begin;
    return upcoming;
  }
  if (memory->indices.empty()) {
    upcoming.rows = order_.data() + begin;
    return upcoming;
  }
  if (rows_epoch_ != planned_epoch_) {
    rows_.resize(order_.size());
    std::ranges::transform(order_, rows_.begin(), [&](auto i) { return memory->indices[static_cast<std::size_t>(i)]; });
    rows_epoch_ = planned_epoch_;
  }
  upcoming.rows = rows_.data() + begin;
  return upcoming;
}

void MapLoader::stop_workers() {
  running_ = false;
  if (!workers_) return;
  if (options_.persistent_workers) {
    workers_->stop();
  } else {
    workers_.reset();
  }
}

Map MapLoader::state() const {
  Map state = position();
  // The seed as a signed integer of the same bits: what a Value and a pickle hold.
  state["seed"] = static_cast<std::int64_t>(*options_.seed);
  state["dataset_size"] = samples_;
  state["batch_size"] = options_.batch_size;
  state["shuffle"] = options_.shuffle;
  state["drop_last"] = options_.drop_last;
  if (options_.sampler || options_.batch_sampler) {
    state["batches"] = batches_;
    state["sampler"] = options_.sampler ? options_.sampler.state() : options_.batch_sampler.state();
  }
  return state;
}

void MapLoader::load_state(const Map& saved) {
  const auto seed = static_cast<std::uint64_t>(saved.get<std::int64_t>("seed"));
  const bool inside = saved.get<std::int64_t>("batch") > 0 && !saved.get<bool>("finished");
  const Map here = state();
  if (inside && saved.contains("sampler") != here.contains("sampler")) {
    throw Error({.what = "a loader cannot go on within an epoch with a sampler that comes or goes",
                 .value = saved.contains("sampler") ? "a sampler when saved, none now" : "none when saved, one now",
                 .where = {},
                 .hint = "set it as it was, or resume from the end of an epoch"});
  }
  for (const auto* key : {"dataset_size", "batch_size", "shuffle", "drop_last", "batches"}) {
    if (!inside || !here.contains(key) || saved.at(key) == here.at(key)) continue;
    throw Error({.what = "a loader cannot go on within an epoch with another " + std::string(key),
                 .value = saved.at(key).to_string() + " when saved, " + here.at(key).to_string() + " now",
                 .where = {},
                 .hint = "set it as it was, or resume from the end of an epoch"});
  }
  stop_workers();
  load_position(saved);
  planned_epoch_ = rows_epoch_ = -1;
  options_.seed = seed;
  if (!saved.contains("sampler")) return;
  if (options_.sampler) options_.sampler.load_state(saved.get<Map>("sampler"));
  if (options_.batch_sampler) options_.batch_sampler.load_state(saved.get<Map>("sampler"));
}

std::shared_ptr<LoaderImpl> MapLoader::sequential_copy() const {
  auto options = options_;
  options.shuffle = false;
  if (options.sampler) options.sampler = options.sampler.sequential();
  if (options.batch_sampler) options.batch_sampler = options.batch_sampler.sequential();
  return std::make_shared<MapLoader>(dataset_, options);
}

}  // namespace levin
