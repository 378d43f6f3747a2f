#include <levin/data/collate.h>

#include <levin/core/error.h>

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <ATen/ops/stack.h>

#include <algorithm>
#include <sstream>
#include <vector>

namespace levin {
namespace {

void check_samples(std::span<const Batch> samples) {
  if (samples.empty()) throw Error("a batch needs at least one sample");
  for (std::size_t i = 1; i < samples.size(); ++i) {
    if (samples[i].size() == samples[0].size()) continue;
    throw Error({.what = "the samples of a batch hold different numbers of tensors",
                 .value = std::to_string(samples[0].size()) + " in its first sample, " +
                          std::to_string(samples[i].size()) + " in number " + std::to_string(i),
                 .where = {},
                 .hint = {}});
  }
}

[[noreturn]] void throw_shapes(std::span<const Batch> samples, std::int64_t tensor, std::size_t sample,
                               const char* what, const char* hint) {
  std::ostringstream shapes;
  shapes << samples[0][tensor].sizes() << " in its first sample, " << samples[sample][tensor].sizes() << " in number "
         << sample;
  throw Error({.what = std::string(what) + " (tensor " + std::to_string(tensor) + ")",
               .value = shapes.str(),
               .where = {},
               .hint = hint});
}

}  // namespace

Batch stack_samples(std::span<const Batch> samples) {
  check_samples(samples);
  Batch::Tensors stacked;
  std::vector<at::Tensor> column(samples.size());
  for (std::int64_t t = 0; t < samples[0].size(); ++t) {
    for (std::size_t i = 0; i < samples.size(); ++i) {
      column[i] = samples[i][t];
      if (column[i].sizes() != column[0].sizes()) {
        throw_shapes(samples, t, i, "samples of different shapes cannot be stacked to a batch",
                     "pad them: .collate_fn = PadCollate()");
      }
    }
    stacked.push_back(at::stack(column));
  }
  return samples[0].with_tensors(std::move(stacked));
}

Batch PadCollate::operator()(std::span<const Batch> samples) const {
  check_samples(samples);
  const auto count = static_cast<std::int64_t>(samples.size());
  Batch::Tensors padded;
  for (std::int64_t t = 0; t < samples[0].size(); ++t) {
    std::vector<std::int64_t> sizes{count};
    sizes.insert(sizes.end(), samples[0][t].sizes().begin(), samples[0][t].sizes().end());
    for (std::size_t i = 0; i < samples.size(); ++i) {
      const auto& tensor = samples[i][t];
      if (tensor.dim() + 1 != static_cast<std::int64_t>(sizes.size())) {
        throw_shapes(samples, t, i, "padding cannot bring samples to the same number of dimensions", "");
      }
      for (std::int64_t d = 0; d < tensor.dim(); ++d) {
        auto& size = sizes[static_cast<std::size_t>(d) + 1];
        size = std::max(size, tensor.size(d));
      }
    }
    auto whole = at::full(sizes, options_.value, samples[0][t].options());
    for (std::int64_t i = 0; i < count; ++i) {
      const auto& tensor = samples[static_cast<std::size_t>(i)][t];
      auto place = whole.select(0, i);
      for (std::int64_t d = 0; d < tensor.dim(); ++d) place = place.narrow(d, 0, tensor.size(d));
      place.copy_(tensor);
    }
    padded.push_back(std::move(whole));
  }
  Batch batch = samples[0].with_tensors(std::move(padded));
  if (options_.lengths.empty()) return batch;
  auto lengths = at::empty({count}, at::kLong);
  for (std::int64_t i = 0; i < count; ++i) {
    const auto& first = samples[static_cast<std::size_t>(i)][0];
    lengths.mutable_data_ptr<std::int64_t>()[i] = first.dim() == 0 ? 1 : first.size(0);
  }
  batch.push_back(options_.lengths, std::move(lengths));
  return batch;
}

}  // namespace levin
