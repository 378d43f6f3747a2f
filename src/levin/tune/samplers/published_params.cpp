#include <levin/tune/samplers/published_params.h>

#include <levin/core/json.h>

#include <algorithm>

namespace levin::tune {
namespace {

constexpr std::size_t chunk_size = 2045;  // what Optuna's tables took for an attribute before they held text

}  // namespace

void publish_params(StudyView& study, const std::string& key, const Map& params) {
  const std::string json = to_json(params);
  for (std::size_t at = 0, i = 0; at < json.size(); ++i) {
    std::size_t end = std::min(at + chunk_size, json.size());
    while (end < json.size() && (static_cast<unsigned char>(json[end]) & 0xC0) == 0x80) --end;  // keep characters whole
    study.set_system_attr(key + std::to_string(i), json.substr(at, end - at));
    at = end;
  }
}

Map published_params(const FrozenTrial& trial, const std::string& key) {
  std::string json;
  for (std::size_t i = 0;; ++i) {
    const Value* part = trial.system_attrs.find(key + std::to_string(i));
    if (part == nullptr || !part->is_string() || part->as_string().empty()) break;
    json += part->as_string();
  }
  if (json.empty()) return trial.params;
  Map params;
  try {
    params = parse_json(json).as_map();
  } catch (const Error&) {
    return trial.params;  // another worker is just writing its pieces
  }
  for (const auto& [name, value] : trial.params) params[name] = value;
  return params;
}

}  // namespace levin::tune
