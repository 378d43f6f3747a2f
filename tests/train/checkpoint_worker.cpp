// A training process for tests that look at it from outside: killed at any moment, or continued by Lightning.
//
//   checkpoint_worker train FOLDER WORKERS  resumes from "last" in FOLDER, writes FOLDER/weights.pt when it is done
//   checkpoint_worker overwrite FILE        writes FILE again and again, each time with another number
//   checkpoint_worker check FILE            loads FILE and says the number; fails when it is not whole
//   checkpoint_worker fit OPTIMIZER OUT [--resume FILE] [--save FILE STEP]
#include "train/interop_net.h"

#include <levin/core/json.h>
#include <levin/train/checkpoint.h>
#include <levin/train/checkpoint_io/torch_file.h>

#include <fstream>
#include <iostream>

namespace {

using namespace levin;

// Everything that could go wrong: dropout, batch statistics, shuffling, accumulation, momentum, a schedule by steps.
struct HardNet : Module {
  HardNet() {
    net = register_module("net",
                          torch::nn::Sequential(torch::nn::Linear(3, 16), torch::nn::BatchNorm1d(16), torch::nn::ReLU(),
                                                torch::nn::Dropout(0.3), torch::nn::Linear(16, 1)));
  }
  torch::Tensor training_step(const Batch& batch, std::int64_t) override {
    auto loss = torch::mse_loss(net->forward(batch[0]), batch[1]);
    log("train_loss", loss, {.on_step = true, .on_epoch = true});
    return loss;
  }
  void validation_step(const Batch& batch, std::int64_t) override {
    log("val_loss", torch::mse_loss(net->forward(batch[0]), batch[1]));
  }
  Optimizers configure_optimizers() override {
    optim::AdamW adamw(parameters(), {.lr = 0.02, .weight_decay = 0.1});
    return {adamw, {.scheduler = optim::StepLR(adamw, {.step_size = 7, .gamma = 0.9}), .interval = Interval::step}};
  }
  torch::nn::Sequential net{nullptr};
};

// Says each batch that is done, so that the test can kill after any of them, however slow the machine.
struct AnnouncerImpl : CallbackImpl {
  void on_train_batch_start(Trainer& trainer, Module&, const Batch&, std::int64_t) override {
    std::cout << trainer.total_batches() << std::endl;
  }
};

void train(const std::string& folder, std::int64_t workers) {
  seed_everything(3);
  torch::set_num_threads(1);
  auto x = torch::arange(1200, torch::kDouble).sin().reshape({400, 3}).to(torch::kFloat);
  const TensorDataset data({x, x.sum(1, true)});
  HardNet net;
  ModelCheckpoint latest({.dirpath = folder + "/checkpoints",
                          .save_last = true,
                          .save_top_k = 0,
                          .every_n_train_steps = 3,
                          .async_save = true});
  Trainer trainer({.logger = CSVLogger({.save_dir = folder, .name = "logs", .flush_logs_every_n_steps = 1}),
                   .callbacks = {CallbackHolder<AnnouncerImpl>(), latest},
                   .max_epochs = 12,
                   .log_every_n_steps = 1,
                   .enable_progress_bar = false,
                   .accumulate_grad_batches = 2});
  std::cout << "begins" << std::endl;
  trainer.fit(net, DataLoader(data, {.batch_size = 8, .shuffle = true, .num_workers = workers, .seed = 5}),
              DataLoader(data, {.batch_size = 100}), {.ckpt_path = "last"});
  PickleDict end = state_dict(net);
  end["rng"] = torch::globalContext().defaultGenerator(torch::kCPU).get_state();
  save_torch_file(folder + "/weights.pt", end);
}

constexpr std::int64_t kNumbers = 1 << 18;

[[noreturn]] void overwrite(const std::string& path) {
  for (std::int64_t number = 0;; ++number) {
    save_torch_file(path, PickleDict{{"number", number}, {"data", torch::full({kNumbers}, number, torch::kLong)}});
    if (number == 0) std::cout << "begins" << std::endl;
  }
}

void check(const std::string& path) {
  const auto content = load_torch_file(path);
  const auto number = content.as_dict().at("number").as_int();
  const auto& data = content.as_dict().at("data").as_tensor();
  if (data.numel() != kNumbers || !data.eq(number).all().item<bool>()) throw Error("the file mixes states");
  std::cout << number << std::endl;
}

// Saves at a step, in the middle of an epoch or, after its last batch, at its end.
struct SaverImpl : CallbackImpl {
  SaverImpl(std::string file, std::int64_t at_step) : path(std::move(file)), step(at_step) {}
  void on_train_batch_end(Trainer& trainer, Module&, const Batch&, std::int64_t) override {
    if (trainer.global_step() == step && step % 5 != 0) trainer.save_checkpoint(path);
  }
  void on_train_epoch_end(Trainer& trainer, Module&) override {
    if (trainer.global_step() == step) trainer.save_checkpoint(path);
  }
  bool is_checkpoint() const override { return true; }
  std::string path;
  std::int64_t step;
};

void fit(const std::vector<std::string>& arguments) {
  std::string resume, save;
  std::int64_t step = -1;
  for (std::size_t i = 2; i < arguments.size(); ++i) {
    if (arguments[i] == "--resume") resume = arguments.at(++i);
    if (arguments[i] == "--save") {
      save = arguments.at(++i);
      step = std::stoll(arguments.at(++i));
    }
  }
  testing::InteropNet net({{"optimizer", arguments.at(0)}, {"width", 4}});
  Trainer trainer({.logger = false,
                   .callbacks = {CallbackHolder<SaverImpl>(save, step)},
                   .max_epochs = testing::kInteropEpochs,
                   .enable_progress_bar = false});
  trainer.fit(net, testing::interop_data(), {.ckpt_path = resume});
  Map weights;
  for (const auto& [name, value] : state_dict(net)) {
    const auto numbers = value.as_tensor().to(torch::kDouble).flatten().contiguous();
    weights[name.as_string()] = List(numbers.data_ptr<double>(), numbers.data_ptr<double>() + numbers.numel());
  }
  std::ofstream(arguments.at(1)) << to_json(Map{{"weights", weights},
                                                {"lr", trainer.optimizer().param_groups()[0].lr},
                                                {"global_step", trainer.global_step()},
                                                {"epoch", trainer.current_epoch()},
                                                {"batches", trainer.total_batches()}});
}

}  // namespace

int main(int argc, char** argv) {
  const std::vector<std::string> arguments(argv + 1, argv + argc);
  try {
    const std::string& what = arguments.at(0);
    if (what == "train") train(arguments.at(1), std::stoll(arguments.at(2)));
    if (what == "overwrite") overwrite(arguments.at(1));
    if (what == "check") check(arguments.at(1));
    if (what == "fit") fit({arguments.begin() + 1, arguments.end()});
    return 0;
  } catch (const std::exception& error) {
    std::cerr << error.what() << '\n';
    return 1;
  }
}
