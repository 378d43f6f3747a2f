#include <levin/tune/pruners/hyperband.h>
#include <levin/tune/pruners/metric.h>
#include <levin/tune/pruners/patient.h>
#include <levin/tune/pruners/percentile.h>
#include <levin/tune/pruners/successive_halving.h>
#include <levin/tune/pruners/threshold.h>
#include <levin/tune/pruners/wilcoxon.h>
#include <levin/tune/samplers/auto.h>
#include <levin/tune/samplers/bohb.h>
#include <levin/tune/samplers/cma_es_sampler.h>
#include <levin/tune/samplers/dehb.h>
#include <levin/tune/samplers/gp.h>
#include <levin/tune/samplers/nsga.h>
#include <levin/tune/samplers/partial_fixed.h>
#include <levin/tune/samplers/qmc.h>
#include <levin/tune/samplers/random.h>
#include <levin/tune/samplers/random_forest.h>
#include <levin/tune/samplers/tpe.h>
#include <levin/tune/storage/journal.h>
#include <levin/tune/storage/memory.h>
#include <levin/tune/storage/postgres.h>
#include <levin/tune/storage/sqlite.h>
#include <levin/tune/testing/pruner_conformance.h>
#include <levin/tune/testing/sampler_conformance.h>
#include <levin/tune/testing/storage_conformance.h>

#include <tune/postgres_server.h>
#include <atomic>
#include <thread>
#include <tune/scratch.h>
#include <vector>

