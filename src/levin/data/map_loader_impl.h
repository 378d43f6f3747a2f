// MapLoader: the loader over a dataset of known size, behind DataLoader(dataset, options).
#pragma once

#include <levin/data/loader.h>
#include <levin/data/loader_workers_impl.h>

#include <vector>

namespace levin {

class MapLoader : public LoaderImpl {
 public:
  MapLoader(Dataset dataset, DataLoaderOptions options);

  std::optional<std::int64_t> size() const override { return batches_; }
  bool at_end() override { return finished() || batches_given() >= batches_; }
  Map state() const override;
  void load_state(const Map& state) override;
  std::shared_ptr<LoaderImpl> sequential_copy() const override;
  UpcomingRows upcoming_rows() override;
  const Dataset& dataset() const override { return dataset_; }
  const DataLoaderOptions& options() const override { return options_; }

 protected:
  void start_epoch() override { stop_workers(); }
  bool fetch(Batch& batch) override;

 private:
  bool in_order() const { return !options_.shuffle && !options_.sampler && !options_.batch_sampler; }
  void plan_epoch();
  std::span<const std::int64_t> batch_indices(std::int64_t batch, std::vector<std::int64_t>& scratch) const;
  Batch load(std::int64_t batch, std::int64_t worker, std::vector<std::int64_t>& scratch) const;
  void stop_workers();

  Dataset dataset_;
  DataLoaderOptions options_;
  std::int64_t samples_ = 0;  // of the dataset
  std::int64_t drawn_ = 0;    // samples an epoch, unless batch_sampler decides
  std::int64_t batches_ = 0;

  // The epoch's plan, which workers read while they run; in_order() needs none.
  std::vector<std::int64_t> order_;  // the indices of all batches
  std::vector<std::size_t> ends_;    // batch_sampler: where each batch ends in order_
  std::int64_t planned_epoch_ = -1;
  std::vector<std::int64_t> scratch_;  // indices of a batch loaded in next()
  std::vector<std::int64_t> rows_;     // of the plan, where the dataset is a subset of tensors in memory
  std::int64_t rows_epoch_ = -1;       // whose plan that is

  bool running_ = false;  // the workers load this epoch's batches from batches_given() on
  std::unique_ptr<OrderedPrefetch<Batch>> workers_;
};

}  // namespace levin
