// Seconds per trial on a storage: storage_speed URL TRIALS PARAMETERS [FOLDER]. A random sampler and an objective that
// costs nothing, so that what is measured is the storage. With FOLDER, also the seconds of one fsync of 2 KiB there.
#include <levin/tune/samplers/random.h>
#include <levin/tune/storage/postgres.h>
#include <levin/tune/study.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <fcntl.h>
#include <string>
#include <unistd.h>
#include <vector>

namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

double fsync_seconds(const std::string& folder) {
  const std::string path = folder + "/levin-fsync";
  const int file = ::open(path.c_str(), O_CREAT | O_WRONLY | O_TRUNC | O_APPEND, 0600);
  const std::string block(2048, 'x');
  constexpr int kTimes = 100;
  const auto start = Clock::now();
  for (int i = 0; i < kTimes; ++i) {
    if (::write(file, block.data(), block.size()) < 0 || ::fsync(file) != 0) return 0;
  }
  const double seconds = seconds_since(start) / kTimes;
  ::close(file);
  ::unlink(path.c_str());
  return seconds;
}

}  // namespace

int main(int argc, char** argv) {
  namespace tune = levin::tune;
  if (argc < 4) {
    std::fprintf(stderr, "usage: storage_speed URL TRIALS PARAMETERS [FOLDER]\n");
    return 2;
  }
  const int trials = std::stoi(argv[2]), parameters = std::stoi(argv[3]);
  const double fsync = argc > 4 ? fsync_seconds(argv[4]) : 0;
  auto study = tune::create_study(
      {.storage = argv[1], .sampler = tune::RandomSampler({.seed = 0}), .study_name = "speed", .load_if_exists = true});
  std::vector<std::string> names;
  for (int i = 0; i < parameters; ++i) names.push_back("x" + std::to_string(i));
  const auto objective = [&](tune::Trial& trial) {
    double sum = 0;
    for (const auto& name : names) sum += trial.suggest_float(name, -5, 5);
    return sum;
  };
  study.optimize(objective, {.n_trials = 2});
  const auto* postgres = dynamic_cast<tune::PostgresStorage*>(study.storage().get());
  const auto trips = postgres != nullptr ? postgres->round_trips() : 0;
  const auto start = Clock::now();
  study.optimize(objective, {.n_trials = trials});
  const double seconds = seconds_since(start) / trials;
  std::printf("{\"seconds\": %.9f, \"fsync\": %.9f, \"round_trips\": %.3f}\n", seconds, fsync,
              postgres != nullptr ? static_cast<double>(postgres->round_trips() - trips) / trials : 0.0);
}
