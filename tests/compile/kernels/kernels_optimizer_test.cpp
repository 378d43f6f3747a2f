#include <levin/compile/kernels/optimizer.h>

#include <nlohmann/json.hpp>

#include <fstream>
#include <functional>

#include "compile/kernels/kernels_test_impl.h"

namespace levin::compile::kernels {
namespace {

using namespace levin::compile::kernels::testing;

constexpr std::int64_t kSize = 37;
constexpr int kSteps = 7;

/** Parameters, gradients and state of the golden runs (make_kernel_optim_golden.py). */
struct Run {
  Floats p = Floats(kSize), g = Floats(kSize), s1 = Floats(kSize), s2 = Floats(kSize), s3 = Floats(kSize);
  double lr = 0;
  float step = 0, mu_product = 1;

  void set_step(int i) {
    step = static_cast<float>(i + 1);
    lr = 0.05 / (1 + i / 4);
    for (int j = 0; j < kSize; j++) g[j] = static_cast<float>(std::sin(0.7 * j + 1.3 * i) * (1 + 0.1 * j));
  }
};

using Update = std::function<void(Run&, std::int64_t begin, std::int64_t end)>;

Update adam(const Adam& s) {
  return [=](Run& r, std::int64_t begin, std::int64_t end) {
    select_adam(s)(
        s, {r.p.data(), r.g.data(), r.s1.data(), r.s2.data(), s.amsgrad ? r.s3.data() : nullptr, &r.lr, &r.step}, begin,
        end);
  };
}
Update sgd(const Sgd& s) {
  return [=](Run& r, std::int64_t begin, std::int64_t end) {
    select_sgd(s)(s, {r.p.data(), r.g.data(), s.momentum != 0 ? r.s1.data() : nullptr, &r.lr, &r.step}, begin, end);
  };
}
Update rms_prop(const RmsProp& s) {
  return [=](Run& r, std::int64_t begin, std::int64_t end) {
    select_rms_prop(s)(s, {r.p.data(), r.g.data(), r.s1.data(), r.s2.data(), r.s3.data(), &r.lr}, begin, end);
  };
}
Update adagrad(const Adagrad& s) {
  return [=](Run& r, std::int64_t begin, std::int64_t end) {
    select_adagrad(s)(s, {r.p.data(), r.g.data(), r.s1.data(), &r.lr, &r.step}, begin, end);
  };
}
Update adamax(const Adamax& s) {
  return [=](Run& r, std::int64_t begin, std::int64_t end) {
    select_adamax(s)(s, {r.p.data(), r.g.data(), r.s1.data(), r.s2.data(), &r.lr, &r.step}, begin, end);
  };
}
Update nadam(const NAdam& s) {
  return [=](Run& r, std::int64_t begin, std::int64_t end) {
    if (begin == 0) nadam_advance(s, r.step, &r.mu_product);
    select_nadam(s)(s, {r.p.data(), r.g.data(), r.s1.data(), r.s2.data(), &r.mu_product, &r.lr, &r.step}, begin, end);
  };
}
Update radam(const RAdam& s) {
  return [=](Run& r, std::int64_t begin, std::int64_t end) {
    select_radam(s)(s, {r.p.data(), r.g.data(), r.s1.data(), r.s2.data(), &r.lr, &r.step}, begin, end);
  };
}

const std::vector<std::pair<std::string, Update>>& updates() {
  static const std::vector<std::pair<std::string, Update>> all = {
      {"adam", adam({})},
      {"adam_decay", adam({.beta1 = 0.8, .beta2 = 0.95, .eps = 1e-6, .weight_decay = 0.05, .maximize = true})},
      {"adam_amsgrad", adam({.beta1 = 0.4, .beta2 = 0.9, .amsgrad = true})},
      {"adamw", adam({.weight_decay = 0.1, .decoupled = true})},
      {"adamw_amsgrad", adam({.weight_decay = 0.1, .decoupled = true, .amsgrad = true})},
      {"sgd", sgd({})},
      {"sgd_momentum", sgd({.momentum = 0.9, .dampening = 0.3, .weight_decay = 0.02})},
      {"sgd_nesterov", sgd({.momentum = 0.8, .nesterov = true, .maximize = true})},
      {"rms_prop", rms_prop({})},
      {"rms_prop_centered",
       rms_prop({.alpha = 0.9, .eps = 1e-6, .weight_decay = 0.05, .momentum = 0.7, .centered = true})},
      {"adagrad", adagrad({.lr_decay = 0.1, .weight_decay = 0.02, .eps = 1e-8})},
      {"adamax", adamax({.weight_decay = 0.02})},
      {"nadam", nadam({.weight_decay = 0.02})},
      {"nadam_decoupled",
       nadam({.beta1 = 0.8, .beta2 = 0.9, .weight_decay = 0.1, .momentum_decay = 0.01, .decoupled = true})},
      {"radam", radam({.weight_decay = 0.02})},
      {"radam_decoupled",
       radam({.beta1 = 0.8, .beta2 = 0.9, .weight_decay = 0.1, .decoupled = true, .maximize = true})},
  };
  return all;
}

Floats final_parameters(const Update& update, const std::vector<std::int64_t>& cuts = {}) {
  Run run;
  for (int i = 0; i < kSize; i++) run.p[i] = static_cast<float>(std::cos(i));
  for (int i = 0; i < kSteps; i++) {
    run.set_step(i);
    std::int64_t begin = 0;
    for (const std::int64_t cut : cuts) {
      update(run, begin, cut);
      begin = cut;
    }
    update(run, begin, kSize);
  }
  for (const Floats* floats : {&run.p, &run.g, &run.s1, &run.s2, &run.s3}) EXPECT_TRUE(floats->intact());
  return run.p;
}

TEST(KernelsOptimizer, StepsAreTorchOptims) {
  std::ifstream file(std::string(LEVIN_SOURCE_DIR) + "/tests/golden/optim/kernel_steps.json");
  const auto golden = nlohmann::json::parse(file);
  ASSERT_EQ(golden.at("parameters").size(), updates().size());
  for_each_instruction_set([&] {
    for (const auto& [name, update] : updates()) {
      SCOPED_TRACE(name);
      const auto expected = golden.at("parameters").at(name).get<std::vector<double>>();
      const Floats p = final_parameters(update);
      for (std::int64_t i = 0; i < kSize; i++) {
        ASSERT_TRUE(close(p[i], expected[static_cast<std::size_t>(i)], 1e-6,
                          1 + std::abs(expected[static_cast<std::size_t>(i)])))
            << i;
      }
    }
  });
}

TEST(KernelsOptimizer, SplitsDoNotChangeBits) {
  for_each_instruction_set([] {
    for (const auto& [name, update] : updates()) {
      EXPECT_TRUE(final_parameters(update).same_bits(final_parameters(update, {1, 5, 21}))) << name;
    }
  });
}

TEST(KernelsOptimizer, ClippingTools) {
  for_each_instruction_set([] {
    Random random(2);
    for (const std::int64_t n : {0, 1, 15, 64, 100, 10000}) {
      Floats x = random.floats(n, -3, 3);
      double squares = 0;
      float largest = 0;
      for (std::int64_t i = 0; i < n; i++) {
        squares += static_cast<double>(x[i]) * x[i];
        largest = std::max(largest, std::abs(x[i]));
      }
      EXPECT_TRUE(close(select_sum_of_squares()(x.data(), n), squares, 1e-6, squares + 1e-30));
      EXPECT_EQ(select_max_magnitude()(x.data(), n), largest);
      Floats scaled = x, clamped = x;
      const float factor = 0.37F;
      select_scale()(scaled.data(), &factor, n);
      select_clamp()(clamped.data(), -1, 2, n);
      for (std::int64_t i = 0; i < n; i++) {
        ASSERT_EQ(scaled[i], x[i] * factor);
        ASSERT_EQ(clamped[i], std::min(std::max(x[i], -1.F), 2.F));
      }
      EXPECT_TRUE(scaled.intact() && clamped.intact());
      if (n == 0) continue;
      x[n / 2] = kNaN;
      EXPECT_TRUE(std::isnan(select_max_magnitude()(x.data(), n)));
      EXPECT_TRUE(std::isnan(select_sum_of_squares()(x.data(), n)));
      select_clamp()(x.data(), -1, 2, n);
      EXPECT_TRUE(std::isnan(x[n / 2]));
    }
  });
}

}  // namespace
}  // namespace levin::compile::kernels
