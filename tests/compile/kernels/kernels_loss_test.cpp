#include <levin/compile/kernels/loss.h>

#include "compile/kernels/kernels_test_impl.h"

namespace levin::compile::kernels {
namespace {

using namespace levin::compile::kernels::testing;
using Targets = std::vector<std::int64_t>;

std::vector<double> log_softmax(const float* x, std::int64_t n) {
  double largest = -kInf, sum = 0;
  for (std::int64_t i = 0; i < n; i++) largest = std::max(largest, static_cast<double>(x[i]));
  for (std::int64_t i = 0; i < n; i++) sum += std::exp(x[i] - largest);
  std::vector<double> result;
  for (std::int64_t i = 0; i < n; i++) result.push_back(x[i] - largest - std::log(sum));
  return result;
}

/** Losses of rows and their gradients in double, by the definition of PyTorch's documentation. */
struct Expected {
  std::vector<double> loss, gradient;
  double total = 0, divisor = 1;
};

Expected cross_entropy(const CrossEntropy& s, const Floats& logits, const Targets& target, const Floats* weight,
                       const float* upstream) {
  Expected e;
  const double smooth = static_cast<double>(s.label_smoothing), share = smooth / static_cast<double>(s.classes);
  if (s.reduction == Reduction::mean) {
    e.divisor = 0;
    for (const std::int64_t t : target)
      e.divisor += t == s.ignore_index ? 0 : weight ? static_cast<double>((*weight)[t]) : 1;
  }
  for (std::int64_t r = 0; r < s.rows; r++) {
    const auto log_p = log_softmax(logits.data() + r * s.classes, s.classes);
    const std::int64_t t = target[static_cast<std::size_t>(r)];
    const bool ignored = t == s.ignore_index;
    double loss = 0, weights = 0;
    std::vector<double> q;  // the weighted target distribution
    for (std::int64_t c = 0; c < s.classes; c++) {
      const double w = weight ? static_cast<double>((*weight)[c]) : 1;
      q.push_back(ignored ? 0 : w * (share + (c == t ? 1 - smooth : 0)));
      loss -= q.back() * log_p[static_cast<std::size_t>(c)];
      weights += q.back();
    }
    const double scale =
        (upstream ? static_cast<double>(upstream[s.reduction == Reduction::none ? r : 0]) : 1.0) / e.divisor;
    for (std::int64_t c = 0; c < s.classes; c++) {
      e.gradient.push_back(scale *
                           (std::exp(log_p[static_cast<std::size_t>(c)]) * weights - q[static_cast<std::size_t>(c)]));
    }
    e.loss.push_back(loss);
    e.total += loss;
  }
  e.total /= e.divisor;
  return e;
}

TEST(KernelsLoss, CrossEntropyAndItsGradient) {
  for_each_instruction_set([] {
    unsigned seed = 0;
    for (const Reduction reduction : {Reduction::none, Reduction::mean, Reduction::sum}) {
      for (const std::int64_t classes : {1, 2, 10, 16, 65, 100}) {
        for (const std::int64_t rows : {1, 5, 12}) {
          for (int variant = 0; variant < 8; variant++) {
            Random random(++seed);
            CrossEntropy s{.rows = rows,
                           .classes = classes,
                           .ignore_index = variant % 2 == 0 ? -100 : 0,
                           .reduction = reduction,
                           .label_smoothing = (variant & 2) != 0 ? 0.1F : 0};
            const Floats logits = random.floats(rows * classes, -8, 8), weight = random.floats(classes, 0.2F, 2),
                         up = random.floats(rows, 0.5F, 2);
            Targets target;
            for (std::int64_t r = 0; r < rows; r++) target.push_back(random.below(classes));
            if (rows > 1) target[1] = s.ignore_index;
            target[0] = classes - 1;
            if (classes == 1 && s.ignore_index == 0) s.ignore_index = 7, target[1 % target.size()] = rows > 1 ? 7 : 0;
            const bool weighted = (variant & 4) != 0, scaled = seed % 3 == 0;
            Floats loss(reduction == Reduction::none ? rows : 1), gradient(rows * classes), alone = loss;
            const CrossEntropyArgs args{
                logits.data(), target.data(),  weighted ? weight.data() : nullptr, scaled ? up.data() : nullptr,
                loss.data(),   gradient.data()};
            ASSERT_EQ(select_cross_entropy(s)(s, args, nullptr), kAllInRange);
            const Expected e =
                cross_entropy(s, logits, target, weighted ? &weight : nullptr, scaled ? up.data() : nullptr);
            for (std::int64_t i = 0; i < loss.size(); i++) {
              ASSERT_TRUE(close(loss[i], reduction == Reduction::none ? e.loss[static_cast<std::size_t>(i)] : e.total,
                                1e-6, 16))
                  << classes;
            }
            for (std::int64_t i = 0; i < gradient.size(); i++)
              ASSERT_TRUE(close(gradient[i], e.gradient[static_cast<std::size_t>(i)], 2e-6, 1));
            EXPECT_TRUE(loss.intact() && gradient.intact());
            CrossEntropyArgs forward = args;
            forward.gradient = nullptr;
            forward.loss = alone.data();
            select_cross_entropy(s)(s, forward, nullptr);
            EXPECT_TRUE(alone.same_bits(loss));
          }
        }
      }
    }
  });
}

TEST(KernelsLoss, CrossEntropyOfExtremeLogits) {
  for_each_instruction_set([] {
    const CrossEntropy s{.rows = 1, .classes = 20};
    const Targets target = {3};
    Floats logits(20, -1000), loss(1), gradient(20);
    logits[3] = 10000;
    logits[19] = 10001;
    const CrossEntropyArgs args{logits.data(), target.data(), nullptr, nullptr, loss.data(), gradient.data()};
    select_cross_entropy(s)(s, args, nullptr);
    EXPECT_TRUE(close(loss[0], 1 + std::log1p(std::exp(-1.0)), 1e-6, 1));
    EXPECT_TRUE(close(gradient[19], 1 / (1 + std::exp(-1.0)), 1e-6, 1));
    EXPECT_EQ(gradient[0], 0);
    logits[0] = -kInf;  // a class that cannot be
    select_cross_entropy(s)(s, args, nullptr);
    EXPECT_TRUE(std::isfinite(loss[0]));
    EXPECT_EQ(gradient[0], 0);
    logits[0] = kNaN;
    select_cross_entropy(s)(s, args, nullptr);
    EXPECT_TRUE(std::isnan(loss[0]) && std::isnan(gradient[5]));
  });
}

TEST(KernelsLoss, TargetsOutOfRangeAreReported) {
  const Floats logits(12), x(12);
  Floats loss(1, 5), gradient(12, 5);
  for (const std::int64_t bad : {std::int64_t{3}, std::int64_t{-1}, std::int64_t{1} << 40}) {
    const Targets target = {0, -100, bad, 1};
    const CrossEntropy s{.rows = 4, .classes = 3};
    EXPECT_EQ(select_cross_entropy(s)(s, {logits.data(), target.data(), nullptr, nullptr, loss.data(), gradient.data()},
                                      nullptr),
              2);
    const Nll n{.rows = 4, .classes = 3};
    EXPECT_EQ(select_nll_forward(n)(n, {x.data(), target.data(), nullptr, loss.data(), nullptr}), 2);
    const float one = 1;
    EXPECT_EQ(select_nll_backward(n)(n, {&one, target.data(), nullptr, &one, gradient.data()}), 2);
    EXPECT_EQ(loss[0], 5) << "nothing is written";
    EXPECT_EQ(gradient[0], 5);
  }
}

TEST(KernelsLoss, NllAfterLogSoftmaxIsCrossEntropy) {
  for_each_instruction_set([] {
    for (const Reduction reduction : {Reduction::none, Reduction::mean, Reduction::sum}) {
      constexpr std::int64_t rows = 9, classes = 21;
      Random random(4);
      const Floats logits = random.floats(rows * classes, -5, 5), weight = random.floats(classes, 0.2F, 2),
                   up = random.floats(rows, 0.5F, 2);
      Targets target;
      for (std::int64_t r = 0; r < rows; r++) target.push_back(r == 4 ? -100 : random.below(classes));
      Floats log_p(rows * classes), loss(reduction == Reduction::none ? rows : 1), total(1), d_log_p(rows * classes),
          d_logits(rows * classes);
      const Softmax softmax{rows, classes, true};
      const Nll nll{.rows = rows, .classes = classes, .reduction = reduction};
      select_softmax_forward(softmax)(softmax, logits.data(), log_p.data(), 0, rows);
      select_nll_forward(nll)(nll, {log_p.data(), target.data(), weight.data(), loss.data(), total.data()});
      select_nll_backward(nll)(nll, {up.data(), target.data(), weight.data(), total.data(), d_log_p.data()});
      select_softmax_backward(softmax)(softmax, d_log_p.data(), log_p.data(), d_logits.data(), 0, rows);
      const Expected e =
          cross_entropy({.rows = rows, .classes = classes, .reduction = reduction}, logits, target, &weight, up.data());
      for (std::int64_t i = 0; i < loss.size(); i++) {
        EXPECT_TRUE(
            close(loss[i], reduction == Reduction::none ? e.loss[static_cast<std::size_t>(i)] : e.total, 1e-6, 10));
      }
      for (std::int64_t i = 0; i < d_logits.size(); i++)
        EXPECT_TRUE(close(d_logits[i], e.gradient[static_cast<std::size_t>(i)], 2e-6, 1));
    }
  });
}

TEST(KernelsLoss, SoftmaxForwardBackwardAndSplits) {
  for_each_instruction_set([] {
    for (const bool log : {false, true}) {
      for (const std::int64_t columns : {1, 7, 16, 64, 130}) {
        constexpr std::int64_t rows = 6;
        Random random(8);
        const Floats x = random.floats(rows * columns, -20, 20), dy = random.floats(rows * columns);
        Floats y(rows * columns), split(rows * columns), dx(rows * columns), dx_split = dy;
        const Softmax s{rows, columns, log};
        select_softmax_forward(s)(s, x.data(), y.data(), 0, rows);
        select_softmax_forward(s)(s, x.data(), split.data(), 0, 1);
        select_softmax_forward(s)(s, x.data(), split.data(), 1, rows);
        EXPECT_TRUE(y.same_bits(split) && y.intact());
        select_softmax_backward(s)(s, dy.data(), y.data(), dx.data(), 0, rows);
        select_softmax_backward(s)(s, dx_split.data(), y.data(), dx_split.data(), 0, 4);  // in place
        select_softmax_backward(s)(s, dx_split.data(), y.data(), dx_split.data(), 4, rows);
        EXPECT_TRUE(dx.same_bits(dx_split));
        for (std::int64_t r = 0; r < rows; r++) {
          const auto log_p = log_softmax(x.data() + r * columns, columns);
          double dot = 0;
          for (std::int64_t c = 0; c < columns; c++)
            dot += dy[r * columns + c] * (log ? 1 : std::exp(log_p[static_cast<std::size_t>(c)]));
          for (std::int64_t c = 0; c < columns; c++) {
            const std::int64_t i = r * columns + c;
            const double lp = log_p[static_cast<std::size_t>(c)], p = std::exp(lp);
            ASSERT_TRUE(close(y[i], log ? lp : p, 2e-7, log ? 1 + std::abs(lp) : 1));
            ASSERT_TRUE(close(dx[i], log ? dy[i] - p * dot : p * (dy[i] - dot), 1e-6, 2));
          }
        }
      }
    }
    const Softmax s{1, 20, false};
    Floats x(20, -kInf), y(20);
    select_softmax_forward(s)(s, x.data(), y.data(), 0, 1);
    EXPECT_TRUE(std::isnan(y[3])) << "of nothing but -inf, as ATen's";
    x[18] = 3;
    select_softmax_forward(s)(s, x.data(), y.data(), 0, 1);
    EXPECT_EQ(y[18], 1);
    EXPECT_EQ(y[0], 0);
  });
}

TEST(KernelsLoss, SquaredErrorWithGradientAndColumnSums) {
  for_each_instruction_set([] {
    for (const Reduction reduction : {Reduction::mean, Reduction::sum}) {
      for (const auto& [rows, columns] :
           {std::pair(100, 1), std::pair(1, 1), std::pair(7, 3), std::pair(30, 40), std::pair(999, 10)}) {
        const std::int64_t n = rows * columns;
        Random random(static_cast<unsigned>(n));
        const Floats x = random.floats(n), y = random.floats(n);
        const float up = 1.5F;
        Floats loss(1), gradient(n), sums(columns), alone(1);
        const Mse s{rows, columns, reduction};
        select_mse(s)(s, {x.data(), y.data(), &up, loss.data(), gradient.data(), sums.data()});
        select_mse(s)(s, {x.data(), y.data(), nullptr, alone.data(), nullptr, nullptr});
        EXPECT_TRUE(alone.same_bits(loss));
        const double scale = reduction == Reduction::mean ? 1 / static_cast<double>(n) : 1;
        double expected = 0;
        std::vector<double> column(static_cast<std::size_t>(columns));
        for (std::int64_t i = 0; i < n; i++) {
          const double error = static_cast<double>(x[i]) - y[i];
          expected += error * error * scale;
          column[static_cast<std::size_t>(i % columns)] += 2 * 1.5 * scale * error;
          ASSERT_TRUE(close(gradient[i], 3 * scale * error, 1e-6, scale));
        }
        EXPECT_TRUE(close(loss[0], expected, 1e-6, expected));
        for (std::int64_t c = 0; c < columns; c++)
          EXPECT_TRUE(close(sums[c], column[static_cast<std::size_t>(c)], 1e-6, scale * rows));
        EXPECT_TRUE(gradient.intact() && sums.intact());
      }
    }
  });
}

}  // namespace
}  // namespace levin::compile::kernels
