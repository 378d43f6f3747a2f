// Golden files of the tuner, and their numbers.
#pragma once

#include <levin/core/json.h>

#include <fstream>
#include <sstream>
#include <string>
#include <vector>

namespace levin::tune {

inline Map golden(const std::string& name) {
  std::ifstream file(std::string(LEVIN_SOURCE_DIR) + "/tests/golden/tune/" + name + ".json");
  std::ostringstream text;
  text << file.rdbuf();
  return parse_json(text.str()).as_map();
}

inline std::vector<double> numbers(const Value& value) {
  std::vector<double> out;
  for (const auto& element : value.as_list()) out.push_back(element.as_double());
  return out;
}

inline std::vector<std::vector<double>> rows(const Value& value) {
  std::vector<std::vector<double>> out;
  for (const auto& element : value.as_list()) out.push_back(numbers(element));
  return out;
}

}  // namespace levin::tune
