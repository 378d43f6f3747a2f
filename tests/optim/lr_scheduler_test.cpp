#include "golden.h"

#include <levin/core/error.h>
#include <levin/optim/lr_scheduler.h>
#include <levin/optim/sgd.h>

#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>

namespace levin::optim {
namespace {

using testing::Json;

Optimizer plain(const std::vector<double>& lrs) {
  std::vector<ParamGroup> groups;
  for (const auto lr : lrs) groups.push_back({.params = {at::zeros({1}).requires_grad_()}, .lr = lr});
  return SGD(groups);
}

double number(const Json& value) {
  if (value == "inf") return std::numeric_limits<double>::infinity();
  if (value == "-inf") return -std::numeric_limits<double>::infinity();
  if (value == "nan") return std::nan("");
  return value.get<double>();
}

void expect_same(const Value& value, const Json& expected, const std::string& key) {
  if (expected.is_null()) {
    EXPECT_TRUE(value.is_null()) << key;
  } else if (expected.is_boolean()) {
    EXPECT_EQ(value, Value(expected.get<bool>())) << key;
  } else if (expected.is_array()) {
    ASSERT_EQ(value.as_list().size(), expected.size()) << key;
    for (size_t i = 0; i < expected.size(); ++i) expect_same(value.as_list()[i], expected[i], key);
  } else if (expected.is_string() && expected != "inf" && expected != "-inf") {
    EXPECT_EQ(value, Value(expected.get<std::string>())) << key;
  } else {
    if (std::isinf(number(expected))) {
      EXPECT_EQ(value.as_double(), number(expected)) << key;
    } else {
      EXPECT_NEAR(value.as_double(), number(expected), 1e-12) << key;
    }
  }
}

struct Case {
  std::function<LRScheduler(Optimizer)> make;
  std::vector<double> lrs = {0.3, 0.01};
  int change = -1;
  bool resumed = false;
};

std::map<std::string, Case> cases() {
  auto step = [](StepLROptions o) { return [o](Optimizer opt) -> LRScheduler { return StepLR(opt, o); }; };
  auto cosine = [](CosineAnnealingLROptions o) {
    return [o](Optimizer opt) -> LRScheduler { return CosineAnnealingLR(opt, o); };
  };
  auto plateau = [](ReduceLROnPlateauOptions o) {
    return [o](Optimizer opt) -> LRScheduler { return ReduceLROnPlateau(opt, o); };
  };
  std::map<std::string, Case> out;
  out["step_3"] = {step({.step_size = 3, .gamma = 0.7})};
  out["step_1"] = {.make = step({.step_size = 1, .gamma = 0.95}), .change = 20};
  out["cosine_20"] = {cosine({.T_max = 20})};
  out["cosine_7_eta"] = {.make = cosine({.T_max = 7, .eta_min = 0.005}), .change = 11};
  out["cosine_1"] = {cosine({.T_max = 1, .eta_min = 0.002})};
  out["plateau"] = {plateau({.factor = 0.5, .patience = 2})};
  out["plateau_abs_max"] = {plateau({.mode = Mode::max,
                                     .factor = 0.3,
                                     .patience = 1,
                                     .threshold = 0.01,
                                     .threshold_mode = ThresholdMode::abs,
                                     .cooldown = 3,
                                     .min_lr = std::vector<double>{1e-3, 1e-4},
                                     .eps = 1e-6})};
  out["plateau_abs_min"] = {plateau({.factor = 0.9,
                                     .patience = 0,
                                     .threshold = 0.2,
                                     .threshold_mode = ThresholdMode::abs,
                                     .cooldown = 1,
                                     .min_lr = 0.05})};
  out["plateau_rel_max"] = {plateau({.mode = Mode::max, .factor = 0.8, .patience = 1, .threshold = 0.1})};
  out["step_resumed"] = {step({.step_size = 3, .gamma = 0.7, .last_epoch = 10}), {0.05}, -1, true};
  out["step_resumed_on_boundary"] = {step({.step_size = 3, .gamma = 0.7, .last_epoch = 8}), {0.05}, -1, true};
  out["cosine_resumed"] = {cosine({.T_max = 20, .eta_min = 0.001, .last_epoch = 10}), {0.05}, -1, true};
  return out;
}

// `restart`: at this step the state moves to a new scheduler on a new optimizer with the same learning rates.
void follow(const Case& c, const Json& expected, const Json& metrics, int restart) {
  auto optimizer = plain(c.lrs);
  if (c.resumed) optimizer.param_groups()[0].initial_lr = 0.3;
  auto scheduler = c.make(optimizer);
  const auto& lrs = expected.at("lrs");
  for (size_t i = 0;; ++i) {
    for (size_t g = 0; g < c.lrs.size(); ++g) {
      ASSERT_NEAR(optimizer.param_groups()[g].lr, lrs[i][g].get<double>(), 1e-12) << "step " << i;
      ASSERT_EQ(scheduler.get_last_lr()[g], optimizer.param_groups()[g].lr);
    }
    if (i + 1 == lrs.size()) break;
    if (static_cast<int>(i) == restart) {
      auto other = plain(c.lrs);
      if (c.resumed) other.param_groups()[0].initial_lr = 0.3;
      auto continued = c.make(other);
      other.load_state_dict(optimizer.state_dict());
      continued.load_state_dict(scheduler.state_dict());
      optimizer = other;
      scheduler = continued;
    }
    if (static_cast<int>(i) == c.change) optimizer.param_groups()[0].lr *= 2;
    if (scheduler.needs_metric()) {
      scheduler.step(number(metrics[i]));
    } else {
      scheduler.step();
    }
  }
  const auto state = scheduler.state_dict();
  EXPECT_EQ(state.size(), expected.at("state").size());
  for (const auto& [key, value] : expected.at("state").items()) expect_same(state.at(key), value, key);
}

TEST(LRScheduler, FollowsPyTorch) {
  const auto file = testing::golden("schedules.json");
  const auto all = cases();
  ASSERT_EQ(all.size(), file.at("cases").size());
  for (const auto& [name, c] : all) {
    for (const int restart : {-1, 0, 9, 25}) {
      SCOPED_TRACE(name + " restart at " + std::to_string(restart));
      follow(c, file.at("cases").at(name), file.at("metrics"), restart);
    }
  }
}

TEST(LRScheduler, ErrorsNameTheMistake) {
  auto optimizer = plain({0.1, 0.2});
  EXPECT_THROW(StepLR(optimizer, {.step_size = 0}), Error);
  EXPECT_THROW(StepLR(optimizer, {.step_size = 3, .gamma = -1}), Error);
  EXPECT_THROW(StepLR(optimizer, {.step_size = 3, .last_epoch = 4}), Error);  // no initial_lr yet
  EXPECT_THROW(CosineAnnealingLR(optimizer, {.T_max = 0}), Error);
  EXPECT_THROW(ReduceLROnPlateau(optimizer, {.factor = 1}), Error);
  EXPECT_THROW(ReduceLROnPlateau(optimizer, {.patience = -1}), Error);
  EXPECT_THROW(ReduceLROnPlateau(optimizer, {.min_lr = std::vector<double>{0.1}}), Error);
  EXPECT_THROW(StepLR(Optimizer(), {.step_size = 3}), Error);
  EXPECT_THROW(LRScheduler().step(), Error);

  StepLR step(optimizer, {.step_size = 2});
  EXPECT_THROW(step.step(0.5), Error);
  EXPECT_THROW(ReduceLROnPlateau(optimizer).step(), Error);
  optimizer.add_param_group({.params = {at::zeros({1}).requires_grad_()}});
  EXPECT_THROW(step.step(), Error);
}

TEST(LRScheduler, RefusesAnothersState) {
  auto optimizer = plain({0.1});
  StepLR step(optimizer, {.step_size = 2, .gamma = 0.5});
  CosineAnnealingLR cosine(plain({0.1}), {.T_max = 5});
  const auto before = step.state_dict();
  EXPECT_THROW(step.load_state_dict(cosine.state_dict()), Error);
  EXPECT_THROW(step.load_state_dict({{"step_size", 0}}), Error);
  EXPECT_THROW(step.load_state_dict({{"gamma", "fast"}}), Error);
  EXPECT_EQ(step.state_dict(), before);
  // What Lightning's smallest files hold: one key is enough.
  step.load_state_dict({{"last_epoch", 7}});
  EXPECT_EQ(step.last_epoch(), 7);
}

}  // namespace
}  // namespace levin::optim
