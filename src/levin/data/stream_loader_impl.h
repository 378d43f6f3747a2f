// StreamLoader: the loader over an iterable dataset.
//
// Ticket t is batch t / S of shard t mod S. A shard is read in the order of its tickets, by whichever worker has the
// ticket; collating and transforming go on at the same time. A shard that has ended answers its tickets with nothing.
#pragma once

#include <levin/data/loader.h>
#include <levin/data/loader_workers_impl.h>

#include <condition_variable>
#include <mutex>
#include <vector>

namespace levin {

class StreamLoader : public LoaderImpl {
 public:
  StreamLoader(IterableDataset dataset, DataLoaderOptions options, bool same_every_epoch = false);

  std::optional<std::int64_t> size() const override;
  bool at_end() override { return finished() || !look_ahead(); }
  Map state() const override;
  void load_state(const Map& state) override;
  std::shared_ptr<LoaderImpl> sequential_copy() const override;
  const DataLoaderOptions& options() const override { return options_; }

 protected:
  void start_epoch() override;
  bool fetch(Batch& batch) override;

 private:
  // Where a shard stands after a batch.
  struct Position {
    std::int64_t samples = 0;
    bool ended = false;
    std::optional<Map> stream;
  };
  struct Loaded {
    std::optional<Batch> batch;
    Position position;
  };
  // Read by the workers, one at a time in the order of the tickets.
  struct Shard {
    std::mutex mutex;
    std::condition_variable turn_came;
    std::int64_t turn = 0;  // the shard's batch that is read next
    bool failed = false;
    std::unique_ptr<SampleStream> stream;
    Position position;
  };

  Loaded load(std::int64_t ticket, std::int64_t worker);
  std::vector<Batch> read(Shard& shard, std::int64_t number, std::vector<std::int64_t>& indices);
  bool look_ahead();
  void restart();
  void stop();

  IterableDataset dataset_;
  DataLoaderOptions options_;
  bool same_every_epoch_;

  std::int64_t ticket_ = 0;          // the first one whose batch was not handed out
  std::vector<Position> positions_;  // of the shards, after the batches that were handed out
  std::int64_t ahead_ticket_ = 0;    // the next one to ask for
  std::vector<char> ended_;          // shards that were seen to have ended
  std::optional<Loaded> ahead_;      // read, not handed out: of ticket ahead_ticket_ - 1

  bool running_ = false;
  std::vector<std::unique_ptr<Shard>> shards_;
  std::unique_ptr<OrderedPrefetch<Loaded>> workers_;  // last: its threads end before the shards go
};

}  // namespace levin
