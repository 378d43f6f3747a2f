// Define-by-run search (in Optuna's terms): what to search is decided while the trial runs.
#include <levin/levin.h>

#include <iostream>

namespace nn = torch::nn;
namespace tune = levin::tune;

struct Net : levin::Module {
  Net(tune::Trial& trial, int64_t in, int64_t out) {
    net = register_module("net", nn::Sequential());
    auto layers = trial.suggest_int("layers", 1, 3);
    auto activation = trial.suggest_categorical("activation", {"relu", "tanh", "gelu"});
    for (int64_t i = 0; i < layers; ++i) {
      auto width = trial.suggest_int("width_" + std::to_string(i), 8, 128, {.log = true});
      net->push_back(nn::Linear(in, width));
      net->push_back(levin::nn::activation(activation));
      in = width;
    }
    net->push_back(nn::Dropout(trial.suggest_float("dropout", 0.0, 0.5)));
    net->push_back(nn::Linear(in, out));
    lr = trial.suggest_float("lr", 1e-4, 1e-1, {.log = true});
    optimizer = trial.suggest_categorical("optimizer", {"adamw", "sgd"});
    if (optimizer == "sgd") momentum = trial.suggest_float("momentum", 0.0, 0.99);
  }

  torch::Tensor training_step(const levin::Batch& b, int64_t) override {
    return torch::cross_entropy_loss(net->forward(b[0]), b[1]);
  }
  void validation_step(const levin::Batch& b, int64_t) override {
    log("val_loss", torch::cross_entropy_loss(net->forward(b[0]), b[1]));
  }
  levin::Optimizers configure_optimizers() override {
    if (optimizer == "sgd") return levin::optim::SGD(parameters(), {.lr = lr, .momentum = momentum});
    return levin::optim::AdamW(parameters(), {.lr = lr});
  }

  nn::Sequential net{nullptr};
  std::string optimizer;
  double lr = 0, momentum = 0;
};

int main(int argc, char** argv) {
  auto table = levin::read_csv(argc > 1 ? argv[1] : "digits.csv");
  levin::TensorDataset all({table.drop("target").to_tensor() / 16, table.column("target").to(torch::kLong)});
  auto [train, val] = levin::random_split(all, {0.8, 0.2}, {.seed = 0});

  auto study = tune::create_study({.storage = "sqlite:///digits.db",
                                   .sampler = tune::TPESampler({.seed = 0}),
                                   .pruner = tune::SuccessiveHalvingPruner({.min_resource = 1, .reduction_factor = 3}),
                                   .study_name = "digits",
                                   .direction = tune::Direction::minimize,
                                   .load_if_exists = true});
  study.optimize(
      [&](tune::Trial& trial) {
        levin::seed_everything(trial.number());
        Net net(trial, 64, 10);
        levin::Trainer trainer({.logger = false,
                                .callbacks = {tune::PruningCallback(trial, "val_loss")},
                                .max_epochs = 15,
                                .enable_checkpointing = false,
                                .enable_progress_bar = false});
        trainer.fit(net, levin::DataLoader(train, {.batch_size = 64, .shuffle = true}),
                    levin::DataLoader(val, {.batch_size = 512}));
        return trainer.metric("val_loss");
      },
      {.n_trials = 40, .n_jobs = 2, .show_progress_bar = true});

  std::cout << "best " << study.best_value() << " in trial " << study.best_trial().number << " of "
            << study.trials().size() << '\n';
  for (const auto& [name, value] : study.best_params()) std::cout << "  " << name << " = " << value << '\n';
}
