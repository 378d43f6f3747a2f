// A worker process for tests: works on a study, fills its queue, leaves a trial running, or prints what the study
// holds. Usage: tune_worker work URL STUDY TRIALS SEED | enqueue URL STUDY JSON | abandon URL STUDY | dump URL STUDY
// | objectives URL STUDY TRIALS: two objectives, pruned | ordinals URL STUDY TRIALS: an ordered choice | toil URL STUDY INTERVAL: with heartbeats until killed, prints
// the number of each trial once it was told.
#include <levin/core/json.h>
#include <levin/tune/pruners/successive_halving.h>
#include <levin/tune/samplers/nsga.h>
#include <levin/tune/samplers/random.h>
#include <levin/tune/samplers/tpe.h>
#include <levin/tune/space.h>
#include <levin/tune/study.h>

#include <chrono>
#include <cmath>
#include <cstdlib>
#include <iostream>
#include <limits>
#include <random>
#include <string>
#include <vector>

namespace {

namespace tune = levin::tune;
using levin::List;
using levin::Map;
using levin::Value;

double objective(tune::Trial& trial) {
  const double x = trial.suggest_float("x", -5, 5);
  const double lr = trial.suggest_float("lr", 1e-5, 1e-1, {.log = true});
  const double s = trial.suggest_float("s", 0, 2, {.step = 0.25});
  const auto n = trial.suggest_int("n", 1, 9, {.step = 2});
  const auto k = trial.suggest_int("k", 1, 100, {.log = true});
  const Value c = trial.suggest_categorical("c", List{Value(), false, 2, 0.5, "a"});
  if (c.is_null()) trial.suggest_float("only_null", 0, 1);
  trial.set_user_attr("who", "levin \xC3\xBC");
  trial.set_user_attr("list", List{1, "two", Value(), Map{{"deep", true}}});
  const double value = x * x + lr + s + static_cast<double>(n + k) + (c == Value("a") ? 0 : 1);
  if (trial.number() % 7 == 3) return std::numeric_limits<double>::quiet_NaN();
  if (trial.number() == 5) return std::numeric_limits<double>::infinity();
  for (int step = 1; step <= 9; ++step) {
    trial.report(value + 1.0 / step, step);
    if (trial.should_prune()) throw tune::TrialPruned();
  }
  trial.report(std::numeric_limits<double>::quiet_NaN(), 10);
  trial.report(std::numeric_limits<double>::infinity(), 11);
  trial.report(-std::numeric_limits<double>::infinity(), 12);
  return value;
}

tune::Study open(const std::string& url, const std::string& name, std::uint64_t seed = 0) {
  return tune::create_study({.storage = url,
                             .sampler = tune::TPESampler({.n_startup_trials = 5, .seed = seed}),
                             .pruner = tune::SuccessiveHalvingPruner({.min_resource = 1, .reduction_factor = 3}),
                             .study_name = name,
                             .load_if_exists = true});
}

// Two objectives that fall with the steps, and a further metric.
void optimize_objectives(const std::string& url, const std::string& name, std::int64_t n_trials) {
  auto study = tune::create_study({.storage = url,
                                   .sampler = tune::NSGAIISampler({.population_size = 6, .seed = 0}),
                                   .pruner = tune::SuccessiveHalvingPruner({.min_resource = 1, .reduction_factor = 2}),
                                   .study_name = name,
                                   .load_if_exists = true,
                                   .directions = {tune::Direction::minimize, tune::Direction::maximize}});
  study.optimize(
      [](tune::Trial& trial) {
        const double x = trial.suggest_float("x", 0, 1), y = trial.suggest_float("y", 0, 1);
        std::vector<double> values;
        for (int step = 1; step <= 4; ++step) {
          values = {x + y + 1.0 / step, x - y - 1.0 / step};
          trial.report(values, step, {{"seconds", 0.5 * step}});
          if (trial.should_prune()) throw tune::TrialPruned();
        }
        return values;
      },
      {.n_trials = n_trials});
}

// The best batch is 64: an ordered choice that other tools see as the ints 0 to 4.
void optimize_ordinals(const std::string& url, const std::string& name, std::int64_t n_trials) {
  open(url, name).optimize(
      [](tune::Trial& trial) {
        const auto batch = trial.suggest("batch", tune::ordinal({16, 32, 64, 128, 256})).as_int();
        const auto size = trial.suggest("size", tune::ordinal({"small", "medium", "large"})).as_string();
        return std::abs(static_cast<double>(batch) - 64) + (size == "large" ? 0 : 1);
      },
      {.n_trials = n_trials});
}

Value seconds(const std::optional<tune::TimePoint>& time) {
  if (!time) return {};
  const auto micros = std::chrono::duration_cast<std::chrono::microseconds>(time->time_since_epoch());
  return static_cast<std::int64_t>(micros.count());
}

void dump(const std::string& url, const std::string& name) {
  const auto study = tune::load_study({.study_name = name, .storage = url});
  List trials;
  for (const auto& trial : study.trials()) {
    Map distributions;
    for (const auto& [param, distribution] : trial.distributions) distributions[param] = distribution.to_json();
    List reports, values;
    for (const auto& [step, value] : trial.intermediate_values) reports.push_back(List{step, value});
    for (const double value : trial.values) values.push_back(value);
    trials.push_back(Map{{"number", trial.number},
                         {"state", to_string(trial.state)},
                         {"values", values},
                         {"params", trial.params},
                         {"distributions", distributions},
                         {"reports", reports},
                         {"user_attrs", trial.user_attrs},
                         {"system_attrs", trial.system_attrs},
                         {"start", seconds(trial.datetime_start)},
                         {"complete", seconds(trial.datetime_complete)}});
  }
  std::cout << levin::to_json(Map{{"user_attrs", study.user_attrs()}, {"trials", trials}}) << '\n';
}

}  // namespace

