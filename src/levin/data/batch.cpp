#include <levin/data/batch.h>

#include <levin/core/error.h>

#include <algorithm>

namespace levin {
namespace {

void check_names(const std::vector<std::string>& names) {
  for (std::size_t i = 0; i < names.size(); ++i) {
    if (!names[i].empty() && std::find(names.begin(), names.begin() + static_cast<std::ptrdiff_t>(i), names[i]) !=
                                 names.begin() + static_cast<std::ptrdiff_t>(i)) {
      throw Error({.what = "a batch has two tensors of one name", .value = names[i], .where = {}, .hint = {}});
    }
  }
}

std::string count_text(std::size_t count) { return count == 1 ? "1 tensor" : std::to_string(count) + " tensors"; }

}  // namespace

Batch::Batch(std::initializer_list<Named> named) {
  std::vector<std::string> names;
  for (const auto& [name, tensor] : named) {
    names.push_back(name);
    tensors_.push_back(tensor);
  }
  check_names(names);
  names_ = std::make_shared<const std::vector<std::string>>(std::move(names));
}

std::int64_t Batch::batch_size() const {
  if (tensors_.empty()) throw Error("a batch without tensors has no batch size");
  return tensors_[0].dim() == 0 ? 1 : tensors_[0].size(0);
}

const at::Tensor& Batch::operator[](std::string_view name) const {
  const auto index = find(name);
  if (index >= 0) return tensors_[static_cast<std::size_t>(index)];
  if (!names_) {
    throw Error({.what = "the tensors of this batch have no names",
                 .value = std::string(name),
                 .where = {},
                 .hint = "use batch[0], or give names: TensorDataset({{\"" + std::string(name) + "\", tensor}})"});
  }
  throw Error({.what = "a batch has no tensor of this name",
               .value = std::string(name),
               .where = {},
               .hint = did_you_mean(name, *names_)});
}

const std::vector<std::string>& Batch::names() const noexcept {
  static const std::vector<std::string> none;
  return names_ ? *names_ : none;
}

Batch Batch::with_names(std::vector<std::string> names) const {
  if (names.size() != tensors_.size()) {
    throw Error({.what = "a batch needs one name a tensor",
                 .value = std::to_string(names.size()) + " names for " + count_text(tensors_.size()),
                 .where = {},
                 .hint = {}});
  }
  check_names(names);
  Batch result = *this;
  result.names_ = std::make_shared<const std::vector<std::string>>(std::move(names));
  return result;
}

Batch Batch::with_tensors(Tensors tensors) const {
  if (names_ && tensors.size() != names_->size()) {
    throw Error({.what = "a batch needs one tensor a name",
                 .value = count_text(tensors.size()) + " for " + std::to_string(names_->size()) + " names",
                 .where = {},
                 .hint = {}});
  }
  Batch result;
  if (tensors.size() == tensors_.size()) result.parts_ = parts_;
  result.tensors_ = std::move(tensors);
  result.names_ = names_;
  return result;
}

Batch Batch::combine(std::span<const Batch> parts, const std::vector<std::string>& names) {
  if (!names.empty() && names.size() != parts.size()) {
    throw Error({.what = "combined batches need one name a part",
                 .value = std::to_string(names.size()) + " names for " + std::to_string(parts.size()) + " parts",
                 .where = {},
                 .hint = {}});
  }
  Batch result;
  std::vector<Part> layout;
  std::vector<std::string> tensor_names;
  bool any_name = !names.empty();
  for (std::size_t i = 0; i < parts.size(); ++i) {
    const auto& part = parts[i];
    const auto prefix = (names.empty() ? std::to_string(i) : names[i]) + "/";
    layout.push_back(
        {names.empty() ? std::to_string(i) : names[i], result.tensors_.size(), part.tensors_.size(), part.names_});
    for (std::size_t t = 0; t < part.tensors_.size(); ++t) {
      const bool named = part.names_ && !(*part.names_)[t].empty();
      any_name = any_name || named;
      tensor_names.push_back(named           ? prefix + (*part.names_)[t]
                             : names.empty() ? std::string()
                                             : prefix + std::to_string(t));
      result.tensors_.push_back(part.tensors_[t]);
    }
  }
  if (any_name) {
    check_names(tensor_names);
    result.names_ = std::make_shared<const std::vector<std::string>>(std::move(tensor_names));
  }
  result.parts_ = std::make_shared<const std::vector<Part>>(std::move(layout));
  return result;
}

Batch Batch::part(std::int64_t index) const {
  if (index < 0 || index >= num_parts()) {
    throw Error({.what = "a batch of " + std::to_string(num_parts()) + " parts has none at this index",
                 .value = std::to_string(index),
                 .where = {},
                 .hint = parts_ ? "" : "only batches of a combined loader have parts"});
  }
  const auto& part = (*parts_)[static_cast<std::size_t>(index)];
  Batch result;
  result.tensors_.append(tensors_.begin() + part.begin, tensors_.begin() + part.begin + part.count);
  result.names_ = part.names;
  return result;
}

Batch Batch::part(std::string_view name) const {
  std::vector<std::string> names;
  for (std::int64_t i = 0; i < num_parts(); ++i) {
    names.push_back((*parts_)[static_cast<std::size_t>(i)].name);
    if (names.back() == name) return part(i);
  }
  throw Error({.what = "a batch has no part of this name",
               .value = std::string(name),
               .where = {},
               .hint = parts_ ? did_you_mean(name, names) : "only batches of a combined loader have parts"});
}

void Batch::push_back(at::Tensor tensor) {
  if (names_) return push_back("", std::move(tensor));
  tensors_.push_back(std::move(tensor));
}

void Batch::push_back(std::string name, at::Tensor tensor) {
  auto names = this->names();
  names.resize(tensors_.size());
  names.push_back(std::move(name));
  check_names(names);
  names_ = std::make_shared<const std::vector<std::string>>(std::move(names));
  tensors_.push_back(std::move(tensor));
}

Batch Batch::to(c10::Device device, bool non_blocking) const {
  Batch result = *this;
  for (auto& tensor : result.tensors_) {
    if (tensor.defined() && tensor.device() != device) {
      tensor = tensor.to(tensor.options().device(device), non_blocking, /*copy=*/false, std::nullopt);
    }
  }
  return result;
}

Batch Batch::pin_memory() const {
  Batch result = *this;
  for (auto& tensor : result.tensors_) {
    if (tensor.defined()) tensor = tensor.pin_memory();
  }
  return result;
}

std::int64_t Batch::find(std::string_view name) const noexcept {
  if (!names_ || name.empty()) return -1;
  const auto found = std::find(names_->begin(), names_->end(), name);
  return found == names_->end() ? -1 : found - names_->begin();
}

void Batch::throw_no_index(std::int64_t index) const {
  throw Error({.what = "a batch of " + count_text(tensors_.size()) + " has no tensor at this index",
               .value = std::to_string(index),
               .where = {},
               .hint = tensors_.empty() ? "" : "indices run from 0 to " + std::to_string(tensors_.size() - 1)});
}

void Batch::throw_wrong_count(std::size_t asked) const {
  const auto names = names_ ? " (" + join_words(*names_) + ")" : std::string();
  throw Error({.what = "a batch was unpacked into a wrong number of tensors",
               .value = std::to_string(asked),
               .where = {},
               .hint = "this batch holds " + count_text(tensors_.size()) + names});
}

}  // namespace levin
