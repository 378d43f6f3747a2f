// Every loss of torch::nn with its reductions and options, compiled against eager.
#include "compile/agreement.h"

namespace compile_test {
namespace {

using Cases = std::vector<Case>;
using Targets = std::function<std::vector<Tensor>(std::int64_t rows)>;
constexpr std::int64_t kClasses = 5;

Targets like(std::vector<std::int64_t> shape) {
  return [shape](std::int64_t rows) { return std::vector<Tensor>{torch::randn(with_rows(rows, shape))}; };
}
Targets between_0_and_1(std::vector<std::int64_t> shape) {
  return [shape](std::int64_t rows) { return std::vector<Tensor>{torch::rand(with_rows(rows, shape))}; };
}
Targets classes(std::vector<std::int64_t> shape = {}) {
  return [shape](std::int64_t rows) {
    return std::vector<Tensor>{torch::randint(kClasses, with_rows(rows, shape), torch::kLong)};
  };
}
Targets signs(std::vector<std::int64_t> shape) {
  return [shape](std::int64_t rows) {
    return std::vector<Tensor>{(torch::randint(2, with_rows(rows, shape)) * 2 - 1).to(torch::get_default_dtype())};
  };
}
Tensor class_weights() { return torch::arange(1, kClasses + 1).to(torch::get_default_dtype()) / 3; }

// `make(options)` with each reduction; the module is made once, as users do, so that its weights are its buffers.
template <class Loss, class Options>
void add(
    Cases& all, const std::string& name, std::vector<std::int64_t> shape, Options (*options)(), Targets targets,
    Tensor (*prepare)(const Tensor&) = [](const Tensor& x) { return x; }, std::string eager_because = {}) {
  const auto with = [&](const std::string& reduction, auto value) {
    all.push_back({.name = name + " " + reduction,
                   .make =
                       [=] {
                         auto module = std::make_shared<nn::Module>("Probe");
                         Options chosen = options();
                         chosen.reduction(value);
                         Loss loss(chosen);
                         module->register_module("loss", loss.ptr());
                         const Tensor scale = module->register_parameter("scale", torch::rand(shape) + 0.5);
                         return Subject{module, [=](const levin::Batch& batch) mutable {
                                          const Tensor out = loss->forward(prepare(batch[0] * scale), batch[1]);
                                          return out.numel() == 1 ? out : score(out);
                                        }};
                       },
                   .batch =
                       [=](std::int64_t rows) {
                         std::vector<Tensor> batch{torch::randn(with_rows(rows, shape))};
                         for (Tensor& target : targets(rows)) batch.push_back(std::move(target));
                         return batch;
                       },
                   .eager_because = reduction == "mean" ? eager_because : ""});
  };
  with("mean", torch::kMean);
  with("sum", torch::kSum);
  with("none", torch::kNone);
}

Tensor sigmoid(const Tensor& x) { return x.sigmoid(); }
Tensor log_softmax(const Tensor& x) { return x.log_softmax(1); }

void add_regression(Cases& all) {
  add<nn::MSELoss>(
      all, "MSELoss", {3}, +[] { return nn::MSELossOptions(); }, like({3}));
  add<nn::MSELoss>(
      all, "MSELoss one column", {1}, +[] { return nn::MSELossOptions(); }, like({1}));
  add<nn::L1Loss>(
      all, "L1Loss", {3}, +[] { return nn::L1LossOptions(); }, like({3}));
  add<nn::SmoothL1Loss>(
      all, "SmoothL1Loss", {3}, +[] { return nn::SmoothL1LossOptions().beta(0.4); }, like({3}));
  add<nn::HuberLoss>(
      all, "HuberLoss", {3}, +[] { return nn::HuberLossOptions().delta(0.7); }, like({3}));
  add<nn::PoissonNLLLoss>(
      all, "PoissonNLLLoss", {3}, +[] { return nn::PoissonNLLLossOptions(); }, between_0_and_1({3}));
  add<nn::PoissonNLLLoss>(
      all, "PoissonNLLLoss full", {3}, +[] { return nn::PoissonNLLLossOptions().log_input(false).full(true); },
      [](std::int64_t rows) {
        return std::vector<Tensor>{torch::rand({rows, 3}) * 4};
      },
      sigmoid);
}

void add_classification(Cases& all) {
  add<nn::CrossEntropyLoss>(
      all, "CrossEntropyLoss", {kClasses}, +[] { return nn::CrossEntropyLossOptions(); }, classes());
  add<nn::CrossEntropyLoss>(
      all, "CrossEntropyLoss weights", {kClasses},
      +[] { return nn::CrossEntropyLossOptions().weight(class_weights()); }, classes());
  add<nn::CrossEntropyLoss>(
      all, "CrossEntropyLoss smoothed", {kClasses}, +[] { return nn::CrossEntropyLossOptions().label_smoothing(0.1); },
      classes());
  add<nn::CrossEntropyLoss>(
      all, "CrossEntropyLoss weights smoothed ignoring", {kClasses},
      +[] { return nn::CrossEntropyLossOptions().weight(class_weights()).label_smoothing(0.2).ignore_index(2); },
      classes(),
      // The mean is over the weights of a masked_select.
      [](const Tensor& x) { return x; }, "depends on the data");
  add<nn::CrossEntropyLoss>(
      all, "CrossEntropyLoss ignoring -100", {kClasses}, +[] { return nn::CrossEntropyLossOptions(); },
      [](std::int64_t rows) {
        Tensor target = torch::randint(kClasses, {rows}, torch::kLong);
        target[0] = -100;
        return std::vector<Tensor>{target};
      });
  add<nn::CrossEntropyLoss>(
      all, "CrossEntropyLoss of images", {kClasses, 3, 2}, +[] { return nn::CrossEntropyLossOptions(); },
      classes({3, 2}));
  add<nn::CrossEntropyLoss>(
      all, "CrossEntropyLoss of probabilities", {kClasses},
      +[] { return nn::CrossEntropyLossOptions().label_smoothing(0.1); },
      [](std::int64_t rows) {
        return std::vector<Tensor>{torch::randn({rows, kClasses}).softmax(1)};
      });
  add<nn::NLLLoss>(
      all, "NLLLoss", {kClasses}, +[] { return nn::NLLLossOptions(); }, classes(), log_softmax);
  add<nn::NLLLoss>(
      all, "NLLLoss weights ignoring", {kClasses},
      +[] { return nn::NLLLossOptions().weight(class_weights()).ignore_index(1); }, classes(), log_softmax);
  add<nn::NLLLoss>(
      all, "NLLLoss of images", {kClasses, 3, 2}, +[] { return nn::NLLLossOptions(); }, classes({3, 2}), log_softmax);
  add<nn::BCELoss>(
      all, "BCELoss", {3}, +[] { return nn::BCELossOptions(); }, between_0_and_1({3}), sigmoid);
  add<nn::BCELoss>(
      all, "BCELoss weights", {3}, +[] { return nn::BCELossOptions().weight(torch::full({3}, 0.7)); },
      between_0_and_1({3}), sigmoid);
  add<nn::BCEWithLogitsLoss>(
      all, "BCEWithLogitsLoss", {3}, +[] { return nn::BCEWithLogitsLossOptions(); }, between_0_and_1({3}));
  add<nn::BCEWithLogitsLoss>(
      all, "BCEWithLogitsLoss weights", {3},
      +[] { return nn::BCEWithLogitsLossOptions().weight(torch::full({3}, 0.7)).pos_weight(torch::full({3}, 1.6)); },
      between_0_and_1({3}));
  add<nn::KLDivLoss>(
      all, "KLDivLoss", {kClasses}, +[] { return nn::KLDivLossOptions(); },
      [](std::int64_t rows) {
        return std::vector<Tensor>{torch::randn({rows, kClasses}).softmax(1)};
      },
      log_softmax);
  add<nn::KLDivLoss>(
      all, "KLDivLoss log target", {kClasses}, +[] { return nn::KLDivLossOptions().log_target(true); },
      [](std::int64_t rows) {
        return std::vector<Tensor>{torch::randn({rows, kClasses}).log_softmax(1)};
      },
      log_softmax);
  add<nn::SoftMarginLoss>(
      all, "SoftMarginLoss", {3}, +[] { return nn::SoftMarginLossOptions(); }, signs({3}));
  add<nn::HingeEmbeddingLoss>(
      all, "HingeEmbeddingLoss", {3}, +[] { return nn::HingeEmbeddingLossOptions().margin(0.8); }, signs({3}));
  add<nn::MultiMarginLoss>(
      all, "MultiMarginLoss", {kClasses}, +[] { return nn::MultiMarginLossOptions().margin(0.6); }, classes());
  add<nn::MultiLabelMarginLoss>(
      all, "MultiLabelMarginLoss", {kClasses}, +[] { return nn::MultiLabelMarginLossOptions(); },
      [](std::int64_t rows) {
        Tensor target = torch::full({rows, kClasses}, -1, torch::kLong);
        target.select(1, 0).copy_(torch::randint(kClasses, {rows}, torch::kLong));
        return std::vector<Tensor>{target};
      });
  add<nn::MultiLabelSoftMarginLoss>(
      all, "MultiLabelSoftMarginLoss", {kClasses}, +[] { return nn::MultiLabelSoftMarginLossOptions(); },
      [](std::int64_t rows) {
        return std::vector<Tensor>{torch::randint(2, {rows, kClasses}).to(torch::get_default_dtype())};
      });
}

void add_of_several(Cases& all) {
  const auto randn = [](std::int64_t rows) { return torch::randn({rows, 4}); };
  all.push_back(function(
      "CosineEmbeddingLoss", {4},
      [](const Tensor& x, const levin::Batch& batch) {
        return nn::CosineEmbeddingLoss(nn::CosineEmbeddingLossOptions().margin(0.1))->forward(x, batch[1], batch[2]);
      },
      [=](std::int64_t rows) {
        return std::vector<Tensor>{randn(rows), torch::randint(2, {rows}) * 2 - 1};
      }));
  all.push_back(function(
      "MarginRankingLoss", {4},
      [](const Tensor& x, const levin::Batch& batch) {
        return nn::MarginRankingLoss(nn::MarginRankingLossOptions().margin(0.2))->forward(x, batch[1], batch[2]);
      },
      [=](std::int64_t rows) {
        return std::vector<Tensor>{randn(rows), torch::randint(2, {rows, 4}) * 2 - 1};
      }));
  all.push_back(function(
      "TripletMarginLoss", {4},
      [](const Tensor& x, const levin::Batch& batch) {
        return nn::TripletMarginLoss(nn::TripletMarginLossOptions().swap(true))->forward(x, batch[1], batch[2]);
      },
      [=](std::int64_t rows) {
        return std::vector<Tensor>{randn(rows), randn(rows)};
      }));
  all.push_back(function(
      "TripletMarginWithDistanceLoss", {4},
      [](const Tensor& x, const levin::Batch& batch) {
        return nn::TripletMarginWithDistanceLoss()->forward(x, batch[1], batch[2]);
      },
      [=](std::int64_t rows) {
        return std::vector<Tensor>{randn(rows), randn(rows)};
      }));
  // Lengths give shapes.
  all.push_back(function(
      "CTCLoss", {8, kClasses},
      [](const Tensor& x, const levin::Batch& batch) {
        return nn::CTCLoss()->forward(x.log_softmax(-1).transpose(0, 1), batch[1], batch[2], batch[3]);
      },
      [](std::int64_t rows) {
        return std::vector<Tensor>{torch::randint(1, kClasses, {rows, 3}, torch::kLong),
                                   torch::full({rows}, 8, torch::kLong), torch::randint(1, 4, {rows}, torch::kLong)};
      },
      "depends on the data"));
  // It looks for the rows of each cluster.
  all.push_back(
      {.name = "AdaptiveLogSoftmaxWithLoss",
       .make =
           [] {
             nn::AdaptiveLogSoftmaxWithLoss module(nn::AdaptiveLogSoftmaxWithLossOptions(6, 12, {3, 7}).div_value(2));
             return Subject{module.ptr(), [module](const levin::Batch& batch) mutable {
                              return -module->forward(batch[0], batch[1]).output.mean();
                            }};
           },
       .batch =
           [](std::int64_t rows) {
             return std::vector<Tensor>{torch::randn({rows, 6}), torch::randint(12, {rows}, torch::kLong)};
           },
       .eager_because = "depends on the data"});
}

Cases losses() {
  Cases all;
  add_regression(all);
  add_classification(all);
  add_of_several(all);
  return all;
}

class CompiledLosses : public testing::TestWithParam<std::tuple<Case, Mode>> {};

TEST_P(CompiledLosses, AgreeWithEager) { expect_agreement(std::get<0>(GetParam()), std::get<1>(GetParam())); }

INSTANTIATE_TEST_SUITE_P(All, CompiledLosses,
                         testing::Combine(testing::ValuesIn(losses()),
                                          testing::Values(Mode::fused, Mode::exact, Mode::double_)),
                         [](const auto& row) {
                           return test_name(std::get<0>(row.param).name + " " + name_of(std::get<1>(row.param)));
                         });

// A class that is out of range is an error in eager; a program must not read past its memory instead.
TEST(CompiledLoss, RefusesTargetsOutOfRange) {
  levin::seed_everything(1);
  nn::Linear model(4, 3);
  levin::optim::SGD optimizer(model->parameters(), {.lr = 0.1});
  auto step = levin::compile_step(model, optimizer, [&](const levin::Batch& batch) {
    return torch::cross_entropy_loss(model(batch[0]), batch[1]);
  });
  const Tensor x = torch::randn({3, 4}), good = torch::tensor({0, 1, 2}), bad = torch::tensor({0, 3, 2});
  step({x, good});
  ASSERT_TRUE(step.compiled()) << step.explain();
  const Tensor before = model->weight.detach().clone();
  for (const Tensor& target : {bad, torch::tensor({0, -1, 2})}) {
    try {
      step({x, target});
      ADD_FAILURE() << "a class out of range was taken";
    } catch (const std::exception& error) {
      EXPECT_NE(std::string(error.what()).find("out of bounds"), std::string::npos) << error.what();
    }
    EXPECT_TRUE(torch::equal(before, model->weight)) << "a step that failed has changed the parameters";
  }
  step({x, good});
  EXPECT_FALSE(torch::equal(before, model->weight));
}

TEST(CompiledLoss, RefusesIdsOutOfRange) {
  levin::seed_everything(1);
  nn::Embedding table(5, 3);
  levin::optim::SGD optimizer(table->parameters(), {.lr = 0.1});
  auto step =
      levin::compile_step(table, optimizer, [&](const levin::Batch& batch) { return table(batch[0]).square().sum(); });
  step({torch::tensor({0, 4, 2})});
  ASSERT_TRUE(step.compiled()) << step.explain();
  const Tensor before = table->weight.detach().clone();
  for (const Tensor& ids : {torch::tensor({0, 5, 2}), torch::tensor({0, -1, 2})}) {
    EXPECT_ANY_THROW(step({ids}));
    EXPECT_TRUE(torch::equal(before, table->weight)) << "a step that failed has changed the parameters";
  }
}

}  // namespace
}  // namespace compile_test
