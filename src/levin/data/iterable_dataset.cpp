#include <levin/data/iterable_dataset.h>

#include <levin/core/error.h>

#include <c10/util/Type.h>

#include <typeinfo>

namespace levin {

SampleStream::~SampleStream() = default;

void SampleStream::skip(std::int64_t count) {
  Batch sample;
  for (std::int64_t i = 0; i < count; ++i) {
    if (next(sample)) continue;
    throw Error({.what = "an iterable dataset ended before the position where it should go on",
                 .value = "after " + std::to_string(i) + " of " + std::to_string(count) + " samples",
                 .where = {},
                 .hint = "are these the data that the position was saved with?"});
  }
}

std::optional<Map> SampleStream::state() const { return std::nullopt; }

void SampleStream::load_state(const Map&) { throw Error("this stream has a saved state but no load_state"); }

IterableDatasetImpl::~IterableDatasetImpl() = default;
std::int64_t IterableDatasetImpl::shards() const { return 1; }
std::optional<std::int64_t> IterableDatasetImpl::size() const { return std::nullopt; }
std::string IterableDatasetImpl::name() const { return c10::demangle(typeid(*this).name()); }

void IterableDataset::throw_undefined() {
  throw Error({.what = "an undefined dataset was used",
               .value = {},
               .where = {},
               .hint = "assign one first, for instance in DataModule::setup"});
}

}  // namespace levin
