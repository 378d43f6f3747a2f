#include <levin/data/stream_loader_impl.h>

#include <algorithm>
#include <limits>

namespace levin {

StreamLoader::StreamLoader(IterableDataset dataset, DataLoaderOptions options, bool same_every_epoch)
    : dataset_(std::move(dataset)), same_every_epoch_(same_every_epoch) {
  if (options.shuffle || options.sampler || options.batch_sampler) {
    throw Error({.what = "an iterable dataset decides its own order",
                 .value = options.shuffle   ? "shuffle"
                          : options.sampler ? "sampler"
                                            : "batch_sampler",
                 .where = "DataLoader",
                 .hint = "shuffle in its open(), by the epoch"});
  }
  options_ = checked_loader_options(std::move(options));
  const auto shards = dataset_.impl().shards();
  if (shards < 1) {
    throw Error({.what = "an iterable dataset needs at least one shard",
                 .value = std::to_string(shards),
                 .where = dataset_.impl().name(),
                 .hint = {}});
  }
  for (std::int64_t i = 0; i < shards; ++i) shards_.push_back(std::make_unique<Shard>());
  start_epoch();
}

std::optional<std::int64_t> StreamLoader::size() const {
  const auto samples = dataset_.impl().size();
  if (!samples || shards_.size() > 1) return std::nullopt;  // each shard ends in a batch of its own
  return options_.drop_last ? *samples / options_.batch_size
                            : (*samples + options_.batch_size - 1) / options_.batch_size;
}

void StreamLoader::start_epoch() {
  stop();
  ticket_ = 0;
  positions_.assign(shards_.size(), {});
}

bool StreamLoader::fetch(Batch& batch) {
  if (!look_ahead()) return false;
  batch = std::move(*ahead_->batch);
  ticket_ = ahead_ticket_;
  positions_[static_cast<std::size_t>(ticket_ - 1) % shards_.size()] = std::move(ahead_->position);
  ahead_.reset();
  return true;
}

bool StreamLoader::look_ahead() {
  if (!running_) restart();
  while (!ahead_) {
    if (std::all_of(ended_.begin(), ended_.end(), [](bool ended) { return ended; })) {
      if (options_.num_workers > 0 && !options_.persistent_workers) workers_.reset();
      return false;
    }
    Loaded loaded;
    try {
      loaded = workers_ ? workers_->take(std::chrono::duration<double>(options_.timeout)) : load(ahead_ticket_, -1);
    } catch (...) {
      running_ = false;
      throw;
    }
    const auto shard = static_cast<std::size_t>(ahead_ticket_++) % shards_.size();
    if (loaded.batch) {
      ahead_ = std::move(loaded);
    } else {
      ended_[shard] = true;
    }
  }
  return true;
}

// Begins to read where the batches that were handed out end.
void StreamLoader::restart() {
  stop();
  ahead_ticket_ = ticket_;
  ended_.assign(shards_.size(), false);
  const auto count = static_cast<std::int64_t>(shards_.size());
  for (std::int64_t i = 0; i < count; ++i) {
    auto& shard = *shards_[static_cast<std::size_t>(i)];
    shard.turn = (ticket_ - i + count - 1) / count;
    shard.failed = false;
    shard.stream.reset();
    shard.position = positions_[static_cast<std::size_t>(i)];
  }
  if (options_.num_workers > 0) {
    if (!workers_) {
      workers_ = make_prefetch<Loaded>(
          options_, [this](std::int64_t ticket, std::int64_t worker) { return load(ticket, worker); });
    }
    workers_->start(ticket_, std::numeric_limits<std::int64_t>::max());
  }
  running_ = true;
}

void StreamLoader::stop() {
  running_ = false;
  if (workers_) {
    if (options_.persistent_workers) {
      workers_->stop();
    } else {
      workers_.reset();
    }
  }
  ahead_.reset();
}

StreamLoader::Loaded StreamLoader::load(std::int64_t ticket, std::int64_t worker) {
  const auto count = static_cast<std::int64_t>(shards_.size());
  const auto number = ticket % count;
  auto& shard = *shards_[static_cast<std::size_t>(number)];
  const WorkerScope scope(
      {.id = worker, .num_workers = options_.num_workers, .seed = *options_.seed, .epoch = epoch()});
  Loaded loaded;
  std::vector<Batch> samples;
  std::vector<std::int64_t> indices;
  {
    std::unique_lock lock(shard.mutex);
    shard.turn_came.wait(lock, [&] { return shard.turn == ticket / count; });
    try {
      if (!shard.failed) samples = read(shard, number, indices);
    } catch (...) {
      shard.failed = true;
      ++shard.turn;
      shard.turn_came.notify_all();
      rethrow_named("sample " + std::to_string(shard.position.samples) +
                    (count > 1 ? " of shard " + std::to_string(number) : "") + " of " + dataset_.impl().name());
    }
    loaded.position = shard.position;
    ++shard.turn;
    shard.turn_came.notify_all();
  }
  if (samples.empty()) return loaded;
  try {
    auto batch = options_.collate_fn ? options_.collate_fn(samples) : stack_samples(samples);
    loaded.batch = finish_batch(std::move(batch), {.epoch = epoch(), .indices = indices}, options_);
  } catch (...) {
    rethrow_named("samples from " + std::to_string(indices.front()) + " to " + std::to_string(indices.back()) + " of " +
                  dataset_.impl().name());
  }
  return loaded;
}

// A batch's samples; none when the shard has ended.
std::vector<Batch> StreamLoader::read(Shard& shard, std::int64_t number, std::vector<std::int64_t>& indices) {
  auto& position = shard.position;
  if (position.ended) return {};
  const auto count = static_cast<std::int64_t>(shards_.size());
  if (!shard.stream) {
    shard.stream =
        dataset_.impl().open({.epoch = same_every_epoch_ ? 0 : epoch(), .shard = number, .num_shards = count});
    if (!shard.stream) throw Error("open() gave no stream");
    if (position.stream) {
      shard.stream->load_state(*position.stream);
    } else if (position.samples > 0) {
      shard.stream->skip(position.samples);
    }
  }
  std::vector<Batch> samples;
  Batch sample;
  while (static_cast<std::int64_t>(samples.size()) < options_.batch_size) {
    if (!shard.stream->next(sample)) {
      position.ended = true;
      break;
    }
    indices.push_back(position.samples * count + number);
    ++position.samples;
    samples.push_back(std::move(sample));
  }
  if (options_.drop_last && static_cast<std::int64_t>(samples.size()) < options_.batch_size) samples.clear();
  position.stream = shard.stream->state();
  return samples;
}

Map StreamLoader::state() const {
  Map state = position();
  state["seed"] = static_cast<std::int64_t>(*options_.seed);
  state["batch_size"] = options_.batch_size;
  state["drop_last"] = options_.drop_last;
  state["ticket"] = ticket_;
  List shards;
  for (const auto& shard : positions_) {
    Map entry{{"samples", shard.samples}, {"ended", shard.ended}};
    if (shard.stream) entry["stream"] = *shard.stream;
    shards.push_back(std::move(entry));
  }
  state["shards"] = std::move(shards);
  return state;
}

void StreamLoader::load_state(const Map& saved) {
  const auto seed = static_cast<std::uint64_t>(saved.get<std::int64_t>("seed"));
  const auto ticket = saved.get<std::int64_t>("ticket");
  const bool inside = saved.get<std::int64_t>("batch") > 0 && !saved.get<bool>("finished");
  std::vector<Position> positions;
  for (const auto& entry : saved.get<List>("shards")) {
    const auto& shard = entry.as_map();
    positions.push_back({.samples = shard.get<std::int64_t>("samples"),
                         .ended = shard.get<bool>("ended"),
                         .stream = shard.contains("stream") ? std::optional(shard.get<Map>("stream")) : std::nullopt});
    if (positions.back().samples < 0) throw Error("a saved loader position does not exist");
  }
  const Map here = state();
  for (const auto* key : {"batch_size", "drop_last"}) {
    if (!inside || saved.at(key) == here.at(key)) continue;
    throw Error({.what = "a loader cannot go on within an epoch with another " + std::string(key),
                 .value = saved.at(key).to_string() + " when saved, " + here.at(key).to_string() + " now",
                 .where = {},
                 .hint = "set it as it was, or resume from the end of an epoch"});
  }
  if (inside && (positions.size() != shards_.size() || ticket < 0)) {
    throw Error({.what = "a loader cannot go on within an epoch with another number of shards",
                 .value = std::to_string(positions.size()) + " when saved, " + std::to_string(shards_.size()) + " now",
                 .where = {},
                 .hint = {}});
  }
  stop();
  load_position(saved);
  options_.seed = seed;
  ticket_ = inside ? ticket : 0;
  positions_ = inside ? std::move(positions) : std::vector<Position>(shards_.size());
}

std::shared_ptr<LoaderImpl> StreamLoader::sequential_copy() const {
  return std::make_shared<StreamLoader>(dataset_, options_, true);
}

}  // namespace levin
