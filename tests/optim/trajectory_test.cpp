// 50-step trajectories equal to torch.optim's, in every way the optimizer may hold its parameters.
#include "golden.h"

#include <levin/optim/adagrad.h>
#include <levin/optim/adam.h>
#include <levin/optim/adam_variants.h>
#include <levin/optim/clip_grad.h>
#include <levin/optim/lr_scheduler.h>
#include <levin/optim/optimizer_impl.h>
#include <levin/optim/rmsprop.h>
#include <levin/optim/rprop.h>
#include <levin/optim/sgd.h>

#include <gtest/gtest.h>

#include <functional>
#include <limits>
#include <optional>

namespace levin::optim {
namespace {

using testing::Json;
using testing::Problem;
using Params = std::map<std::string, at::Tensor>;

struct Case {
  std::function<Optimizer(const std::vector<at::Tensor>&)> make;
  bool skip = false;
  std::function<LRScheduler(Optimizer)> schedule = {};
  std::optional<std::pair<double, double>> clip_norm = {};
  std::optional<double> clip_value = {};
};

template <class O, class Options>
Case of(Options options, bool skip = false) {
  return {.make = [options](const std::vector<at::Tensor>& p) -> Optimizer { return O(p, options); }, .skip = skip};
}

std::map<std::string, Case> cases() {
  constexpr double inf = std::numeric_limits<double>::infinity();
  std::map<std::string, Case> out;
  out["sgd"] = of<SGD>(SGDOptions{.lr = 0.1});
  out["sgd_default"] = of<SGD>(SGDOptions{});
  out["sgd_momentum"] = of<SGD>(SGDOptions{.lr = 0.05, .momentum = 0.9});
  out["sgd_dampening"] = of<SGD>(SGDOptions{.lr = 0.05, .momentum = 0.9, .dampening = 0.3, .weight_decay = 0.01});
  out["sgd_nesterov"] = of<SGD>(SGDOptions{.lr = 0.05, .momentum = 0.8, .weight_decay = 0.02, .nesterov = true});
  out["sgd_maximize"] = of<SGD>(SGDOptions{.lr = 0.01, .momentum = 0.5, .weight_decay = 0.1, .maximize = true});
  out["sgd_skipping"] = of<SGD>(SGDOptions{.lr = 0.05, .momentum = 0.9, .dampening = 0.1, .weight_decay = 0.01}, true);
  out["adam"] = of<Adam>(AdamOptions{.lr = 0.02});
  out["adam_default"] = of<Adam>(AdamOptions{});
  out["adam_settings"] = of<Adam>(AdamOptions{.lr = 0.02, .betas = {0.8, 0.95}, .eps = 1e-6, .weight_decay = 0.05});
  out["adam_amsgrad"] = of<Adam>(AdamOptions{.lr = 0.05, .weight_decay = 0.01, .amsgrad = true});
  out["adam_maximize"] = of<Adam>(AdamOptions{.lr = 0.01, .weight_decay = 0.05, .maximize = true});
  out["adam_decoupled"] = of<Adam>(AdamOptions{.lr = 0.02, .weight_decay = 0.1, .decoupled_weight_decay = true});
  out["adam_skipping"] = of<Adam>(AdamOptions{.lr = 0.02, .weight_decay = 0.01}, true);
  out["adamw"] = of<AdamW>(AdamWOptions{.lr = 0.02});
  out["adamw_settings"] = of<AdamW>(AdamWOptions{.lr = 0.02, .betas = {0.7, 0.9}, .weight_decay = 0.2});
  out["adamw_amsgrad"] = of<AdamW>(AdamWOptions{.lr = 0.05, .amsgrad = true});
  out["adamw_maximize"] = of<AdamW>(AdamWOptions{.lr = 0.01, .maximize = true});
  out["adamw_skipping"] = of<AdamW>(AdamWOptions{.lr = 0.02, .weight_decay = 0.1, .amsgrad = true}, true);
  out["adamw_groups"] = {.make = [](const std::vector<at::Tensor>& p) -> Optimizer {
    std::vector<ParamGroup> groups = {{.params = {p[0], p[2]}, .weight_decay = 0.3},
                                      {.params = {p[1]}, .lr = 0.005, .betas = {{0.5, 0.9}}}};
    return AdamW(groups, {.lr = 0.02});
  }};
  out["sgd_groups"] = {.make = [](const std::vector<at::Tensor>& p) -> Optimizer {
    return SGD({{.params = {p[0], p[2]}, .momentum = 0.9}, {.params = {p[1]}, .lr = 0.2}}, {.lr = 0.05});
  }};
  auto scheduled = [](Case base, std::function<LRScheduler(Optimizer)> schedule) {
    base.schedule = std::move(schedule);
    return base;
  };
  out["adam_step_lr"] = scheduled(of<Adam>(AdamOptions{.lr = 0.05}),
                                  [](Optimizer o) -> LRScheduler { return StepLR(o, {.step_size = 7, .gamma = 0.5}); });
  out["sgd_cosine"] = scheduled(of<SGD>(SGDOptions{.lr = 0.1, .momentum = 0.9}), [](Optimizer o) -> LRScheduler {
    return CosineAnnealingLR(o, {.T_max = 20, .eta_min = 0.001});
  });
  out["adamw_plateau"] = scheduled(of<AdamW>(AdamWOptions{.lr = 0.1}), [](Optimizer o) -> LRScheduler {
    return ReduceLROnPlateau(o, {.patience = 1, .threshold = 0.05});
  });
  auto clipped = [](Case base, double max_norm, double norm_type) {
    base.clip_norm = {max_norm, norm_type};
    return base;
  };
  out["sgd_clip_norm"] = clipped(of<SGD>(SGDOptions{.lr = 0.3, .momentum = 0.9}), 0.2, 2);
  out["adam_clip_norm_inf"] = clipped(of<Adam>(AdamOptions{.lr = 0.05}), 0.05, inf);
  out["sgd_clip_norm_1"] = clipped(of<SGD>(SGDOptions{.lr = 0.3}, true), 0.5, 1);
  out["sgd_clip_value"] = of<SGD>(SGDOptions{.lr = 0.3});
  out["sgd_clip_value"].clip_value = 0.05;
  out["rmsprop"] = of<RMSprop>(RMSpropOptions{});
  out["rmsprop_centered"] =
      of<RMSprop>(RMSpropOptions{.lr = 0.01, .alpha = 0.9, .eps = 1e-6, .weight_decay = 0.02, .centered = true});
  out["rmsprop_momentum"] = of<RMSprop>(RMSpropOptions{.lr = 0.005, .momentum = 0.8, .centered = true}, true);
  out["rmsprop_maximize"] = of<RMSprop>(RMSpropOptions{.lr = 0.002, .momentum = 0.5, .maximize = true});
  out["rmsprop_groups"] = {.make = [](const std::vector<at::Tensor>& p) -> Optimizer {
    std::vector<ParamGroup> groups = {{.params = {p[0], p[2]}, .momentum = 0.9, .alpha = 0.9},
                                      {.params = {p[1]}, .lr = 0.002, .centered = true}};
    return RMSprop(groups, {.lr = 0.005});
  }};
  out["adagrad"] = of<Adagrad>(AdagradOptions{.lr = 0.1});
  out["adagrad_settings"] = of<Adagrad>(
      AdagradOptions{
          .lr = 0.1, .lr_decay = 0.05, .weight_decay = 0.02, .initial_accumulator_value = 0.1, .eps = 1e-8},
      true);
  out["adadelta"] = of<Adadelta>(AdadeltaOptions{});
  out["adadelta_settings"] =
      of<Adadelta>(AdadeltaOptions{.lr = 0.5, .rho = 0.8, .eps = 1e-5, .weight_decay = 0.02}, true);
  out["adamax"] = of<Adamax>(AdamaxOptions{.lr = 0.02});
  out["adamax_settings"] =
      of<Adamax>(AdamaxOptions{.lr = 0.02, .betas = {0.8, 0.95}, .eps = 1e-6, .weight_decay = 0.05}, true);
  out["nadam"] = of<NAdam>(NAdamOptions{.lr = 0.02});
  out["nadam_settings"] = of<NAdam>(
      NAdamOptions{.lr = 0.02, .betas = {0.8, 0.95}, .weight_decay = 0.05, .momentum_decay = 0.01}, true);
  out["nadam_decoupled"] = of<NAdam>(NAdamOptions{.lr = 0.02, .weight_decay = 0.1, .decoupled_weight_decay = true});
  out["radam"] = of<RAdam>(RAdamOptions{.lr = 0.02});
  out["radam_settings"] = of<RAdam>(RAdamOptions{.lr = 0.02, .betas = {0.8, 0.95}, .weight_decay = 0.05}, true);
  out["radam_decoupled"] = of<RAdam>(
      RAdamOptions{.lr = 0.02, .betas = {0.9, 0.98}, .weight_decay = 0.1, .decoupled_weight_decay = true});
  out["rprop"] = of<Rprop>(RpropOptions{});
  out["rprop_settings"] = of<Rprop>(RpropOptions{.lr = 0.02, .etas = {0.4, 1.3}, .step_sizes = {1e-4, 0.1}}, true);
  return out;
}

// How the optimizer holds what it works on; the numbers must not depend on it.
enum class Holding {
  arena,          // as made
  bound,          // gradients in the arena too
  aliased,        // somebody else looks at the parameters' memory, so no arena
  moved,          // parameters leave the arena half-way
  transposed,     // dense, but not in row-major order
  gapped,         // every second element of a larger tensor
  strange_grads,  // gradients that lie otherwise than their parameters
  unbound_midway,
};

void hold(Problem& problem, Holding holding) {
  for (auto& [name, param] : problem.params) {
    at::NoGradGuard no_grad;
    if (holding == Holding::transposed && param.dim() == 2) {
      param = param.t().contiguous().t().detach().requires_grad_();
    } else if (holding == Holding::gapped) {
      auto sizes = param.sizes().vec();
      sizes.back() *= 2;
      auto wide = at::full(sizes, 7, param.options().requires_grad(false));
      auto gapped = wide.slice(-1, 0, sizes.back(), 2);
      gapped.copy_(param);
      param = gapped.detach().requires_grad_();
    }
  }
}

void follow(const std::string& name, const Case& c, const Json& file, at::ScalarType dtype, Holding holding) {
  const auto& expected = file.at("cases").at(name).at(dtype == at::kFloat ? "float32" : "float64");
  // In single precision the last bits of sums differ from processor to processor, and 50 steps add them up.
  const double tolerance = dtype == at::kFloat ? 4e-6 : 1e-12;
  Problem problem(file.at("inputs"), dtype);
  hold(problem, holding);
  std::vector<at::Tensor> aliases;
  if (holding == Holding::aliased) {
    for (const auto& param : problem.all()) aliases.push_back(param.detach());
  }
  auto optimizer = c.make(problem.all());
  if (holding == Holding::bound || holding == Holding::unbound_midway) optimizer.bind_gradients();
  LRScheduler scheduler;
  if (c.schedule) scheduler = c.schedule(optimizer);

  const auto steps = file.at("steps").get<int>();
  for (int step = 0; step < steps; ++step) {
    if (step == steps / 2) {
      if (holding == Holding::moved) {
        for (auto& param : problem.all()) param.set_data(param.detach().clone());
      }
      if (holding == Holding::unbound_midway) optimizer.unbind_gradients();
    }
    optimizer.zero_grad();
    auto loss = problem.loss(!c.skip || step % 3 == 1);
    loss.backward();
    if (holding == Holding::strange_grads) {
      for (auto& param : problem.all()) {
        if (param.grad().defined() && param.dim() == 2) param.mutable_grad() = param.grad().t().contiguous().t();
      }
    }
    if (c.clip_norm) {
      auto norm = clip_grad_norm_(optimizer, c.clip_norm->first, {.norm_type = c.clip_norm->second});
      ASSERT_NEAR(norm.item<double>(), expected.at("norms")[static_cast<size_t>(step)].get<double>(), 10 * tolerance);
    }
    if (c.clip_value) clip_grad_value_(optimizer, *c.clip_value);
    optimizer.step();
    const auto want = expected.at("losses")[static_cast<size_t>(step)].get<double>();
    ASSERT_NEAR(loss.item<double>(), want, tolerance * std::max(1.0, std::abs(want))) << "step " << step;
    if (scheduler) {
      if (scheduler.needs_metric()) {
        scheduler.step(loss.item<double>());
      } else {
        scheduler.step();
      }
      ASSERT_NEAR(scheduler.get_last_lr()[0], expected.at("lrs")[static_cast<size_t>(step)].get<double>(), 1e-12);
    }
  }
  EXPECT_EQ(optimizer.step_count(), steps);
  for (const auto& [key, param] : problem.params) {
    EXPECT_LT(testing::distance(param, expected.at("params").at(key)), tolerance) << key;
  }
  for (size_t i = 0; i < aliases.size(); ++i) EXPECT_TRUE(at::equal(aliases[i], problem.all()[i].detach()));
}

class Trajectory : public ::testing::TestWithParam<Holding> {
 protected:
  // Tensors this small gain nothing from threads.
  void SetUp() override { at::set_num_threads(1); }
  void TearDown() override { at::set_num_threads(threads_); }
  int threads_ = at::get_num_threads();
};

TEST_P(Trajectory, EqualsPyTorch) {
  const auto file = testing::golden("trajectories.json");
  const auto all = cases();
  ASSERT_EQ(all.size(), file.at("cases").size());
  for (const auto& [name, c] : all) {
    for (const auto dtype : {at::kFloat, at::kDouble}) {
      SCOPED_TRACE(name + (dtype == at::kFloat ? " float32" : " float64"));
      follow(name, c, file, dtype, GetParam());
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Holdings, Trajectory,
                         ::testing::Values(Holding::arena, Holding::bound, Holding::aliased, Holding::moved,
                                           Holding::transposed, Holding::gapped, Holding::strange_grads,
                                           Holding::unbound_midway));

OptimizerState state_of(const Json& c, const std::vector<at::Tensor>& params) {
  OptimizerState state;
  for (const auto& [index, entry] : c.at("state").items()) {
    for (const auto& [key, values] : entry.items()) {
      const auto& param = params[static_cast<size_t>(std::stoi(index))];
      auto tensor = key == "step" || key == "mu_product" ? at::scalar_tensor(values[0].get<double>(), at::kFloat)
                                  : testing::tensor_of(values, param.sizes(), at::kFloat);
      state.state[std::stoll(index)].emplace_back(key, tensor);
    }
  }
  for (const auto& group : c.at("param_groups")) {
    Map settings;
    for (const auto& [key, value] : group.items()) {
      if (value.is_null()) {
        settings[key] = nullptr;
      } else if (value.is_boolean()) {
        settings[key] = value.get<bool>();
      } else if (value.is_number_integer()) {
        settings[key] = value.get<int64_t>();
      } else if (value.is_number()) {
        settings[key] = value.get<double>();
      } else {
        List list;
        for (const auto& item : value) {
          if (item.is_number_integer()) {
            list.emplace_back(item.get<int64_t>());
          } else {
            list.emplace_back(item.get<double>());
          }
        }
        settings[key] = list;
      }
    }
    state.param_groups.push_back(settings);
  }
  return state;
}

TEST(OptimizerState, ContinuesFromPyTorchs) {
  const auto file = testing::golden("states.json");
  const auto inputs = testing::golden("trajectories.json").at("inputs");
  const auto all = cases();
  for (const auto& [name, expected] : file.at("cases").items()) {
    for (const bool bound : {false, true}) {
      SCOPED_TRACE(name + (bound ? " bound" : ""));
      const auto& c = all.at(name);
      Problem problem(inputs, at::kFloat);
      auto optimizer = c.make(problem.all());
      if (bound) optimizer.bind_gradients();
      for (auto& [key, param] : problem.params) {
        at::NoGradGuard no_grad;
        param.copy_(testing::tensor_of(expected.at("before").at(key), param.sizes(), at::kFloat));
      }
      optimizer.load_state_dict(state_of(expected, optimizer.parameters()));

      // What was loaded comes out again: same keys, values and settings.
      const auto out = optimizer.state_dict();
      ASSERT_EQ(out.state.size(), expected.at("state").size());
      for (const auto& [index, entry] : expected.at("state").items()) {
        ASSERT_EQ(out.state.at(std::stoll(index)).size(), entry.size());
        for (const auto& [key, values] : entry.items()) {
          EXPECT_EQ(testing::distance(out.find(std::stoll(index), key), values), 0) << key;
        }
      }
      ASSERT_EQ(out.param_groups.size(), expected.at("param_groups").size());
      const auto again = state_of(expected, optimizer.parameters());
      for (size_t g = 0; g < out.param_groups.size(); ++g) {
        ASSERT_EQ(out.param_groups[g].size(), again.param_groups[g].size());
        for (const auto& [key, value] : again.param_groups[g]) EXPECT_EQ(out.param_groups[g].at(key), value) << key;
      }

      for (int step = 20; step < 30; ++step) {
        optimizer.zero_grad();
        problem.loss(!c.skip || step % 3 == 1).backward();
        optimizer.step();
      }
      for (const auto& [key, param] : problem.params) {
        EXPECT_LT(testing::distance(param, expected.at("after").at(key)), 1e-6) << key;
      }
    }
  }
}

}  // namespace
}  // namespace levin::optim
