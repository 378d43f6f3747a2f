#include <levin/app/search_methods.h>

#include <levin/core/json.h>
#include <levin/core/text.h>
#include <levin/tune/pruners/registry.h>
#include <levin/tune/samplers/grid.h>
#include <levin/tune/samplers/registry.h>

namespace levin::app {
namespace {

// A list is what the text spells, where it spells something in JSON.
Value spelt(const std::string& text) {
  try {
    return parse_json(text);
  } catch (const Error&) {
    return text;
  }
}

template <class Info>
std::string entry(const Info& info, std::size_t width) {
  constexpr std::size_t indent = 16;
  std::string out = "  " + info.name;
  if (out.size() + 2 > indent) {
    out += "\n" + std::string(indent, ' ');
  } else {
    out.resize(indent, ' ');
  }
  std::string text = info.summary;
  for (const auto& option : info.options) {
    text += (&option == &info.options.front() ? ". Options: " : "; ") + option.name + ", " + option.help;
    if (!option.fallback.empty()) text += " [" + option.fallback + "]";
  }
  return out + wrap_text(text, width - indent, indent) + "\n";
}

}  // namespace

Map options_of(const std::vector<std::string>& texts, const std::string& setting) {
  Map out;
  for (const auto& text : texts) {
    const auto equals = text.find('=');
    if (equals == std::string::npos || equals == 0) {
      throw Error({.what = "an option is written NAME=VALUE",
                   .value = text,
                   .where = setting,
                   .hint = "for instance --" + setting + " seed=1; see levin tune --help"});
    }
    out[text.substr(0, equals)] = spelt(text.substr(equals + 1));
  }
  return out;
}

tune::SamplerRef sampler_of(const Settings& settings, const std::vector<SearchedSetting>& searched) {
  Map options = options_of(settings.tune.sampler_options, "tune.sampler_options");
  if (!options.contains("seed")) options["seed"] = settings.seed;
  if (settings.tune.sampler == "grid") {
    const auto values = grid_of(searched);
    return tune::GridSampler(tune::Grid(values.begin(), values.end()),
                             {.seed = static_cast<std::uint64_t>(options.get<std::int64_t>("seed"))});
  }
  return tune::make_sampler(settings.tune.sampler, options);
}

tune::PrunerRef pruner_of(const Settings& settings) {
  Map options = options_of(settings.tune.pruner_options, "tune.pruner_options");
  const std::string& name = settings.tune.pruner;
  const auto by_default = [&](const char* option, std::int64_t value) {
    if (!options.contains(option)) options[option] = value;
  };
  if (name == "median" || name == "percentile") by_default("n_warmup_steps", 3);
  if (name == "halving") by_default("min_resource", 2);
  return tune::make_pruner(name, options);
}

std::string search_methods_help(std::size_t width) {
  std::string out = "\nsamplers:\n";
  for (const auto& info : tune::sampler_infos()) out += entry(info, width);
  out += "\npruners:\n";
  for (const auto& info : tune::pruner_infos()) out += entry(info, width);
  return out;
}

}  // namespace levin::app