int main(int argc, char** argv) {
  const std::vector<std::string> args(argv + 1, argv + argc);
  try {
    if (args.size() == 5 && args[0] == "work") {
      open(args[1], args[2], std::stoull(args[4])).optimize(objective, {.n_trials = std::stoll(args[3])});
    } else if (args.size() == 4 && args[0] == "enqueue") {
      open(args[1], args[2]).enqueue_trial(levin::parse_json(args[3]).as_map(), {.user_attrs = {{"from", "levin"}}});
    } else if (args.size() == 3 && args[0] == "abandon") {
      auto trial = open(args[1], args[2]).ask();
      trial.suggest_float("x", -5, 5);
      std::cout << trial.number() << std::endl;
      std::cin.get();            // until the test has looked
      std::_Exit(EXIT_SUCCESS);  // as a killed process would end: nothing is told
    } else if (args.size() == 4 && args[0] == "objectives") {
      optimize_objectives(args[1], args[2], std::stoll(args[3]));
    } else if (args.size() == 4 && args[0] == "ordinals") {
      optimize_ordinals(args[1], args[2], std::stoll(args[3]));
    } else if (args.size() == 4 && args[0] == "toil") {
      auto study = tune::create_study(
          {.storage = args[1],
           .sampler = tune::RandomSampler({.seed = std::random_device{}()}),
           .study_name = args[2],
           .load_if_exists = true,
           .heartbeat = tune::HeartbeatOptions{
               .interval = std::stod(args[3]), .grace_period = 4 * std::stod(args[3]), .max_retry = -1}});
      for (;;) {
        auto trial = study.ask();
        const double x = trial.suggest_float("x", 0, 1);
        for (int i = 0; i < 4; ++i) trial.suggest_float("y" + std::to_string(i), 0, 1);
        trial.report(x, 0);
        study.tell(trial, 2 * x);
        std::cout << trial.number() << std::endl;
      }
    } else if (args.size() == 3 && args[0] == "dump") {
      dump(args[1], args[2]);
    } else {
      std::cerr << "see the head of tests/tune/worker.cpp\n";
      return 2;
    }
  } catch (const std::exception& error) {
    std::cerr << error.what() << '\n';
    return 1;
  }
}
