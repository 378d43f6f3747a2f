// MapLoader: the loader over a dataset of known size, behind DataLoader(dataset, options).
#pragma once

#include <levin/data/loader.h>

#include <vector>

namespace levin {

class MapLoader : public LoaderImpl {
 public:
  MapLoader(Dataset dataset, DataLoaderOptions options);

  std::optional<std::int64_t> size() const override { return batches_; }
  bool at_end() override { return batches_given() >= batches_; }
  Map state() const override;
  void load_state(const Map& state) override;
  std::shared_ptr<LoaderImpl> sequential_copy() const override;
  const Dataset& dataset() const override { return dataset_; }
  const DataLoaderOptions& options() const override { return options_; }

 protected:
  void start_epoch() override {}
  bool fetch(Batch& batch) override;

 private:
  std::span<const std::int64_t> batch_indices();

  Dataset dataset_;
  DataLoaderOptions options_;
  std::int64_t samples_ = 0;
  std::int64_t batches_ = 0;
  std::vector<std::int64_t> order_;  // shuffled: the epoch's permutation; else the indices of one batch
  std::int64_t order_epoch_ = -1;    // the epoch that a permutation belongs to
};

}  // namespace levin
