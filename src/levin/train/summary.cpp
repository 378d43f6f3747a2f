#include <levin/train/summary.h>

#include <levin/core/text_table.h>

namespace levin {
namespace {

struct Count {
  std::int64_t all = 0, trainable = 0, bytes = 0;
};

Count count_parameters(const torch::nn::Module& module) {
  Count count;
  for (const auto& parameter : module.parameters()) {
    count.all += parameter.numel();
    count.bytes += static_cast<std::int64_t>(parameter.nbytes());
    if (parameter.requires_grad()) count.trainable += parameter.numel();
  }
  return count;
}

std::string type_name(const torch::nn::Module& module) {
  std::string name = module.name();
  if (const auto colon = name.rfind("::"); colon != std::string::npos) name.erase(0, colon + 2);
  if (name.ends_with("Impl")) name.erase(name.size() - 4);
  return name;
}

void add_children(const torch::nn::Module& module, const std::string& prefix, std::int64_t depth, TextTable& table) {
  if (depth == 0) return;
  for (const auto& child : module.named_children()) {
    const std::string name = prefix + child.key();
    table.add_row({name, type_name(*child.value()), std::to_string(count_parameters(*child.value()).all),
                   child.value()->is_training() ? "train" : "eval"});
    add_children(*child.value(), name + ".", depth - 1, table);
  }
}

}  // namespace

std::string summarize(const torch::nn::Module& module, std::int64_t max_depth) {
  TextTable table({"name", "type", "parameters", "mode"});
  add_children(module, "", max_depth, table);
  const Count total = count_parameters(module);
  std::string text = table.empty() ? "" : table.to_string();
  text += std::to_string(total.all) + " parameters, " + std::to_string(total.trainable) + " trainable, " +
          std::to_string((total.bytes + 1023) / 1024) + " KiB";
  return text;
}

}  // namespace levin
