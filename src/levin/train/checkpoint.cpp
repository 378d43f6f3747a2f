#include <levin/train/checkpoint.h>

#include <levin/core/error.h>
#include <levin/train/checkpoint_io/torch_file.h>

#include <torch/types.h>

#include <sstream>

namespace levin {
namespace {

std::string shape(const at::Tensor& tensor) {
  std::ostringstream out;
  out << tensor.sizes();
  return out.str();
}

/** A few of `names`, in prose. */
std::string some(const std::vector<std::string>& names) {
  constexpr std::size_t shown = 4;
  std::vector<std::string> few(names.begin(),
                               names.begin() + static_cast<std::ptrdiff_t>(std::min(shown, names.size())));
  std::string text = join_words(few);
  if (names.size() > shown) text += " and " + std::to_string(names.size() - shown) + " more";
  return text;
}

}  // namespace

PickleDict state_dict(const torch::nn::Module& module) {
  PickleDict weights;
  weights.ordered = true;
  for (const auto& parameter : module.named_parameters()) weights.append(parameter.key(), parameter.value().detach());
  for (const auto& buffer : module.named_buffers()) weights.append(buffer.key(), buffer.value().detach());
  return weights;
}

void load_state_dict(torch::nn::Module& module, const PickleDict& weights, const std::string& where) {
  std::vector<std::pair<at::Tensor, at::Tensor>> copies;
  std::vector<std::string> missing, unexpected, misshaped;
  const PickleDict own = state_dict(module);
  for (const auto& [key, value] : own) {
    const PickleValue* found = weights.find(key.as_string());
    if (!found || !found->is_tensor()) {
      missing.push_back(key.as_string());
      continue;
    }
    const at::Tensor &to = value.as_tensor(), &from = found->as_tensor();
    if (to.sizes() != from.sizes()) {
      misshaped.push_back(key.as_string() + " (" + shape(from) + " in the file, " + shape(to) + " in the module)");
    } else {
      copies.emplace_back(to, from);
    }
  }
  for (const auto& [key, value] : weights) {
    if (key.is_string() && !own.contains(key.as_string())) unexpected.push_back(key.as_string());
  }
  if (!missing.empty() || !unexpected.empty() || !misshaped.empty()) {
    std::vector<std::string> parts;
    if (!misshaped.empty()) parts.push_back("other shapes: " + some(misshaped));
    if (!missing.empty()) parts.push_back("missing: " + some(missing));
    if (!unexpected.empty()) parts.push_back("unexpected: " + some(unexpected));
    std::string found;
    for (const auto& part : parts) found += (found.empty() ? "" : "; ") + part;
    throw Error({.what = "the weights are those of another model",
                 .value = found,
                 .where = where,
                 .hint = "build the module with the hyperparameters it was saved with"});
  }
  const torch::NoGradGuard no_grad;
  for (const auto& [to, from] : copies) to.copy_(from);
}

PickleDict load_checkpoint(const std::string& path) {
  PickleValue content = load_torch_file(path);
  if (content.is_dict()) {
    PickleDict& dict = content.as_dict();
    if (const PickleValue* weights = dict.find("state_dict"); weights && weights->is_dict()) return std::move(dict);
    const bool bare = !dict.empty() && std::all_of(dict.begin(), dict.end(), [](const auto& entry) {
      return entry.first.is_string() && entry.second.is_tensor();
    });
    if (bare) {
      PickleDict wrapped;
      wrapped["state_dict"] = std::move(content);
      return wrapped;
    }
  }
  throw Error({.what = "the file is no checkpoint",
               .value = "a " + content.type_name() + " without \"state_dict\"",
               .where = path,
               .hint = "give a file that a Trainer or torch.save(module.state_dict()) wrote"});
}

Map checkpoint_hyperparameters(const PickleDict& checkpoint) {
  const PickleValue* saved = checkpoint.find("hyper_parameters");
  return saved ? saved->to_value().as_map() : Map();
}

}  // namespace levin
