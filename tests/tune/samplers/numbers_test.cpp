// Sequences, CMA-ES and Gaussian processes against scipy, cmaes and Optuna (tests/golden/scripts/tune_samplers.py).
#include <levin/core/json.h>
#include <levin/core/rng.h>
#include <levin/tune/pareto.h>
#include <levin/tune/samplers/acquisition.h>
#include <levin/tune/samplers/acquisition_search.h>
#include <levin/tune/samplers/cma_es.h>
#include <levin/tune/samplers/dense.h>
#include <levin/tune/samplers/gaussian_process.h>
#include <levin/tune/samplers/lbfgs.h>
#include <levin/tune/samplers/low_discrepancy.h>
#include <levin/tune/samplers/parzen_estimator.h>
#include <levin/tune/samplers/truncated_normal.h>
#include <levin/tune/samplers/unit_cube.h>

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <limits>
#include <numbers>
#include <set>
#include <sstream>

namespace levin::tune {
namespace {

Map golden(const std::string& name) {
  std::ifstream file(std::string(LEVIN_SOURCE_DIR) + "/tests/golden/tune/" + name + ".json");
  std::ostringstream text;
  text << file.rdbuf();
  return parse_json(text.str()).as_map();
}

std::vector<double> numbers(const Value& value) {
  std::vector<double> out;
  for (const auto& element : value.as_list()) out.push_back(element.as_double());
  return out;
}

Matrix matrix(const Value& value) {
  const List& rows = value.as_list();
  Matrix out(rows.size(), rows.front().as_list().size());
  for (std::size_t i = 0; i < out.rows; ++i) {
    const auto row = numbers(rows[i]);
    std::copy(row.begin(), row.end(), out.row(i));
  }
  return out;
}

void expect_near(double actual, double expected, double relative, const std::string& what) {
  EXPECT_NEAR(actual, expected, relative * std::max(1.0, std::abs(expected))) << what;
}

TEST(Sequences, UnscrambledAsScipy) {
  const Map file = golden("sequences");
  const auto coordinates = numbers(file.at("coordinates")), indices = numbers(file.at("indices"));
  const Matrix sobol = matrix(file.at("sobol")), halton = matrix(file.at("halton"));
  const SobolSequence sequence(SobolSequence::max_dimension);
  for (std::size_t i = 0; i < indices.size(); ++i) {
    const auto point = sequence.point(static_cast<std::uint64_t>(indices[i]));
    for (std::size_t c = 0; c < coordinates.size(); ++c) {
      EXPECT_EQ(point[static_cast<std::size_t>(coordinates[c])], sobol.row(i)[c]) << indices[i] << ", " << c;
    }
  }
  const HaltonSequence other(halton.cols);
  for (std::size_t i = 0; i < halton.rows; ++i) {
    const auto point = other.point(i);
    for (std::size_t c = 0; c < halton.cols; ++c) EXPECT_NEAR(point[c], halton.row(i)[c], 1e-15);
  }
  EXPECT_THROW(SobolSequence(SobolSequence::max_dimension + 1), Error);
}

// The squared centred L2 discrepancy (Hickernell 1998), as scipy.stats.qmc.discrepancy has it.
double discrepancy(const std::vector<std::vector<double>>& points) {
  const auto n = static_cast<double>(points.size());
  double one = 0, two = 0;
  for (const auto& a : points) {
    double product = 1;
    for (const double x : a) product *= 1 + 0.5 * std::abs(x - 0.5) - 0.5 * (x - 0.5) * (x - 0.5);
    one += product;
    for (const auto& b : points) {
      product = 1;
      for (std::size_t j = 0; j < a.size(); ++j) {
        product *= 1 + 0.5 * std::abs(a[j] - 0.5) + 0.5 * std::abs(b[j] - 0.5) - 0.5 * std::abs(a[j] - b[j]);
      }
      two += product;
    }
  }
  return std::pow(13.0 / 12, points.front().size()) - 2 / n * one + two / (n * n);
}

TEST(Sequences, ScrambledPointsStayEven) {
  // A scramble keeps the net: in the first two coordinates, every box of 2^-a x 2^-(8 - a) holds one of 256 points.
  for (std::uint64_t seed = 0; seed < 5; ++seed) {
    const SobolSequence sobol(4, seed);
    std::vector<std::vector<double>> points;
    for (std::uint64_t i = 0; i < 256; ++i) points.push_back(sobol.point(i));
    for (int a = 0; a <= 8; ++a) {
      std::set<std::pair<int, int>> boxes;
      for (const auto& point : points) {
        ASSERT_GT(point[0], 0);
        ASSERT_LT(point[0], 1);
        boxes.emplace(static_cast<int>(std::ldexp(point[0], a)), static_cast<int>(std::ldexp(point[1], 8 - a)));
      }
      EXPECT_EQ(boxes.size(), 256u) << a;
    }
    const HaltonSequence halton(4, seed);
    std::set<int> thirds, fifths;
    std::vector<std::vector<double>> others;
    for (std::uint64_t i = 0; i < 256; ++i) {
      others.push_back(halton.point(i));
      if (i < 243) thirds.insert(static_cast<int>(others.back()[1] * 243));
      if (i < 125) fifths.insert(static_cast<int>(others.back()[2] * 125));
      ASSERT_LT(others.back()[3], 1);
    }
    EXPECT_EQ(thirds.size(), 243u);
    EXPECT_EQ(fifths.size(), 125u);
    // scipy's own scrambled sequences have 0.00011 and 0.00021 here, random points 0.0031.
    EXPECT_LT(discrepancy(points), 5e-4);
    EXPECT_LT(discrepancy(others), 1e-3);
    EXPECT_NE(sobol.point(3), SobolSequence(4, seed + 1).point(3));
    EXPECT_NE(halton.point(3), HaltonSequence(4, seed + 1).point(3));
  }
}

TEST(CmaEs, FollowsCmaes) {
  const Map file = golden("cma");
  for (const auto& item : file.at("cases").as_list()) {
    const Map& test = item.as_map();
    const std::string kind = test.at("kind").as_string();
    const auto dim = static_cast<std::size_t>(test.at("dim").as_int());
    const std::string what = kind + " " + std::to_string(dim);
    CmaEsOptions options{.start = {.mean = std::vector<double>(dim, 0.5)},
                         .separable = kind == "separable",
                         .lr_adapt = kind == "lr_adapt"};
    if (kind == "full" && dim == 5) options.population_size = 15;
    if (!test.at("steps").is_null()) options.steps = numbers(test.at("steps"));
    if (kind == "warm") {
      std::vector<std::pair<std::vector<double>, double>> source;
      for (const auto& pair : test.at("source").as_list()) {
        source.emplace_back(numbers(pair.as_list()[0]), pair.as_list()[1].as_double());
      }
      options.start = warm_start(source);
      const Map& start = test.at("start").as_map();
      const auto mean = numbers(start.at("mean"));
      const Matrix cov = matrix(start.at("cov"));
      expect_near(options.start.sigma, start.at("sigma").as_double(), 1e-10, what);
      for (std::size_t i = 0; i < dim; ++i) expect_near(options.start.mean[i], mean[i], 1e-10, what);
      for (std::size_t i = 0; i < dim * dim; ++i) expect_near(options.start.cov[i], cov.data[i], 1e-10, what);
    }
    CmaEs search(options);
    EXPECT_EQ(search.population_size(), test.at("population").as_int()) << what;
    const auto at = numbers(test.at("at"));
    std::size_t next = 0;
    const List& generations = test.at("told").as_list();
    for (std::size_t g = 0; g < generations.size(); ++g) {
      std::vector<std::pair<std::vector<double>, double>> told;
      for (const auto& pair : generations[g].as_list()) {
        told.emplace_back(numbers(pair.as_list()[0]), pair.as_list()[1].as_double());
      }
      search.tell(told);
      if (next == at.size() || static_cast<double>(g) != at[next]) continue;
      const Map& state = test.at("states").as_list()[next++].as_map();
      const std::string where = what + ", generation " + std::to_string(g);
      const auto mean = numbers(state.at("mean"));
      const Matrix cov = matrix(state.at("cov"));
      expect_near(search.sigma(), state.at("sigma").as_double(), 1e-8, where);
      for (std::size_t i = 0; i < dim; ++i) expect_near(search.mean()[i], mean[i], 1e-8, where);
      const auto actual = search.covariance();
      for (std::size_t i = 0; i < dim * dim; ++i) expect_near(actual[i], cov.data[i], 1e-8, where);
      EXPECT_EQ(search.should_stop(), state.at("stop").as_bool()) << where;
    }
    EXPECT_EQ(next, at.size()) << what;
  }
}

TEST(CmaEs, DrawsFromItsDistribution) {
  // With a small sigma nothing is resampled: mean and covariance of many draws are those of the distribution.
  const std::vector<double> cov{1, 0.6, 0.6, 2};
  const CmaEs search({.start = {.mean = {0.4, 0.6}, .sigma = 0.01, .cov = cov}});
  Rng rng(0, "test");
  constexpr int n = 20000;
  std::vector<double> mean(2), second(4);
  for (int i = 0; i < n; ++i) {
    const auto x = search.ask(rng).point;
    const double y[2] = {(x[0] - 0.4) / 0.01, (x[1] - 0.6) / 0.01};
    for (std::size_t a = 0; a < 2; ++a) {
      mean[a] += y[a] / n;
      for (std::size_t b = 0; b < 2; ++b) second[2 * a + b] += y[a] * y[b] / n;
    }
  }
  for (std::size_t a = 0; a < 2; ++a) EXPECT_NEAR(mean[a], 0, 0.05);  // 5 standard errors
  for (std::size_t a = 0; a < 4; ++a) EXPECT_NEAR(second[a], cov[a], 0.1);
  // At the border all draws stay inside.
  const CmaEs corner({.start = {.mean = {0.0, 1.0}, .sigma = 0.5}});
  for (int i = 0; i < 200; ++i) {
    for (const double x : corner.ask(rng).point) EXPECT_TRUE(x >= 0 && x <= 1);
  }
}

TEST(CmaEs, MarginKeepsNeighboursInReach) {
  // One coordinate has the points 0, 0.1, ..., 1. After the rest has converged a neighbour is still drawn now and then.
  CmaEs search({.start = {.mean = {0.5, 0.5}}, .steps = {0.0, 0.1}});
  Rng rng(0, "test");
  for (int g = 0; g < 80; ++g) {
    std::vector<std::pair<std::vector<double>, double>> told;
    for (std::int64_t i = 0; i < search.population_size(); ++i) {
      const auto proposal = search.ask(rng);
      EXPECT_NEAR(std::remainder(proposal.point[1], 0.1), 0, 1e-12);
      const double loss = std::pow(proposal.point[0] - 0.3, 2) + std::pow(proposal.point[1] - 0.7, 2);
      told.emplace_back(proposal.raw, loss);
    }
    search.tell(std::move(told));
  }
  EXPECT_NEAR(search.mean()[0], 0.3, 0.01);
  int others = 0;
  for (int i = 0; i < 500; ++i) others += std::abs(search.ask(rng).point[1] - 0.7) > 0.05;
  EXPECT_GT(others, 10);
  EXPECT_LT(others, 250);
}

TEST(Dense, SolvesSystems) {
  Rng rng(0, "test");
  for (const std::size_t n : {1u, 2u, 7u, 8u, 33u}) {
    Matrix root(n, n), a(n, n);
    for (double& v : root.data) v = rng.normal();
    for (std::size_t i = 0; i < n; ++i) {
      for (std::size_t j = 0; j < n; ++j) a.row(i)[j] = detail::dot(root.row(i), root.row(j), n) + (i == j ? 1 : 0);
    }
    Matrix l = a, inverse(n, n), gram(n, n);
    ASSERT_TRUE(detail::cholesky(l.data.data(), n));
    detail::invert_lower(l.data.data(), inverse.data.data(), n);
    detail::gram_of_lower(inverse.data.data(), gram.data.data(), n);
    for (std::size_t i = 0; i < n; ++i) {
      for (std::size_t j = 0; j < n; ++j) {
        double sum = 0;  // A A^-1
        for (std::size_t k = 0; k < n; ++k) sum += a.row(i)[k] * (k >= j ? gram.row(k)[j] : gram.row(j)[k]);
        EXPECT_NEAR(sum, i == j ? 1 : 0, 1e-9);
      }
    }
    Matrix columns(n, detail::block);
    for (double& v : columns.data) v = rng.normal();
    double norms[detail::block];
    detail::lower_squared_norms(inverse.data.data(), columns.data.data(), norms, n);
    std::vector<double> x(n), y(n), back(n);
    for (std::size_t c = 0; c < detail::block; ++c) {
      for (std::size_t i = 0; i < n; ++i) x[i] = columns.row(i)[c];
      detail::lower_times(inverse.data.data(), x.data(), y.data(), n);
      EXPECT_NEAR(norms[c], detail::dot(y.data(), y.data(), n), 1e-10 * std::max(1.0, norms[c]));
      detail::lower_transposed_times(inverse.data.data(), y.data(), back.data(), n);
      EXPECT_NEAR(detail::dot(x.data(), back.data(), n), norms[c], 1e-9 * std::max(1.0, norms[c]));
    }
    a.row(n - 1)[n - 1] = -1;
    EXPECT_FALSE(detail::cholesky(a.data.data(), n));
  }
}

TEST(Lbfgs, FindsMinimaWithinBounds) {
  const SmoothFunction rosenbrock = [](std::span<const double> x, std::span<double> g) {
    double sum = 0;
    std::fill(g.begin(), g.end(), 0.0);
    for (std::size_t i = 0; i + 1 < x.size(); ++i) {
      const double a = x[i + 1] - x[i] * x[i], b = 1 - x[i];
      sum += 100 * a * a + b * b;
      g[i] += -400 * a * x[i] - 2 * b;
      g[i + 1] += 200 * a;
    }
    return sum;
  };
  const auto free = minimize_lbfgs(rosenbrock, {-1.2, 1}, {.max_iterations = 500, .value_tolerance = 0});
  for (const double x : free.x) EXPECT_NEAR(x, 1, 1e-4);
  const auto bounded = minimize_lbfgs(
      rosenbrock, {-1.2, 1}, {.lower = {-2, -2}, .upper = {0.5, 2}, .max_iterations = 500, .value_tolerance = 0});
  EXPECT_NEAR(bounded.x[0], 0.5, 1e-8);
  EXPECT_NEAR(bounded.x[1], 0.25, 1e-5);
  EXPECT_FALSE(minimize_lbfgs([](auto, auto) { return std::nan(""); }, {1.0}).finite);
}

class GpGolden : public ::testing::Test {
 protected:
  static std::vector<char> categorical(const Map& test) {
    std::vector<char> out;
    for (const auto& flag : test.at("categorical").as_list()) out.push_back(flag.as_bool());
    return out;
  }
  static GaussianProcess process(const Map& test, const std::string& y, const std::string& params) {
    const auto p = numbers(test.at(params));
    const std::size_t d = p.size() - 2;
    KernelParams kernel{.inverse_squared_lengthscales = {p.begin(), p.begin() + static_cast<std::ptrdiff_t>(d)},
                        .scale = p[d],
                        .noise = p[d + 1]};
    return GaussianProcess(matrix(test.at("x")), numbers(test.at(y)), categorical(test), std::move(kernel));
  }
  const Map file = golden("gp");
};

TEST_F(GpGolden, KernelLikelihoodAndPosterior) {
  for (const auto& item : file.at("cases").as_list()) {
    const Map& test = item.as_map();
    const GaussianProcess gp = process(test, "y", "params");
    const Matrix kernel = matrix(test.at("kernel")), probes = matrix(test.at("probes"));
    for (std::size_t i = 0; i < gp.size(); ++i) {
      for (std::size_t k = 0; k < gp.size(); ++k) {
        EXPECT_NEAR(gp.kernel(gp.points()[i], gp.points()[k]), kernel.row(i)[k], 1e-12);
      }
    }
    expect_near(gp.log_likelihood(), test.at("log_likelihood").as_double(), 1e-9, "likelihood");
    expect_near(GaussianProcess::log_prior(gp.params()), test.at("log_prior").as_double(), 1e-12, "prior");
    const auto mean = numbers(test.at("mean")), var = numbers(test.at("var"));
    std::vector<double> means, variances;
    gp.posterior(probes, means, variances);
    for (std::size_t i = 0; i < probes.rows; ++i) {
      GaussianProcess::Posterior at;
      gp.posterior(probes[i], true, at);
      expect_near(at.mean, mean[i], 1e-8, "mean");
      expect_near(at.variance, var[i], 1e-8, "variance");
      expect_near(means[i], mean[i], 1e-8, "mean of many");
      expect_near(variances[i], var[i], 1e-8, "variance of many");
    }
  }
}

TEST_F(GpGolden, FitsAreAsGood) {
  for (const auto& item : file.at("cases").as_list()) {
    const Map& test = item.as_map();
    for (const bool deterministic : {false, true}) {
      const auto gp =
          GaussianProcess::fit(matrix(test.at("x")), numbers(test.at("y")), categorical(test), nullptr, deterministic);
      const double density = gp.log_likelihood() + GaussianProcess::log_prior(gp.params());
      // Both stop at a gradient of 0.01, a little below the top.
      EXPECT_GT(density, test.at(deterministic ? "fitted_deterministic" : "fitted").as_double() - 0.01);
      if (deterministic) EXPECT_EQ(gp.params().noise, minimum_noise);
      // A fit that starts at the end of another one stays there.
      const auto again = GaussianProcess::fit(matrix(test.at("x")), numbers(test.at("y")), categorical(test),
                                              &gp.params(), deterministic);
      EXPECT_NEAR(again.log_likelihood() + GaussianProcess::log_prior(again.params()), density, 0.05);
    }
  }
}

TEST_F(GpGolden, LogExpectedImprovement) {
  const auto z = numbers(file.at("z")), expected = numbers(file.at("log_ei"));
  for (std::size_t i = 0; i < z.size(); ++i) {
    double slope = 0, up = 0, down = 0;
    expect_near(log_expected_improvement(z[i], &slope), expected[i], 1e-8, format_double(z[i]));
    const double h = 1e-5 * std::max(1.0, std::abs(z[i]));
    up = log_expected_improvement(z[i] + h);
    down = log_expected_improvement(z[i] - h);
    if (std::abs(z[i] + 25) > 1e-2) EXPECT_NEAR(slope, (up - down) / (2 * h), 1e-4 * std::max(1.0, std::abs(slope)));
  }
}

TEST_F(GpGolden, AcquisitionsAsOptuna) {
  for (const auto& item : file.at("cases").as_list()) {
    const Map& test = item.as_map();
    const Matrix probes = matrix(test.at("probes"));
    const auto y = numbers(test.at("y")), y2 = numbers(test.at("y2")), y3 = numbers(test.at("y3"));
    const double threshold = test.at("threshold").as_double();
    for (const auto& [kind, wanted] : test.at("acquisitions").as_map()) {
      AcquisitionSpec spec;
      const bool several = kind.find("ehvi") != std::string::npos, three = kind == "logehvi3";
      const bool constrained = kind.find("logc") != std::string::npos, nothing = kind.ends_with("nothing");
      spec.objectives.push_back(process(test, "y", "params"));
      if (several) spec.objectives.push_back(process(test, "y2", "params2"));
      if (three) spec.objectives.push_back(process(test, "y3", "params3"));
      if (constrained) {
        spec.constraints.push_back(process(test, "y3", "params3"));
        spec.thresholds = {threshold};
      }
      spec.best = nothing ? -std::numeric_limits<double>::infinity() : test.at("best").as_double();
      if (several && !nothing) {
        std::vector<double> rows;
        for (std::size_t i = 0; i < y.size(); ++i) {
          if (constrained && y3[i] < threshold) continue;
          rows.insert(rows.end(), {y[i], y2[i]});
          if (three) rows.push_back(y3[i]);
        }
        spec.feasible_values = Matrix(rows.size() / spec.objectives.size(), spec.objectives.size());
        spec.feasible_values.data = rows;
      }
      if (kind.starts_with("q")) spec.running = matrix(test.at("running"));
      const List& normals = wanted.as_map().at("normals").as_list();
      for (const auto& samples : normals) spec.normals.push_back(matrix(samples));
      // With constraints and running points the constraints' samples are drawn first.
      if (kind == "qlogcehvi") std::rotate(spec.normals.begin(), spec.normals.begin() + 1, spec.normals.end());
      const Acquisition acquisition(std::move(spec));
      const auto values = numbers(wanted.as_map().at("values"));
      const Matrix gradients = matrix(wanted.as_map().at("gradients"));
      const auto batch = acquisition.values(probes);
      for (std::size_t i = 0; i < probes.rows; ++i) {
        const std::string what = kind + " at " + std::to_string(i) + " of " + std::to_string(y.size());
        std::vector<double> gradient(probes.cols);
        expect_near(acquisition.value(probes[i], gradient), values[i], 1e-6, what);
        expect_near(batch[i], values[i], 1e-6, what);
        for (std::size_t j = 0; j < probes.cols; ++j) {
          expect_near(gradient[j], gradients.row(i)[j], 1e-5, what + ", slope " + std::to_string(j));
        }
      }
    }
  }
}

TEST(NondominatedBoxes, TileWhatIsNotDominated) {
  Rng rng(3, "test");
  for (const std::size_t m : {1u, 2u, 3u, 4u}) {
    std::vector<std::vector<double>> points(8, std::vector<double>(m));
    for (auto& point : points) {
      for (double& x : point) x = std::floor(rng.uniform() * 8) / 8;  // with ties
    }
    const std::vector<double> reference(m, 1.0);
    const auto boxes = nondominated_boxes(points, reference);
    for (int i = 0; i < 3000; ++i) {
      std::vector<double> probe(m);
      for (double& x : probe) x = rng.uniform(-0.5, 1);
      int inside = 0;
      for (const Box& box : boxes) {
        bool in = true;
        for (std::size_t j = 0; j < m; ++j) in = in && box.lower[j] < probe[j] && probe[j] < box.upper[j];
        inside += in;
      }
      const bool dominated =
          std::any_of(points.begin(), points.end(), [&](const auto& p) { return dominates(p, probe); });
      EXPECT_EQ(inside, dominated ? 0 : 1) << m;
    }
  }
}

TEST(UnitCube, GoesThereAndBack) {
  const SearchSpace space{{"f", uniform(-3, 5)},   {"l", loguniform(1e-6, 10)},  {"s", quniform(0, 1, 0.1)},
                          {"i", randint(-3, 9)},   {"g", lograndint(1, 1000)},   {"c", choice({"a", 2, true})},
                          {"only", randint(4, 5)}, {"w", uniform(-1e300, 1e300)}};
  const UnitCube cube(space);
  EXPECT_EQ(cube.size(), 7u);
  Rng rng(0, "test");
  for (int k = 0; k < 300; ++k) {
    std::vector<double> point(cube.size());
    for (double& u : point) u = rng.uniform();
    const Map params = cube.to_params(point);
    for (const auto& [name, value] : params) {
      EXPECT_TRUE(space.at(name).contains(space.at(name).to_internal(value))) << name;
    }
    const auto back = cube.to_params(cube.to_unit(params));
    for (const auto& [name, value] : params) {
      if (value.is_float()) {
        expect_near(back.at(name).as_double(), value.as_double(), 1e-9, name);
      } else {
        EXPECT_EQ(back.at(name), value) << name;
      }
    }
  }
  const UnitAxis steps(quniform(0, 1, 0.1)), logs(lograndint(1, 1000));
  for (double index = 0; index < steps.n_points(); ++index) EXPECT_EQ(steps.index_of(steps.point(index)), index);
  for (double index = 0; index < logs.n_points(); ++index) EXPECT_EQ(logs.index_of(logs.point(index)), index);
}

// Columns that are updated as observations come, go, repeat and change their range give what a fit from nothing gives.
TEST(ParzenEstimator, UpdatedColumnsAreAsNewOnes) {
  Rng rng(3, "test.parzen", 0);
  SearchSpace space{{"x", FloatDistribution{.low = -2, .high = 3}},
                    {"lr", FloatDistribution{.low = 1e-4, .high = 1, .log = true}},
                    {"n", IntDistribution{.low = 1, .high = 9}},
                    {"c", CategoricalDistribution{{"a", "b", "c"}}}};
  std::vector<ParzenColumn> columns;
  for (const auto& [name, distribution] : space) columns.emplace_back(distribution);
  const auto draw = [&](const Distribution& d) {
    if (d.is_categorical()) return static_cast<double>(rng.below(d.size()));
    // Few values, so that some are equal.
    const double part = static_cast<double>(rng.below(40)) / 39;
    if (d.log()) return std::clamp(d.low() * std::pow(d.high() / d.low(), part), d.low(), d.high());
    return d.step() > 0 ? d.low() + std::nearbyint(part * (d.high() - d.low())) : d.low() + part * (d.high() - d.low());
  };
  std::vector<std::vector<double>> rows;
  std::vector<double> weights;
  for (int round = 0; round < 400; ++round) {
    if (round == 250) {  // a wider range: all kernels are cut off elsewhere
      space.set("x", FloatDistribution{.low = -4, .high = 3});
      columns[0].set_distribution(space.at("x"));
    }
    auto& row = rows.emplace_back();
    std::size_t i = 0;
    for (const auto& [name, distribution] : space) columns[i++].push(row.emplace_back(draw(distribution)));
    weights.push_back(1);
    const std::size_t changes = round % 50 == 49 ? rows.size() / 2 : rng.below(4);
    for (std::size_t change = 0; change < changes; ++change) {
      double& weight = weights[rng.below(weights.size())];
      weight = weight > 0 ? 0 : 0.25 + rng.uniform();
    }
    std::vector<std::vector<double>> extra(space.size());
    std::vector<double> extra_weights;
    if (round % 7 == 0) {
      for (int e = 0; e < 3; ++e) {
        i = 0;
        for (const auto& [name, distribution] : space) extra[i++].push_back(draw(distribution));
        extra_weights.push_back(0.5);
      }
    }

    std::vector<std::vector<double>> used(space.size());
    std::vector<double> used_weights;
    for (std::size_t r = 0; r < rows.size(); ++r) {
      if (weights[r] == 0) continue;
      for (i = 0; i < used.size(); ++i) used[i].push_back(rows[r][i]);
      used_weights.push_back(weights[r]);
    }
    for (std::size_t e = 0; e < extra_weights.size(); ++e) {
      for (i = 0; i < used.size(); ++i) used[i].push_back(extra[i][e]);
      used_weights.push_back(extra_weights[e]);
    }
    if (used_weights.empty()) continue;
    std::vector<std::vector<double>> points(space.size());
    i = 0;
    for (const auto& [name, distribution] : space) {
      for (int j = 0; j < 5; ++j) points[i].push_back(draw(distribution));
      ++i;
    }
    std::vector<ParzenColumn*> pointers;
    for (auto& column : columns) pointers.push_back(&column);
    const auto updated = ParzenEstimator(pointers, weights, extra, extra_weights).log_pdf(points);
    const auto fresh = ParzenEstimator(space, used, used_weights).log_pdf(points);
    for (std::size_t j = 0; j < fresh.size(); ++j) ASSERT_NEAR(updated[j], fresh[j], 1e-9) << "round " << round;
  }
}

// Kernels that are left out on the way do not count: the density is the sum over all of them. Where columns are alike
// but for the first ones, what is left out after these stays as far away as it was.
TEST(ParzenEstimator, NothingVisibleIsLeftOut) {
  constexpr std::size_t n_columns = 24, n_rows = 500, n_points = 12;
  for (const std::size_t n_different : {n_columns, std::size_t{4}}) {
    Rng rng(4, "test.parzen", n_different);
    SearchSpace space;
    for (std::size_t i = 0; i < n_columns; ++i) {
      space.set("x" + std::to_string(i), FloatDistribution{.low = 0, .high = 1});
    }
    std::vector<std::vector<double>> observations(n_columns), points(n_columns);
    for (std::size_t i = 0; i < n_columns; ++i) {
      // In few columns they lie close, so that kernels of all distances from a point are there.
      const double spread = n_different < n_columns ? 0.07 : 0.3;
      for (std::size_t k = 0; k < n_rows; ++k) {
        observations[i].push_back(i < n_different ? std::clamp(0.5 + spread * rng.normal(), 0.0, 1.0) : 0.5);
      }
      for (std::size_t j = 0; j < n_points; ++j) {
        const double near = std::clamp(observations[i][j] + 0.01 * rng.normal(), 0.0, 1.0);
        points[i].push_back(i >= n_different ? 0.5 : j % 2 == 0 || n_different < n_columns ? near : rng.uniform());
      }
    }
    const ParzenEstimator estimator(space, observations, std::vector<double>(n_rows, 1.0));
    const auto actual = estimator.log_pdf(points);
    for (std::size_t j = 0; j < n_points; ++j) {
      std::vector<double> logs;
      for (std::size_t k = 0; k <= n_rows; ++k) {
        double log = std::log(estimator.weights()[k]);
        for (std::size_t i = 0; i < n_columns; ++i) {
          const double center = k < n_rows ? observations[i][k] : 0.5, sigma = estimator.sigma(i, k);
          const double z = (points[i][j] - center) / sigma;
          log += -0.5 * z * z - std::log(sigma * std::sqrt(2 * std::numbers::pi)) -
                 log_normal_mass(-center / sigma, (1 - center) / sigma);
        }
        logs.push_back(log);
      }
      const double top = *std::max_element(logs.begin(), logs.end());
      double sum = 0;
      for (const double log : logs) sum += std::exp(log - top);
      EXPECT_NEAR(actual[j], top + std::log(sum), 1e-10) << n_different << " columns, point " << j;
    }
  }
}

TEST(TruncatedNormal, MassIsThatOfTheFunction) {
  for (const auto& [a, b] : {std::pair(-3.0, 1.0), {-1.0, 0.0}, {0.0, 2.0}, {1.0, 4.0}, {-40.0, -30.0}, {30.0, 40.0}}) {
    EXPECT_DOUBLE_EQ(TruncatedNormal(a, b).log_mass(), log_normal_mass(a, b)) << a << ", " << b;
  }
}

TEST(AcquisitionSearch, FindsThePeakOfAMixedSpace) {
  // Values with one clear maximum: the search shall come at least as high as a dense grid.
  const SearchSpace space{{"x", uniform(0, 1)}, {"c", choice({"a", "b", "c"})}, {"k", randint(0, 60)}};
  const UnitCube cube(space);
  Rng rng(1, "test");
  Matrix points(25, 3);
  std::vector<double> values;
  for (std::size_t i = 0; i < points.rows; ++i) {
    double* p = points.row(i);
    p[0] = rng.uniform();
    p[1] = cube[1].point(static_cast<double>(rng.below(3)));
    p[2] = cube[2].point(static_cast<double>(rng.below(60)));
    values.push_back(-std::pow(p[0] - 0.7, 2) - 2 * std::pow(p[2] - 0.3, 2) + (cube[1].index_of(p[1]) == 1 ? 0.3 : 0));
  }
  AcquisitionSpec spec;
  spec.best = *std::max_element(values.begin(), values.end());
  spec.objectives.push_back(GaussianProcess::fit(points, values, {0, 1, 0}));
  const Acquisition acquisition(std::move(spec));
  double best = -std::numeric_limits<double>::infinity();
  for (int a = 0; a <= 50; ++a) {
    for (int c = 0; c < 3; ++c) {
      for (int k = 0; k < 60; ++k) {
        best = std::max(best, acquisition.value(std::vector<double>{a / 50.0, cube[1].point(c), cube[2].point(k)}));
      }
    }
  }
  const auto found = maximize_acquisition(acquisition, cube, rng, {.n_preliminary = 256});
  EXPECT_GT(acquisition.value(found), best - 1e-6);
  EXPECT_EQ(cube[2].point(cube[2].index_of(found[2])), found[2]);
}

}  // namespace
}  // namespace levin::tune