namespace levin::tune::testing {
namespace {

std::string name_of(const auto& factory) { return factory.param.name; }

INSTANTIATE_TEST_SUITE_P(
    Storages, StorageConformance,
    ::testing::Values(
        StorageFactory{"memory", [] { return std::make_shared<MemoryStorage>(); }},
        StorageFactory{"journal", [] { return std::make_shared<JournalStorage>(scratch_file("conformance.log")); }},
        StorageFactory{"sqlite", [] { return std::make_shared<SqliteStorage>(scratch_file("conformance.db")); }}),
    [](const auto& factory) { return name_of(factory); });

// As processes have them: a storage object for each, on one study.
void expect_a_limit_between(const std::function<std::shared_ptr<Storage>()>& open) {
  const auto id = open()->create_study("limited", {Direction::minimize}).value();
  std::atomic<int> begun{0};
  {
    std::vector<std::jthread> threads;
    for (int t = 0; t < 4; ++t) {
      threads.emplace_back([&] {
        const auto storage = open();
        while (const auto trial = storage->next_trial(id, false, 30)) {
          ++begun;
          storage->update_trial(trial->trial_id, {.state = TrialState::fail});
        }
      });
    }
  }
  EXPECT_EQ(begun, 30);
}

TEST(TrialLimit, HoldsBetweenStorageObjectsOnOneFile) {
  const std::string journal = scratch_file("limit.log"), database = scratch_file("limit.db");
  expect_a_limit_between([&] { return std::make_shared<JournalStorage>(journal); });
  expect_a_limit_between([&] { return std::make_shared<SqliteStorage>(database); });
}

TEST(TrialLimit, HoldsBetweenConnectionsToPostgres) {
  if (!PostgresServer::installed()) GTEST_SKIP() << "PostgreSQL is not installed: apt-get install postgresql";
  const std::string url = PostgresServer::instance().fresh_url();
  expect_a_limit_between([&] { return std::make_shared<PostgresStorage>(url); });
}

std::vector<StorageFactory> postgres_storages() {
  if (!PostgresServer::installed()) return {};
  return {{"postgres", [] { return std::make_shared<PostgresStorage>(PostgresServer::instance().fresh_url()); }}};
}
INSTANTIATE_TEST_SUITE_P(Postgres, StorageConformance, ::testing::ValuesIn(postgres_storages()),
                         [](const auto& factory) { return name_of(factory); });

INSTANTIATE_TEST_SUITE_P(
    Samplers, SamplerConformance,
    ::testing::Values(
        SamplerFactory{"random", [](auto seed) -> SamplerRef { return RandomSampler({.seed = seed}); }},
        SamplerFactory{"nsga2",
                       [](auto seed) -> SamplerRef { return NSGAIISampler({.population_size = 8, .seed = seed}); }},
        SamplerFactory{
            "nsga2_sbx",
            [](auto seed) -> SamplerRef {
              return NSGAIISampler(
                  {.population_size = 6, .mutation = PolynomialMutation(), .crossover = SBXCrossover(), .seed = seed});
            }},
        SamplerFactory{"nsga3",
                       [](auto seed) -> SamplerRef { return NSGAIIISampler({.population_size = 8, .seed = seed}); }},
        SamplerFactory{"random_forest",
                       [](auto seed) -> SamplerRef {
                         return RandomForestSampler({.n_startup_trials = 5, .n_challengers = 100, .seed = seed});
                       }},
        SamplerFactory{"bohb", [](auto seed) -> SamplerRef { return BOHBSampler({.seed = seed}); }},
        SamplerFactory{"dehb", [](auto seed) -> SamplerRef { return DEHBSampler({.max_resource = 9, .seed = seed}); }},
        SamplerFactory{"auto", [](auto seed) -> SamplerRef { return AutoSampler({.seed = seed}); }},
        SamplerFactory{"partial_fixed",
                       [](auto seed) -> SamplerRef {
                         return PartialFixedSampler({{"elsewhere", 1.0}}, TPESampler({.seed = seed}));
                       }},
        SamplerFactory{"tpe", [](auto seed) -> SamplerRef { return TPESampler({.seed = seed}); }},
        SamplerFactory{"tpe_univariate",
                       [](auto seed) -> SamplerRef { return TPESampler({.seed = seed, .multivariate = false}); }},
        SamplerFactory{"tpe_group", [](auto seed) -> SamplerRef { return TPESampler({.seed = seed, .group = true}); }},
        SamplerFactory{"tpe_no_liar",
                       [](auto seed) -> SamplerRef {
                         return TPESampler({.n_startup_trials = 3, .seed = seed, .constant_liar = false});
                       }},
        SamplerFactory{"qmc_sobol",
                       [](auto seed) -> SamplerRef { return QMCSampler({.scramble = true, .seed = seed}); }},
        SamplerFactory{"qmc_halton",
                       [](auto seed) -> SamplerRef { return QMCSampler({.qmc_type = QMCType::halton, .seed = seed}); }},
        SamplerFactory{"cma", [](auto seed) -> SamplerRef { return CmaEsSampler({.seed = seed}); }},
        SamplerFactory{"cma_margin",
                       [](auto seed) -> SamplerRef {
                         return CmaEsSampler({.seed = seed, .consider_pruned_trials = true, .with_margin = true});
                       }},
        SamplerFactory{"cma_separable",
                       [](auto seed) -> SamplerRef { return CmaEsSampler({.seed = seed, .use_separable_cma = true}); }},
        SamplerFactory{"gp", [](auto seed) -> SamplerRef { return GPSampler({.seed = seed}); }}),
    [](const auto& factory) { return name_of(factory); });

INSTANTIATE_TEST_SUITE_P(
    Pruners, PrunerConformance,
    ::testing::Values(
        PrunerFactory{"none", []() -> PrunerRef { return NopPruner(); }},
        PrunerFactory{"median", []() -> PrunerRef { return MedianPruner(); }},
        PrunerFactory{"percentile",
                      []() -> PrunerRef { return PercentilePruner({.percentile = 25, .n_startup_trials = 2}); }},
        PrunerFactory{"halving", []() -> PrunerRef { return SuccessiveHalvingPruner(); }},
        PrunerFactory{"hyperband", []() -> PrunerRef { return HyperbandPruner(); }},
        PrunerFactory{"hyperband_steps", []() -> PrunerRef { return HyperbandPruner({.max_resource = 20}); }},
        PrunerFactory{"patient", []() -> PrunerRef { return PatientPruner(MedianPruner(), {.patience = 2}); }},
        PrunerFactory{"threshold", []() -> PrunerRef { return ThresholdPruner({.lower = -200, .upper = 200}); }},
        PrunerFactory{"wilcoxon", []() -> PrunerRef { return WilcoxonPruner(); }},
        PrunerFactory{"any",
                      []() -> PrunerRef { return AnyPruner({MedianPruner(), ThresholdPruner({.lower = -200})}); }},
        PrunerFactory{
            "halving_steps",
            []() -> PrunerRef { return SuccessiveHalvingPruner({.min_resource = 1, .reduction_factor = 2}); }}),
    [](const auto& factory) { return name_of(factory); });

INSTANTIATE_TEST_SUITE_P(
    Samplers, MultiObjectiveSamplerConformance,
    ::testing::Values(
        SamplerFactory{"random", [](auto seed) -> SamplerRef { return RandomSampler({.seed = seed}); }},
        SamplerFactory{"tpe", [](auto seed) -> SamplerRef { return TPESampler({.seed = seed}); }},
        SamplerFactory{"gp", [](auto seed) -> SamplerRef { return GPSampler({.seed = seed}); }},
        SamplerFactory{"qmc", [](auto seed) -> SamplerRef { return QMCSampler({.scramble = true, .seed = seed}); }},
        SamplerFactory{"auto", [](auto seed) -> SamplerRef { return AutoSampler({.seed = seed}); }},
        SamplerFactory{"nsga2",
                       [](auto seed) -> SamplerRef { return NSGAIISampler({.population_size = 8, .seed = seed}); }},
        SamplerFactory{"nsga3",
                       [](auto seed) -> SamplerRef { return NSGAIIISampler({.population_size = 8, .seed = seed}); }},
        SamplerFactory{"random_forest",
                       [](auto seed) -> SamplerRef {
                         return RandomForestSampler({.n_startup_trials = 5, .n_challengers = 100, .seed = seed});
                       }}),
    [](const auto& factory) { return name_of(factory); });

INSTANTIATE_TEST_SUITE_P(
    Pruners, MultiObjectivePrunerConformance,
    ::testing::Values(
        PrunerFactory{"none", []() -> PrunerRef { return NopPruner(); }},
        PrunerFactory{"median", []() -> PrunerRef { return MedianPruner({.n_startup_trials = 2}); }},
        PrunerFactory{
            "halving",
            []() -> PrunerRef { return SuccessiveHalvingPruner({.min_resource = 1, .reduction_factor = 2}); }},
        PrunerFactory{"hyperband", []() -> PrunerRef { return HyperbandPruner({.max_resource = 20}); }},
        PrunerFactory{"patient", []() -> PrunerRef { return PatientPruner(MedianPruner(), {.patience = 1}); }},
        PrunerFactory{"metric", []() -> PrunerRef { return MetricPruner(MedianPruner(), {.metric = "none"}); }}),
    [](const auto& factory) { return name_of(factory); });

}  // namespace
}  // namespace levin::tune::testing
