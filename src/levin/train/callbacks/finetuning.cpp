#include <levin/train/callbacks/finetuning.h>

#include <levin/core/console.h>
#include <levin/core/error.h>
#include <levin/train/trainer.h>

#include <torch/nn/modules/batchnorm.h>

#include <algorithm>

namespace levin {
namespace {

bool is_batch_norm(const torch::nn::Module& module) {
  return dynamic_cast<const torch::nn::BatchNorm1dImpl*>(&module) != nullptr ||
         dynamic_cast<const torch::nn::BatchNorm2dImpl*>(&module) != nullptr ||
         dynamic_cast<const torch::nn::BatchNorm3dImpl*>(&module) != nullptr;
}

template <class BatchNorm>
void track(torch::nn::Module& module, bool statistics) {
  if (auto* layer = dynamic_cast<BatchNorm*>(&module)) layer->options.track_running_stats(statistics);
}

// A frozen batch normalisation normalises with the statistics it has; a trained one goes on gathering them.
void set_trainable(torch::nn::Module& module, bool trainable) {
  track<torch::nn::BatchNorm1dImpl>(module, trainable);
  track<torch::nn::BatchNorm2dImpl>(module, trainable);
  track<torch::nn::BatchNorm3dImpl>(module, trainable);
  for (at::Tensor& parameter : module.parameters(/*recurse=*/false)) parameter.set_requires_grad(trainable);
}

/** The module and all below it; unlike `modules()` for a module on the stack, too. */
template <class Visit>
void for_each_module(torch::nn::Module& root, const Visit& visit) {
  visit(root);
  for (const auto& module : root.modules(/*include_self=*/false)) visit(*module);
}

bool same(const at::Tensor& a, const at::Tensor& b) { return a.is_same(b); }

}  // namespace

void BaseFinetuningImpl::freeze(torch::nn::Module& part, bool train_bn) {
  for_each_module(part, [&](torch::nn::Module& module) { set_trainable(module, train_bn && is_batch_norm(module)); });
}

void BaseFinetuningImpl::make_trainable(torch::nn::Module& part) {
  for_each_module(part, [](torch::nn::Module& module) { set_trainable(module, true); });
}

void BaseFinetuningImpl::unfreeze_and_add_param_group(torch::nn::Module& part, optim::Optimizer& optimizer,
                                                      std::optional<double> lr, double initial_denom_lr,
                                                      bool train_bn) {
  make_trainable(part);
  const auto known = optimizer.parameters();
  std::vector<at::Tensor> added;
  for_each_module(part, [&](torch::nn::Module& module) {
    if (!train_bn && is_batch_norm(module)) return;
    for (const at::Tensor& parameter : module.parameters(/*recurse=*/false)) {
      const auto is_it = [&](const at::Tensor& other) { return same(parameter, other); };
      if (std::ranges::any_of(known, is_it)) {
        console::warn_once("finetuning: the optimizer has parameters of the unfrozen part already, which stay in their "
                           "group; give it only those that require grad in configure_optimizers");
      } else if (std::ranges::none_of(added, is_it)) {
        added.push_back(parameter);
      }
    }
  });
  if (added.empty()) return;
  const double rate = lr ? *lr : optimizer.param_groups()[0].lr / initial_denom_lr;
  optimizer.add_param_group({.params = std::move(added), .lr = rate});
}

void BaseFinetuningImpl::setup(Trainer&, Module& module, Stage stage) {
  if (stage != Stage::fit) return;
  added_.clear();
  freeze_before_training(module);
}

// The groups of a resumed run, before the optimizers' states are restored.
void BaseFinetuningImpl::on_fit_start(Trainer& trainer, Module& module) {
  const auto parameters = module.named_parameters();
  for (const Added& group : added_) {
    std::vector<at::Tensor> tensors;
    for (const std::string& name : group.parameters) {
      const at::Tensor* parameter = parameters.find(name);
      if (!parameter) {
        throw Error({.what = "the checkpoint's finetuning had a parameter that the module has not",
                     .value = name,
                     .where = {},
                     .hint = "resume with the same model"});
      }
      at::Tensor trained = *parameter;
      tensors.push_back(trained.set_requires_grad(true));
    }
    trainer.optimizer(group.optimizer).add_param_group({.params = std::move(tensors), .lr = group.lr});
  }
}

void BaseFinetuningImpl::on_train_epoch_start(Trainer& trainer, Module& module) {
  for (std::int64_t i = 0; i < trainer.num_optimizers(); ++i) {
    optim::Optimizer& optimizer = trainer.optimizer(i);
    const std::size_t before = optimizer.param_groups().size();
    finetune_function(module, trainer.current_epoch(), optimizer);
    const auto groups = optimizer.param_groups();
    for (std::size_t g = before; g < groups.size(); ++g) {
      Added added{.optimizer = i, .parameters = {}, .lr = groups[g].lr};
      for (const auto& named : module.named_parameters()) {
        const auto is_it = [&](const at::Tensor& other) { return same(named.value(), other); };
        if (std::ranges::any_of(groups[g].params(), is_it)) added.parameters.push_back(named.key());
      }
      added_.push_back(std::move(added));
    }
  }
}

Map BaseFinetuningImpl::state_dict() const {
  List groups;
  for (const Added& group : added_) {
    groups.push_back(Map{{"optimizer", group.optimizer},
                         {"parameters", List(group.parameters.begin(), group.parameters.end())},
                         {"lr", group.lr}});
  }
  return {{"added_groups", groups}};
}

void BaseFinetuningImpl::load_state_dict(const Map& state) {
  added_.clear();
  for (const Value& saved : state.at("added_groups").as_list()) {
    const Map& group = saved.as_map();
    Added added{.optimizer = group.get<std::int64_t>("optimizer"), .parameters = {}, .lr = group.get<double>("lr")};
    for (const Value& name : group.at("parameters").as_list()) added.parameters.push_back(name.as_string());
    added_.push_back(std::move(added));
  }
}

BackboneFinetuningImpl::BackboneFinetuningImpl(BackboneFinetuningOptions options) : options_(std::move(options)) {
  const auto require = [](bool ok, const char* what, const std::string& value) {
    if (!ok) throw Error({.what = what, .value = value, .where = "BackboneFinetuning", .hint = {}});
  };
  require(options_.unfreeze_backbone_at_epoch >= 0, "unfreeze_backbone_at_epoch counts from 0",
          std::to_string(options_.unfreeze_backbone_at_epoch));
  require(options_.backbone_initial_ratio_lr > 0, "backbone_initial_ratio_lr must be positive",
          format_double(options_.backbone_initial_ratio_lr));
  require(static_cast<bool>(options_.lambda_func), "lambda_func must be a function", "none");
}

torch::nn::Module& BackboneFinetuningImpl::backbone(Module& module) const {
  std::vector<std::string> names;
  for (const auto& child : module.named_children()) {
    if (child.key() == options_.backbone) return *child.value();
    names.push_back(child.key());
  }
  throw Error({.what = "BackboneFinetuning: the module has no submodule of that name",
               .value = "\"" + options_.backbone + "\"",
               .where = {},
               .hint = names.empty() ? "register it with register_module" : "it has " + join_words(names)});
}

void BackboneFinetuningImpl::freeze_before_training(Module& module) { freeze(backbone(module), options_.train_bn); }

void BackboneFinetuningImpl::finetune_function(Module& module, std::int64_t epoch, optim::Optimizer& optimizer) {
  const std::int64_t begins = options_.unfreeze_backbone_at_epoch;
  if (epoch < begins) return;
  const double head = optimizer.param_groups()[0].lr;
  if (epoch == begins || !previous_lr_) {
    previous_lr_ = options_.backbone_initial_lr.value_or(head * options_.backbone_initial_ratio_lr);
    unfreeze_and_add_param_group(backbone(module), optimizer, previous_lr_, 1, options_.train_bn);
  } else {
    double lr = options_.lambda_func(epoch + 1) * *previous_lr_;
    if (options_.should_align && lr > head) lr = head;
    const auto groups = optimizer.param_groups();
    groups[groups.size() - 1].lr = lr;
    previous_lr_ = lr;
  }
  if (options_.verbose) {
    console::info("epoch " + std::to_string(epoch) + ": learning rate " + format_double(head) + ", backbone " +
                  format_double(*previous_lr_));
  }
}

Map BackboneFinetuningImpl::state_dict() const {
  Map state = BaseFinetuningImpl::state_dict();
  state["previous_backbone_lr"] = previous_lr_ ? Value(*previous_lr_) : Value();
  return state;
}

void BackboneFinetuningImpl::load_state_dict(const Map& state) {
  BaseFinetuningImpl::load_state_dict(state);
  const Value& lr = state.at("previous_backbone_lr");
  previous_lr_ = lr.is_null() ? std::optional<double>() : lr.as_double();
}

}  // namespace levin
