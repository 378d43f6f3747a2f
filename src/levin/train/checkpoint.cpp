#include <levin/train/checkpoint.h>

#include <levin/core/error.h>
#include <levin/train/checkpoint_io/pickle.h>
#include <levin/train/checkpoint_io/safetensors.h>
#include <levin/train/checkpoint_io/torch_file.h>

#include <torch/types.h>

#include <algorithm>
#include <filesystem>
#include <fnmatch.h>
#include <fstream>
#include <unordered_map>

namespace levin {
namespace {

std::string shape(const std::vector<std::int64_t>& sizes) {
  std::string out = "[";
  for (std::size_t i = 0; i < sizes.size(); ++i) out += (i ? ", " : "") + std::to_string(sizes[i]);
  return out + "]";
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

std::string renamed(const std::string& name, const LoadOptions& options) {
  for (const auto& [from, to] : options.rename) {
    if (name.starts_with(from)) return to + name.substr(from.size());
  }
  return name;
}

bool ignored(const std::string& name, const LoadOptions& options) {
  return std::ranges::any_of(
      options.ignore, [&](const std::string& pattern) { return ::fnmatch(pattern.c_str(), name.c_str(), 0) == 0; });
}

// The prefix that all unexpected names have before a missing one, as "model." of a Lightning module around the model.
std::string prefix_hint(const LoadReport& report) {
  if (report.missing.empty() || report.unexpected.empty()) return {};
  const auto hint = [](const std::vector<std::string>& longer, const std::vector<std::string>& shorter, bool in_file) {
    const auto& name = longer.front();
    for (const auto& end : shorter) {
      if (name.size() <= end.size() || !name.ends_with(end)) continue;
      const std::string prefix = name.substr(0, name.size() - end.size());
      const auto fits = [&](const std::string& candidate) {
        return candidate.starts_with(prefix) &&
               std::ranges::find(shorter, candidate.substr(prefix.size())) != shorter.end();
      };
      if (!std::ranges::all_of(longer, fits)) continue;
      return in_file ? "the names in the file begin with \"" + prefix + "\": load with .rename = {{\"" + prefix +
                           "\", \"\"}}"
                     : "the names in the module begin with \"" + prefix + "\": load with .rename = {{\"\", \"" +
                           prefix + "\"}}";
    }
    return std::string();
  };
  const std::string found = hint(report.unexpected, report.missing, true);
  return found.empty() ? hint(report.missing, report.unexpected, false) : found;
}

}  // namespace

std::string LoadReport::to_string() const {
  std::vector<std::string> parts;
  std::vector<std::string> shapes, dtypes, absent;
  for (const auto& m : misshaped)
    shapes.push_back(m.name + " (" + shape(m.in_file) + " in the file, " + shape(m.in_module) + " in the module)");
  for (const auto& c : cast) dtypes.push_back(c.name + " (" + c.from + " in the file, " + c.to + " in the module)");
  for (const auto& name : missing) {
    const std::string near = closest(name, unexpected);
    absent.push_back(name + (near.empty() ? "" : " (did you mean \"" + near + "\" of the file?)"));
  }
  if (!shapes.empty()) parts.push_back("other shapes: " + some(shapes));
  if (!absent.empty()) parts.push_back("missing: " + some(absent));
  if (!unexpected.empty()) parts.push_back("unexpected: " + some(unexpected));
  if (!dtypes.empty()) parts.push_back("other dtypes: " + some(dtypes));
  if (parts.empty()) return "all " + std::to_string(loaded.size()) + " tensors loaded";
  std::string text;
  for (const auto& part : parts) text += (text.empty() ? "" : "; ") + part;
  return text;
}

PickleDict state_dict(const torch::nn::Module& module) {
  PickleDict weights;
  weights.ordered = true;
  for (const auto& parameter : module.named_parameters()) weights.append(parameter.key(), parameter.value().detach());
  for (const auto& buffer : module.named_buffers()) weights.append(buffer.key(), buffer.value().detach());
  return weights;
}

LoadReport load_state_dict(torch::nn::Module& module, const PickleDict& weights, const LoadOptions& options) {
  LoadReport report;
  std::unordered_map<std::string, const at::Tensor*> offered;
  std::vector<std::string> order;
  for (const auto& [key, value] : weights) {
    if (!key.is_string()) continue;
    const std::string name = renamed(key.as_string(), options);
    if (ignored(name, options)) continue;
    if (!value.is_tensor()) {
      report.unexpected.push_back(name);
      continue;
    }
    if (!offered.emplace(name, &value.as_tensor()).second) {
      throw Error({.what = "two weights of the file get the same name",
                   .value = "\"" + name + "\"",
                   .where = options.where,
                   .hint = "change LoadOptions::rename"});
    }
    order.push_back(name);
  }

  std::vector<std::pair<at::Tensor, at::Tensor>> copies;
  for (const auto& [key, value] : state_dict(module)) {
    const std::string& name = key.as_string();
    const auto found = offered.find(name);
    if (ignored(name, options)) continue;
    if (found == offered.end()) {
      report.missing.push_back(name);
      continue;
    }
    const at::Tensor &to = value.as_tensor(), &from = *found->second;
    offered.erase(found);
    if (to.sizes() != from.sizes()) {
      report.misshaped.push_back({name, from.sizes().vec(), to.sizes().vec()});
      continue;
    }
    if (to.scalar_type() != from.scalar_type()) {
      report.cast.push_back(
          {name, std::string(name_of_dtype(from.scalar_type())), std::string(name_of_dtype(to.scalar_type()))});
    }
    report.loaded.push_back(name);
    copies.emplace_back(to, from);
  }
  for (const auto& name : order) {
    if (offered.contains(name)) report.unexpected.push_back(name);
  }

  if (options.strict && !report.complete()) {
    const std::string prefix = prefix_hint(report);
    throw Error({.what = "the weights are those of another model",
                 .value = report.to_string(),
                 .where = options.where,
                 .hint = prefix.empty() ? "build the module with the hyperparameters it was saved with, or load what "
                                          "fits with .strict = false"
                                        : prefix});
  }
  if (!options.cast && !report.cast.empty()) {
    throw Error({.what = "the weights are of other dtypes than the module's",
                 .value = report.to_string(),
                 .where = options.where,
                 .hint = "set LoadOptions::cast to convert them, or convert the module with to()"});
  }
  const torch::NoGradGuard no_grad;
  for (const auto& [to, from] : copies) to.copy_(from);
  return report;
}

PickleDict load_weights(const std::string& path) {
  char head[9] = {};
  std::ifstream(path, std::ios::binary).read(head, 9);
  // A zip begins with "PK", a safetensors file with the length of its header and then the header.
  if (head[8] == '{' || path.ends_with(".safetensors")) return load_safetensors(path).tensors;
  return load_checkpoint(path).at("state_dict").as_dict();
}

LoadReport load_weights(torch::nn::Module& module, const std::string& path, LoadOptions options) {
  if (options.where.empty()) options.where = path;
  return load_state_dict(module, load_weights(path), options);
}

void save_weights(const torch::nn::Module& module, const std::string& path) {
  if (path.ends_with(".safetensors")) {
    save_safetensors(path, state_dict(module), {{"format", "pt"}});
  } else {
    save_torch_file(path, state_dict(module));
  }
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

namespace {

Map hyperparameters(const PickleDict& checkpoint, const char* key) {
  const PickleValue* saved = checkpoint.find(key);
  if (!saved || saved->is_none()) return {};
  try {
    Map map = saved->to_value().as_map();
    // What Lightning's command line adds for itself.
    map.erase("_instantiator");
    map.erase("_class_path");
    return map;
  } catch (const Error& error) {
    auto info = error.info();
    info.where = std::string("the checkpoint's ") + key;
    throw Error(std::move(info));
  }
}

}  // namespace

Map checkpoint_hyperparameters(const PickleDict& checkpoint) { return hyperparameters(checkpoint, "hyper_parameters"); }

Map checkpoint_datamodule_hyperparameters(const PickleDict& checkpoint) {
  return hyperparameters(checkpoint, "datamodule_hyper_parameters");
}

namespace {

// Runs `make` on saved hyperparameters with `overrides` over them; an Error in it names the file and what to do.
template <class Built>
Built& build(const std::string& path, Map hparams, const Map& overrides, bool needs_any, const std::string& kind,
             const std::function<Built&(const Map&)>& make) {
  const bool saved = !hparams.empty();
  for (const auto& [key, value] : overrides) hparams[key] = value;
  if (hparams.empty() && needs_any) {
    throw Error({.what = "the checkpoint holds no hyperparameters to build the " + kind + " from",
                 .value = {},
                 .where = path,
                 .hint = "call save_hyperparameters in the " + kind +
                         "'s constructor, or give them to load_from_checkpoint"});
  }
  try {
    return make(hparams);
  } catch (const Error& error) {
    auto info = error.info();
    info.what = "the " + kind + " cannot be built from the checkpoint's hyperparameters: " + info.what;
    info.where = path + (info.where.empty() ? "" : ", " + info.where);
    if (info.hint.empty() || !saved)
      info.hint = "save it with save_hyperparameters, or give it to load_from_checkpoint";
    throw Error(std::move(info));
  }
}

}  // namespace

void detail::rebuild(const std::string& path, const PickleDict& checkpoint, const Map& overrides, bool needs_any,
                     const std::function<torch::nn::Module&(const Map&)>& make, LoadOptions options) {
  auto& module = build(path, checkpoint_hyperparameters(checkpoint), overrides, needs_any, "module", make);
  if (options.where.empty()) options.where = path;
  load_state_dict(module, checkpoint.at("state_dict").as_dict(), options);
}

void detail::rebuild_data(const std::string& path, const Map& overrides, bool needs_any,
                          const std::function<DataModule&(const Map&)>& make) {
  const PickleDict checkpoint = load_checkpoint(path);
  DataModule& data =
      build(path, checkpoint_datamodule_hyperparameters(checkpoint), overrides, needs_any, "data module", make);
  const PickleValue* own = checkpoint.find("levin");
  if (const PickleValue* saved = own && own->is_dict() ? own->as_dict().find("data_module") : nullptr)
    data.load_state_dict(saved->to_value().as_map());
}

}  // namespace levin
