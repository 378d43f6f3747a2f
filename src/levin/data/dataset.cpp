#include <levin/data/dataset.h>

#include <levin/core/error.h>

#include <ATen/ops/stack.h>

#include <sstream>
#include <vector>

namespace levin {

DatasetImpl::~DatasetImpl() = default;

Batch DatasetImpl::get_batch(std::span<const std::int64_t> indices) const {
  if (indices.empty()) throw Error("a batch needs at least one sample");
  std::vector<Batch> samples;
  samples.reserve(indices.size());
  for (const auto index : indices) samples.push_back(get(index));

  const auto& first = samples.front();
  Batch::Tensors stacked;
  std::vector<at::Tensor> column(samples.size());
  for (std::int64_t t = 0; t < first.size(); ++t) {
    for (std::size_t i = 0; i < samples.size(); ++i) {
      if (samples[i].size() != first.size()) {
        throw Error({.what = "the samples of a batch hold different numbers of tensors",
                     .value = std::to_string(first.size()) + " in sample " + std::to_string(indices[0]) + ", " +
                              std::to_string(samples[i].size()) + " in sample " + std::to_string(indices[i]),
                     .where = {},
                     .hint = {}});
      }
      column[i] = samples[i][t];
      if (column[i].sizes() != column[0].sizes()) {
        std::ostringstream shapes;
        shapes << column[0].sizes() << " in sample " << indices[0] << ", " << column[i].sizes() << " in sample "
               << indices[i];
        throw Error(
            {.what = "samples of different shapes cannot be stacked to a batch (tensor " + std::to_string(t) + ")",
             .value = shapes.str(),
             .where = {},
             .hint = "pad them in get(), or override get_batch()"});
      }
    }
    stacked.push_back(at::stack(column));
  }
  return first.with_tensors(std::move(stacked));
}

Batch Dataset::get(std::int64_t index) const {
  const auto& dataset = impl();
  if (index < 0 || index >= dataset.size()) {
    throw Error({.what = "a dataset of " + std::to_string(dataset.size()) + " samples has none at this index",
                 .value = std::to_string(index),
                 .where = {},
                 .hint = {}});
  }
  return dataset.get(index);
}

void Dataset::throw_undefined() {
  throw Error({.what = "an undefined dataset was used",
               .value = {},
               .where = {},
               .hint = "assign one first, for instance in DataModule::setup"});
}

}  // namespace levin
