// The programs of docs/tuner.md, compiled and run.
#include <levin/tune/tune.h>

#include <gtest/gtest.h>

#include <sstream>

namespace tune = levin::tune;

namespace {

TEST(TunerDocument, Spaces) {
  tune::SearchSpace space{
      {"optimizer", tune::choice({"adam", "sgd"})},
      {"momentum", tune::when("optimizer", {"sgd"}, tune::uniform(0, 0.99))},
      {"net", tune::SearchSpace{{"layers", tune::randint(1, 5)},
                                {"width", tune::ordinal({16, 32, 64, 128})}}},
      {"warmup", tune::qrandint(0, 1000, 100)},
      {"steps", tune::qrandint(1000, 10000, 100)},
      {"epochs", 20},
      {"decay", tune::sample_from([](const tune::Config& config) {
         return 1.0 / config.get<double>("steps");
       })}};

  space.relate({tune::param("warmup") <= 0.1 * tune::param("steps"),
                tune::Relation("sgd stays shallow", {"optimizer", "net/layers"}, [](const levin::Map& params) {
                  return params.at("optimizer") != levin::Value("sgd") || params.get<int>("net/layers") < 4;
                })});
  auto study = tune::create_study({.sampler = tune::SpaceSampler(space, tune::TPESampler({.seed = 0}), {.seed = 0})});
  for (int i = 0; i < 20; ++i) {
    auto trial = study.ask();
    const tune::Config config = tune::suggest(trial, space);
    EXPECT_LE(config.get<double>("warmup"), 0.1 * config.get<double>("steps"));
    study.tell(trial, config.get<double>("decay"));
  }
}

TEST(TunerDocument, Functions) {
  const tune::SearchSpace space{{"lr", tune::loguniform(1e-4, 1e-1)}};
  std::ostringstream out;
  auto train = tune::trainable([](const tune::Config& config, tune::Session& session) {
    double loss = 1;
    if (const tune::State* state = session.checkpoint()) loss = state->get<double>("loss");
    for (int epoch = 0; epoch < 30; ++epoch) {
      loss *= 1 - config.get<double>("lr");
      session.report({{"loss", loss}}, tune::State{{"loss", loss}});
    }
  });
  tune::Tuner tuner(train, space,
                    {.metric = "loss",
                     .num_samples = 50,
                     .search_alg = tune::TPESampler(),
                     .scheduler = tune::ASHAScheduler({.max_t = 27, .reduction_factor = 3})});
  auto results = tuner.fit();
  out << results.best().config.to_string() << '\n' << results.to_csv();
  EXPECT_EQ(results.size(), 50u);
}

TEST(TunerDocument, Schedule) {
  struct Decay : tune::Trainable {
    void setup(const tune::Config& config) override { lr = config.get<double>("lr"); }
    tune::Metrics step() override { return {{"loss", loss *= 1 - lr}}; }
    tune::State save() const override { return {{"loss", loss}}; }
    void load(const tune::State& state) override { loss = state.get<double>("loss"); }
    double lr = 0, loss = 1;
  };
  const tune::SearchSpace space{{"lr", tune::loguniform(1e-4, 1e-1)}};
  auto pbt = std::make_shared<tune::PopulationBasedTraining>(tune::PopulationBasedTrainingOptions{
      .perturbation_interval = 5, .mutations = {{"lr", tune::loguniform(1e-4, 1e-1)}}});
  tune::Tuner tuner(tune::trainable<Decay>(), space,
                    {.metric = "loss", .num_samples = 16, .scheduler = pbt, .stop = {{"training_iteration", 100}}});
  auto best = tuner.fit().best().number;
  tune::Tuner again(tune::trainable<Decay>(), {},
                    {.metric = "loss",
                     .scheduler = tune::PopulationBasedTrainingReplay(pbt->lineage(best)),
                     .stop = {{"training_iteration", 100}}});
  EXPECT_EQ(again.fit().size(), 1u);
}

}  // namespace
