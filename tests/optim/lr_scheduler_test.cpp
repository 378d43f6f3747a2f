#include "golden.h"

#include <levin/core/error.h>
#include <levin/optim/lr_schedules.h>
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
  } else if (expected.is_object()) {
    ASSERT_EQ(value.as_map().size(), expected.size()) << key;
    for (const auto& [name, item] : expected.items()) expect_same(value.as_map().at(name), item, key + "." + name);
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
  const auto of = [](auto make) { return Case{[make](Optimizer o) -> LRScheduler { return make(o); }}; };
  const auto changed = [&](auto make, int at) {
    Case c = of(make);
    c.change = at;
    return c;
  };
  out["multi_step"] = of([](auto o) { return MultiStepLR(o, {.milestones = {4, 4, 10, 33}, .gamma = 0.6}); });
  out["constant"] = of([](auto o) { return ConstantLR(o, {.factor = 0.25, .total_iters = 7}); });
  out["linear"] = changed(
      [](auto o) { return LinearLR(o, {.start_factor = 0.1, .end_factor = 0.8, .total_iters = 12}); }, 20);
  out["exponential"] = changed([](auto o) { return ExponentialLR(o, {.gamma = 0.93}); }, 8);
  out["polynomial"] = of([](auto o) { return PolynomialLR(o, {.total_iters = 15, .power = 2.5}); });
  out["warm_restarts"] =
      of([](auto o) { return CosineAnnealingWarmRestarts(o, {.T_0 = 5, .T_mult = 2, .eta_min = 0.001}); });
  out["warm_restarts_1"] = of([](auto o) { return CosineAnnealingWarmRestarts(o, {.T_0 = 9}); });
  out["lambda"] =
      of([](auto o) { return LambdaLR(o, [](int64_t at) { return 1 / (1 + static_cast<double>(at)); }); });
  out["multiplicative"] = changed(
      [](auto o) { return MultiplicativeLR(o, [](int64_t at) { return at % 10 == 0 ? 0.5 : 1.01; }); }, 7);
  out["one_cycle"] = of([](auto o) { return OneCycleLR(o, {.max_lr = 0.4, .total_steps = 61}); });
  out["one_cycle_linear"] = of([](auto o) {
    return OneCycleLR(o, {.max_lr = 0.2,
                          .total_steps = 70,
                          .pct_start = 0.4,
                          .anneal_strategy = AnnealStrategy::linear,
                          .base_momentum = 0.7,
                          .div_factor = 10,
                          .final_div_factor = 100,
                          .three_phase = true});
  });
  out["cyclic"] =
      of([](auto o) { return CyclicLR(o, {.base_lr = 0.01, .max_lr = 0.2, .step_size_up = 7, .step_size_down = 4}); });
  out["cyclic_2"] = of([](auto o) {
    return CyclicLR(o, {.base_lr = 0.01,
                        .max_lr = 0.2,
                        .step_size_up = 5,
                        .mode = CyclicMode::triangular2,
                        .cycle_momentum = false});
  });
  out["cyclic_exp"] = of([](auto o) {
    return CyclicLR(o, {.base_lr = 0.01,
                        .max_lr = 0.2,
                        .step_size_up = 6,
                        .mode = CyclicMode::exp_range,
                        .gamma = 0.97,
                        .base_momentum = 0.6});
  });
  out["swa"] = changed([](auto o) { return SWALR(o, {.swa_lr = 0.02, .anneal_epochs = 8}); }, 30);
  out["swa_linear"] = of([](auto o) {
    return SWALR(o, {.swa_lr = 0.5, .anneal_epochs = 0, .anneal_strategy = AnnealStrategy::linear});
  });
  out["sequential"] = of([](auto o) {
    return SequentialLR(o,
                        {LinearLR(o, {.start_factor = 0.1, .end_factor = 1, .total_iters = 5}),
                         CosineAnnealingLR(o, {.T_max = 20, .eta_min = 0.001}), ExponentialLR(o, {.gamma = 0.9})},
                        {5, 30});
  });
  out["chained"] = of([](auto o) {
    return ChainedScheduler({ConstantLR(o, {.factor = 0.1, .total_iters = 6}), ExponentialLR(o, {.gamma = 0.95})});
  });
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
  for (const auto& [key, value] : expected.at("state").items()) {
    ASSERT_TRUE(state.contains(key)) << key;
    expect_same(state.at(key), value, key);
  }
  if (!expected.contains("momentum")) return;
  for (size_t g = 0; g < c.lrs.size(); ++g)
    EXPECT_NEAR(optimizer.param_groups()[g].momentum, expected.at("momentum")[g].get<double>(), 1e-12);
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

  EXPECT_THROW(MultiStepLR(optimizer, {.milestones = {-1}}), Error);
  EXPECT_THROW(ConstantLR(optimizer, {.factor = 2}), Error);
  EXPECT_THROW(LinearLR(optimizer, {.start_factor = 0}), Error);
  EXPECT_THROW(PolynomialLR(optimizer, {.total_iters = 0}), Error);
  EXPECT_THROW(CosineAnnealingWarmRestarts(optimizer, {.T_0 = 0}), Error);
  EXPECT_THROW(LambdaLR(optimizer, nullptr), Error);
  EXPECT_THROW(OneCycleLR(optimizer, {.max_lr = 0.1, .total_steps = 0}), Error);
  EXPECT_THROW(CyclicLR(optimizer, {.base_lr = 0.1, .max_lr = 1, .step_size_up = 0}), Error);
  EXPECT_THROW(SequentialLR(optimizer, {step}, {3}), Error);
  EXPECT_THROW(SequentialLR(optimizer, {step, ReduceLROnPlateau(optimizer)}, {3}), Error);
  EXPECT_THROW(SequentialLR(optimizer, {step, StepLR(plain({0.1}), {.step_size = 2})}, {3}), Error);
  EXPECT_THROW(ChainedScheduler({}), Error);

  OneCycleLR cycle(plain({0.1}), {.max_lr = 0.1, .total_steps = 2});
  cycle.step();
  cycle.step();
  EXPECT_THROW(cycle.step(), Error);
}

TEST(LRScheduler, LeavesLaterGroupsAlone) {
  auto optimizer = plain({0.1, 0.2});
  StepLR step(optimizer, {.step_size = 1, .gamma = 0.5});
  optimizer.add_param_group({.params = {at::zeros({1}).requires_grad_()}, .lr = 0.7});
  step.step();
  EXPECT_EQ(step.get_last_lr(), (std::vector<double>{0.05, 0.1, 0.7}));
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
