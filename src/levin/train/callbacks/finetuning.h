// BaseFinetuning and BackboneFinetuning: parts of a model that begin to train later than the rest.
#pragma once

#include <levin/optim/optimizer.h>
#include <levin/train/callbacks/callback.h>

#include <ATen/core/Tensor.h>

#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace torch::nn {
class Module;
}

namespace levin {

/**
 * Base of callbacks that freeze parts of a model before training and unfreeze them at chosen epochs (Lightning's
 * BaseFinetuning): derive, override the two functions, and let configure_optimizers take the parameters that require
 * grad. The parameter groups that were added are part of checkpoints and made again when a fit resumes. Schedules leave
 * groups alone that were added after they were made.
 */
class LEVIN_API BaseFinetuningImpl : public CallbackImpl {
 public:
  /** Freezes what is to be trained later; before configure_optimizers. */
  virtual void freeze_before_training(Module& module) = 0;
  /** At the start of each epoch (from 0), for each optimizer. */
  virtual void finetune_function(Module& module, std::int64_t epoch, optim::Optimizer& optimizer) = 0;

  void setup(Trainer& trainer, Module& module, Stage stage) override;
  void on_fit_start(Trainer& trainer, Module& module) override;
  void on_train_epoch_start(Trainer& trainer, Module& module) override;
  Map state_dict() const override;
  void load_state_dict(const Map& state) override;

  /** No parameter of the part requires grad from here on, but those of batch normalisations with `train_bn`. */
  static void freeze(torch::nn::Module& part, bool train_bn = true);
  /** All parameters of the part require grad. */
  static void make_trainable(torch::nn::Module& part);
  /**
   * Makes the part trainable and adds those of its parameters that the optimizer does not have as a group; without `lr`
   * at the learning rate of the first group divided by `initial_denom_lr`.
   */
  static void unfreeze_and_add_param_group(torch::nn::Module& part, optim::Optimizer& optimizer,
                                           std::optional<double> lr = {}, double initial_denom_lr = 10,
                                           bool train_bn = true);

 private:
  struct Added {
    std::int64_t optimizer;
    std::vector<std::string> parameters;
    double lr;
  };
  std::vector<Added> added_;
};

struct BackboneFinetuningOptions {
  std::int64_t unfreeze_backbone_at_epoch = 10;
  /** Factor of the backbone's learning rate at the start of each epoch (from 0) after that. */
  std::function<double(std::int64_t epoch)> lambda_func = [](std::int64_t) { return 2.0; };
  double backbone_initial_ratio_lr = 0.1;            ///< its first learning rate as a share of the first group's
  std::optional<double> backbone_initial_lr = {};    ///< or that learning rate itself
  bool should_align = true;                          ///< never above the first group's learning rate
  bool train_bn = true;                              ///< train batch normalisations of the backbone from the start
  bool verbose = false;                              ///< say the learning rates of each epoch
  std::string backbone = "backbone";                 ///< the submodule's name
};

/** Trains the head first and the backbone later, at a rising learning rate (Lightning's BackboneFinetuning). */
class LEVIN_API BackboneFinetuningImpl : public BaseFinetuningImpl {
 public:
  explicit BackboneFinetuningImpl(BackboneFinetuningOptions options = {});

  void freeze_before_training(Module& module) override;
  void finetune_function(Module& module, std::int64_t epoch, optim::Optimizer& optimizer) override;
  std::string state_key() const override { return "levin.BackboneFinetuning"; }
  Map state_dict() const override;
  void load_state_dict(const Map& state) override;

 private:
  torch::nn::Module& backbone(Module& module) const;

  BackboneFinetuningOptions options_;
  std::optional<double> previous_lr_;
};

/** See BackboneFinetuningImpl. */
class BackboneFinetuning : public CallbackHolder<BackboneFinetuningImpl> {
 public:
  explicit BackboneFinetuning(BackboneFinetuningOptions options = {})
      : CallbackHolder(std::make_shared<BackboneFinetuningImpl>(std::move(options))) {}
};

}  // namespace levin
