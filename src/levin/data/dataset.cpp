#include <levin/data/dataset.h>

#include <levin/core/error.h>
#include <levin/data/collate.h>

#include <c10/util/Type.h>

#include <exception>
#include <algorithm>
#include <typeinfo>

namespace levin {

DatasetImpl::~DatasetImpl() = default;

Batch DatasetImpl::get_batch(std::span<const std::int64_t> indices) const {
  std::vector<Batch> samples;
  samples.reserve(indices.size());
  for (const auto index : indices) samples.push_back(get_named(index));
  try {
    return stack_samples(samples);
  } catch (const Error& error) {
    auto info = error.info();
    constexpr std::size_t shown = 8;
    std::string which;
    for (std::size_t i = 0; i < std::min(shown, indices.size()); ++i)
      which += (i == 0 ? "" : ", ") + std::to_string(indices[i]);
    info.where = "samples " + which + (indices.size() > shown ? ", ..." : "") + " of " + name();
    throw Error(std::move(info));
  }
}

std::string DatasetImpl::name() const { return c10::demangle(typeid(*this).name()); }

Batch DatasetImpl::get_named(std::int64_t index) const {
  try {
    return get(index);
  } catch (const Error& error) {
    auto info = error.info();
    const auto sample = "sample " + std::to_string(index) + " of " + name();
    info.where = info.where.empty() ? sample : info.where + ", " + sample;
    std::throw_with_nested(Error(std::move(info)));
  } catch (const std::exception& error) {
    std::throw_with_nested(Error(
        {.what = error.what(), .value = {}, .where = "sample " + std::to_string(index) + " of " + name(), .hint = {}}));
  }
}

std::vector<Batch> Dataset::get_samples(std::span<const std::int64_t> indices) const {
  std::vector<Batch> samples;
  samples.reserve(indices.size());
  for (const auto index : indices) samples.push_back(impl().get_named(index));
  return samples;
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
