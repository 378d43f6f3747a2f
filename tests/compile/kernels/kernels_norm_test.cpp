#include <levin/compile/kernels/norm.h>

#include <functional>

#include "compile/kernels/kernels_test_impl.h"

namespace levin::compile::kernels {
namespace {

using namespace levin::compile::kernels::testing;
using Doubles = std::vector<double>;

/** Normalises the elements that `members` gives for each set, as double, with gradients by the closed formula. */
struct Expected {
  Doubles normal, y, dx, dweight, dbias, mean, rstd;
};

/** `set_of` and `channel_of` say which statistics and which weight an element has. */
Expected normalise(const Floats& x, const Floats& dy, const Floats* weight, const Floats* bias, std::int64_t sets,
                   std::int64_t channels, const std::function<std::int64_t(std::int64_t)>& set_of,
                   const std::function<std::int64_t(std::int64_t)>& channel_of, double eps, bool rms = false) {
  const auto n = static_cast<std::size_t>(x.size()), s = static_cast<std::size_t>(sets),
             c = static_cast<std::size_t>(channels);
  const auto set = [&](std::size_t i) { return static_cast<std::size_t>(set_of(static_cast<std::int64_t>(i))); };
  const auto channel = [&](std::size_t i) {
    return static_cast<std::size_t>(channel_of(static_cast<std::int64_t>(i)));
  };
  const auto at = [](const Floats& f, std::size_t i) { return static_cast<double>(f[static_cast<std::int64_t>(i)]); };
  Expected e{Doubles(n), Doubles(n), Doubles(n), Doubles(c), Doubles(c), Doubles(s), Doubles(s)};
  Doubles counts(s), variance(s), g_sum(s), product_sum(s);
  for (std::size_t i = 0; i < n; i++) counts[set(i)] += 1, e.mean[set(i)] += rms ? 0 : at(x, i);
  for (std::size_t i = 0; i < s; i++) e.mean[i] /= counts[i];
  for (std::size_t i = 0; i < n; i++) variance[set(i)] += std::pow(at(x, i) - e.mean[set(i)], 2);
  for (std::size_t i = 0; i < s; i++) e.rstd[i] = 1 / std::sqrt(variance[i] / counts[i] + eps);
  for (std::size_t i = 0; i < n; i++) {
    const double w = weight ? at(*weight, channel(i)) : 1;
    e.normal[i] = (at(x, i) - e.mean[set(i)]) * e.rstd[set(i)];
    e.y[i] = e.normal[i] * w + (bias ? at(*bias, channel(i)) : 0);
    e.dweight[channel(i)] += at(dy, i) * e.normal[i];
    e.dbias[channel(i)] += at(dy, i);
    g_sum[set(i)] += at(dy, i) * w;
    product_sum[set(i)] += at(dy, i) * w * e.normal[i];
  }
  for (std::size_t i = 0; i < n; i++) {
    const double w = weight ? at(*weight, channel(i)) : 1, count = counts[set(i)];
    e.dx[i] = e.rstd[set(i)] *
              (at(dy, i) * w - (rms ? 0 : g_sum[set(i)] / count) - e.normal[i] * product_sum[set(i)] / count);
  }
  return e;
}

void expect_close(const Floats& seen, const Doubles& expected, double scale, const char* what) {
  EXPECT_TRUE(seen.intact());
  for (std::int64_t i = 0; i < seen.size(); i++) {
    const double e = expected[static_cast<std::size_t>(i)];
    ASSERT_TRUE(close(seen[i], e, 3e-6, scale + std::abs(e))) << what << " " << i;
  }
}

TEST(KernelsNorm, LayerAndRmsNorm) {
  for_each_instruction_set([] {
    for (const bool rms : {false, true}) {
      for (const auto& [rows, columns] : {std::pair(1, 3), std::pair(5, 16), std::pair(7, 33), std::pair(12, 128)}) {
        for (int affine = 0; affine < 3; affine++) {
          const std::int64_t n = rows * columns;
          Random random(static_cast<unsigned>(n));
          const Floats x = random.floats(n, 1, 4), dy = random.floats(n), w = random.floats(columns),
                       b = random.floats(columns);
          const Floats *weight = affine > 0 ? &w : nullptr, *bias = affine > 1 ? &b : nullptr;
          const LayerNorm s{rows, columns, 1e-5, rms};
          Floats y(n), split(n), mean(rows), rstd(rows), dx(n), dw(columns), db(columns);
          const LayerNormForwardArgs args{
              x.data(), weight ? w.data() : nullptr, bias ? b.data() : nullptr, y.data(), mean.data(), rstd.data()};
          select_layer_norm_forward(s)(s, args, 0, rows);
          LayerNormForwardArgs again = args;
          again.y = split.data();
          select_layer_norm_forward(s)(s, again, 0, rows / 2);
          select_layer_norm_forward(s)(s, again, rows / 2, rows);
          EXPECT_TRUE(y.same_bits(split));
          select_layer_norm_backward(s)(
              s, {dy.data(), x.data(), args.weight, mean.data(), rstd.data(), dx.data(), dw.data(), db.data()});
          const auto c = columns;
          const Expected e = normalise(
              x, dy, weight, bias, rows, columns, [c](std::int64_t i) { return i / c; },
              [c](std::int64_t i) { return i % c; }, 1e-5, rms);
          expect_close(y, e.y, 2, "y");
          expect_close(rstd, e.rstd, 1, "rstd");
          expect_close(dx, e.dx, 4, "dx");
          expect_close(dw, e.dweight, rows, "dweight");
          expect_close(db, e.dbias, rows, "dbias");
        }
      }
    }
  });
}

TEST(KernelsNorm, GroupNorm) {
  for_each_instruction_set([] {
    for (const auto& [batch, channels, area, groups] :
         {std::array{2, 6, 5, 3}, std::array{1, 4, 1, 1}, std::array{3, 8, 49, 2}, std::array{2, 4, 64, 4}}) {
      const std::int64_t n = batch * channels * area;
      Random random(static_cast<unsigned>(n));
      const Floats x = random.floats(n, 0, 3), dy = random.floats(n), w = random.floats(channels),
                   b = random.floats(channels);
      const GroupNorm s{batch, channels, area, groups, 1e-5};
      Floats y(n), mean(batch * groups), rstd(batch * groups), dx(n), dw(channels), db(channels);
      select_group_norm_forward(s)(s, {x.data(), w.data(), b.data(), y.data(), mean.data(), rstd.data()});
      select_group_norm_backward(s)(
          s, {dy.data(), x.data(), w.data(), mean.data(), rstd.data(), dx.data(), dw.data(), db.data()});
      const std::int64_t per_group = channels / groups * area, a = area, c = channels;
      const Expected e = normalise(
          x, dy, &w, &b, batch * groups, channels, [=](std::int64_t i) { return i / per_group; },
          [=](std::int64_t i) { return i / a % c; }, 1e-5);
      expect_close(y, e.y, 2, "y");
      expect_close(mean, e.mean, 1, "mean");
      expect_close(rstd, e.rstd, 1, "rstd");
      expect_close(dx, e.dx, 4, "dx");
      expect_close(dw, e.dweight, 20, "dweight");
      expect_close(db, e.dbias, 20, "dbias");
    }
  });
}

TEST(KernelsNorm, BatchNormInTraining) {
  for_each_instruction_set([] {
    for (const bool relu : {false, true}) {
      for (const auto& [batch, channels, area] :
           {std::array{4, 3, 1}, std::array{64, 40, 1}, std::array{9, 5, 7}, std::array{2, 20, 100}}) {
        const std::int64_t n = batch * channels * area;
        Random random(static_cast<unsigned>(n));
        const Floats x = random.floats(n, 0, 3), w = random.floats(channels, 0.5F, 2), b = random.floats(channels);
        Floats dy = random.floats(n);
        const Floats dy_given = dy;
        const BatchNorm s{batch, channels, area, 1e-5, 0.1, true, relu};
        Floats y(n), mean(channels), invstd(channels), running_mean(channels, 1), running_var(channels, 2), dx(n),
            dw(channels), db(channels);
        const BatchNormForwardArgs f{x.data(),           w.data(), b.data(),    running_mean.data(),
                                     running_var.data(), y.data(), mean.data(), invstd.data()};
        select_batch_norm_forward(s)(s, f, 0, channels / 2);
        select_batch_norm_forward(s)(s, f, channels / 2, channels);
        Floats whole(n);
        BatchNormForwardArgs g = f;
        g.y = whole.data();
        g.running_mean = g.running_var = nullptr;
        select_batch_norm_forward(s)(s, g, 0, channels);
        EXPECT_TRUE(whole.same_bits(y));
        const Floats residual = random.floats(n);
        Floats sum(n);
        g.y = sum.data();
        g.residual = residual.data();
        select_batch_norm_forward({batch, channels, area, 1e-5, 0.1, true, false})(
            {batch, channels, area, 1e-5, 0.1, true, false}, g, 0, channels);
        BatchNormBackwardArgs back{.dy = dy_given.data(),
                                   .x = x.data(),
                                   .y = y.data(),
                                   .weight = w.data(),
                                   .save_mean = mean.data(),
                                   .save_invstd = invstd.data(),
                                   .dx = dx.data(),
                                   .dweight = dw.data(),
                                   .dbias = db.data()};
        select_batch_norm_backward(s)(s, back, 0, 1);
        select_batch_norm_backward(s)(s, back, 1, channels);
        BatchNormBackwardArgs again = back;  // relu's derivative from x
        Floats dx_again(n);
        again.y = nullptr, again.bias = b.data(), again.dx = dx_again.data();
        select_batch_norm_backward(s)(s, again, 0, channels);
        EXPECT_TRUE(dx_again.same_bits(dx));
        if (relu) {
          for (std::int64_t i = 0; i < n; i++) dy[i] = y[i] > 0 ? dy[i] : 0;
        }
        const std::int64_t a = area, c = channels;
        const auto channel = [=](std::int64_t i) { return i / a % c; };
        Expected e = normalise(x, dy, &w, &b, channels, channels, channel, channel, 1e-5);
        const double count = batch * area;
        for (std::int64_t i = 0; i < channels; i++) {
          const auto k = static_cast<std::size_t>(i);
          EXPECT_TRUE(close(running_mean[i], 0.9 + 0.1 * e.mean[k], 1e-6, 2));
          const double variance = (1 / (e.rstd[k] * e.rstd[k]) - 1e-5) * count / (count - 1);
          EXPECT_TRUE(close(running_var[i], 1.8 + 0.1 * variance, 1e-6, 2));
        }
        Doubles with_residual = e.y;
        for (std::int64_t i = 0; i < n; i++) with_residual[static_cast<std::size_t>(i)] += residual[i];
        expect_close(sum, with_residual, 4, "with a residual");
        if (relu) {
          for (double& v : e.y) v = std::max(v, 0.0);
        }
        expect_close(y, e.y, 4, "y");
        expect_close(mean, e.mean, 1, "mean");
        expect_close(invstd, e.rstd, 1, "invstd");
        expect_close(dx, e.dx, 8, "dx");
        expect_close(dw, e.dweight, count, "dweight");
        expect_close(db, e.dbias, count, "dbias");
      }
    }
  });
}

TEST(KernelsNorm, BatchNormInEvaluation) {
  for_each_instruction_set([] {
    for (const auto& [batch, channels, area] : {std::array{3, 20, 1}, std::array{2, 3, 21}}) {
      const std::int64_t n = batch * channels * area;
      Random random(static_cast<unsigned>(n));
      const Floats x = random.floats(n), dy = random.floats(n), w = random.floats(channels),
                   b = random.floats(channels), start_mean = random.floats(channels);
      Floats mean = start_mean, var = random.floats(channels, 0.5F, 2), y(n), dx(n), dw(channels), db(channels);
      const BatchNorm s{batch, channels, area, 1e-3, 0.1, false};
      select_batch_norm_forward(s)(s, {x.data(), w.data(), b.data(), mean.data(), var.data(), y.data()}, 0, channels);
      EXPECT_TRUE(mean.same_bits(start_mean)) << "statistics stay";
      const BatchNormBackwardArgs back{.dy = dy.data(),
                                       .x = x.data(),
                                       .weight = w.data(),
                                       .running_mean = mean.data(),
                                       .running_var = var.data(),
                                       .dx = dx.data(),
                                       .dweight = dw.data(),
                                       .dbias = db.data()};
      select_batch_norm_backward(s)(s, back, 0, channels);
      Doubles dweight(static_cast<std::size_t>(channels)), dbias = dweight;
      for (std::int64_t i = 0; i < n; i++) {
        const std::int64_t c = i / area % channels;
        const double rstd = 1 / std::sqrt(var[c] + 1e-3), normal = (x[i] - mean[c]) * rstd;
        ASSERT_TRUE(close(y[i], normal * w[c] + b[c], 1e-6, 3));
        ASSERT_TRUE(close(dx[i], dy[i] * w[c] * rstd, 1e-6, 3));
        dweight[static_cast<std::size_t>(c)] += dy[i] * normal;
        dbias[static_cast<std::size_t>(c)] += dy[i];
      }
      expect_close(dw, dweight, 10, "dweight");
      expect_close(db, dbias, 10, "dbias");
    }
  });
}

TEST(KernelsNorm, GroupsHaveToDivideChannels) {
  EXPECT_THROW(select_group_norm_forward({.batch = 1, .channels = 6, .area = 4, .groups = 4}), std::runtime_error);
}

}  // namespace
}  // namespace levin::compile::kernels
