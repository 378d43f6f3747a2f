#include <levin/app/study_options.h>

#include <levin/core/error.h>
#include <levin/core/file.h>
#include <levin/core/json.h>
#include <levin/tune/samplers/nsga.h>
#include <levin/tune/samplers/random.h>
#include <levin/tune/samplers/random_forest.h>
#include <levin/tune/samplers/tpe.h>

#include <filesystem>
#include <fstream>

namespace levin::app {
namespace {

namespace fs = std::filesystem;

std::string newest_storage() {
  std::error_code ignored;
  fs::path newest;
  fs::file_time_type when{};
  for (fs::directory_iterator it("runs", ignored), end; !ignored && it != end; it.increment(ignored)) {
    const fs::path path = it->path() / "study.db";
    std::error_code failed;
    const auto time = fs::last_write_time(path, failed);
    if (failed || (!newest.empty() && time <= when)) continue;
    newest = path, when = time;
  }
  if (newest.empty()) {
    throw Error({.what = "there is no study.db below runs/",
                 .value = {},
                 .where = {},
                 .hint = "name the storage with --storage, such as --storage sqlite:///study.db"});
  }
  return newest.string();
}

bool is_journal(const std::string& path) {
  std::string head(11, '\0');
  std::ifstream file(path);
  if (file.read(head.data(), static_cast<std::streamsize>(head.size()))) return head == "{\"op_code\":";
  return path.ends_with(".log") || path.ends_with(".journal");
}

}  // namespace

std::string storage_url(const std::string& given, bool must_exist) {
  for (const std::string_view scheme : {"sqlite:///", "journal:///"}) {
    if (!given.starts_with(scheme)) continue;
    if (must_exist) require_file(given.substr(scheme.size()));
    return given;
  }
  if (given.find("://") != std::string::npos) return given;
  const std::string path = given.empty() ? newest_storage() : given;
  if (must_exist) require_file(path);
  return (is_journal(path) ? "journal:///" : "sqlite:///") + path;
}

std::vector<tune::Direction> directions_of(const std::string& text) {
  std::vector<tune::Direction> out;
  for (const auto& word : split_list(text)) {
    require_choice("direction", word, {"minimize", "maximize"});
    out.push_back(word == "maximize" ? tune::Direction::maximize : tune::Direction::minimize);
  }
  return out;
}

const std::vector<std::string>& sampler_names() {
  static const std::vector<std::string> names{"tpe", "random", "nsgaii", "nsgaiii", "forest"};
  return names;
}

std::string sampler_list() {
  std::string out;
  for (const auto& name : sampler_names()) out += (out.empty() ? "" : ", ") + name;
  return out;
}

tune::SamplerRef sampler_named(const std::string& name, std::uint64_t seed) {
  require_choice("sampler", name, sampler_names());
  if (name == "random") return tune::RandomSampler({.seed = seed});
  if (name == "nsgaii") return tune::NSGAIISampler({.seed = seed});
  if (name == "nsgaiii") return tune::NSGAIIISampler({.seed = seed});
  if (name == "forest") return tune::RandomForestSampler({.seed = seed});
  return tune::TPESampler({.seed = seed});
}

tune::SearchSpace space_of(const std::vector<std::string>& params) {
  tune::SearchSpace space;
  for (const auto& param : params) {
    const auto [name, text] = split_pair(param, "param");
    const auto distribution = tune::parse_distribution(text);
    if (!distribution) {
      throw Error({.what = "--param takes NAME=DISTRIBUTION",
                   .value = "\"" + param + "\"",
                   .where = "command line",
                   .hint = "write it like --param '" + name + "=uniform(0,1)'"});
    }
    if (space.contains(name)) {
      throw Error({.what = "--param names \"" + name + "\" twice", .value = {}, .where = "command line", .hint = {}});
    }
    space.set(name, *distribution);
  }
  return space;
}

Value value_of_text(const std::string& text) {
  try {
    return parse_json(text);
  } catch (const Error&) {
    return text;
  }
}

}  // namespace levin::app
