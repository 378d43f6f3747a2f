// Stands for the training part: writes the request to the file that LEVIN_TEST_REQUEST names and returns 7. A seed of
// 13 is an error of the user, a seed of 14 any other failure.
#include <levin/app/engine.h>
#include <levin/core/error.h>

#include <cstdlib>
#include <fstream>
#include <stdexcept>

std::uint32_t levin_engine_version() {
  const char* other = std::getenv("LEVIN_TEST_ENGINE_VERSION");
  return other == nullptr ? levin::app::kEngineVersion : static_cast<std::uint32_t>(std::atoi(other));
}

int levin_engine_run(const levin::app::Request* request) {
  const auto seed = request->config.get<std::int64_t>("seed", 0);
  if (seed == 13) throw levin::Error({.what = "an unlucky seed", .value = "13", .where = {}, .hint = "take another"});
  if (seed == 14) throw std::runtime_error("something broke");
  std::ofstream out(std::getenv("LEVIN_TEST_REQUEST"));
  out << levin::app::name_of(request->command) << '\n'
      << request->config.to_string() << '\n'
      << request->provenance.to_string() << '\n';
  for (const auto& argument : request->arguments) out << argument << '|';
  out << '\n' << request->executable.string() << '\n';
  return 7;
}
