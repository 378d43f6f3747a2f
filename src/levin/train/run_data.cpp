// The loaders of a run: where they come from, how many of their batches count, and how a batch reaches the device.
#include <levin/train/trainer_impl.h>

#include <levin/core/console.h>
#include <levin/core/error.h>

#include <algorithm>

namespace levin {
namespace {

std::int64_t length_of(const DataLoader& loader) { return loader.has_size() ? loader.size() : kUnknownLength; }

std::int64_t limited(const DataLoader& loader, const Limit& limit, const char* option) {
  const std::int64_t length = length_of(loader);
  if (length == kUnknownLength && limit.kind() == Limit::Kind::fraction && limit.value() != 0 && limit.value() != 1) {
    throw Error({.what = std::string(option) + " asks for a share of a loader that does not know its length",
                 .value = limit.to_string(),
                 .where = "TrainerOptions",
                 .hint = "use count(n), or fraction(1.0) for all"});
  }
  const std::int64_t batches = limit.of(length);
  if (batches == 0 && limit.value() > 0) {
    throw Error({.what = std::string(option) + " keeps no batch",
                 .value = limit.to_string() + " of " + std::to_string(length) + " batches",
                 .where = "TrainerOptions",
                 .hint = "use more data, a smaller batch_size (with drop_last a short batch is dropped), a larger "
                         "limit, or count(0) to leave the loop out"});
  }
  return batches;
}

}  // namespace

// Loaders given to the call go before those of a data module, and those before the module's own.
DataLoader Trainer::Impl::request_loader(LoaderKind kind) {
  if (loaders_given) {
    return kind == LoaderKind::train  ? given_loaders.train
           : kind == LoaderKind::val  ? given_loaders.val
           : kind == LoaderKind::test ? given_loaders.test
                                      : given_loaders.predict;
  }
  const auto ask = [&](auto& source) {
    return kind == LoaderKind::train  ? source.train_dataloader()
           : kind == LoaderKind::val  ? source.val_dataloader()
           : kind == LoaderKind::test ? source.test_dataloader()
                                      : source.predict_dataloader();
  };
  context = kind == LoaderKind::train  ? Hook::train_dataloader
            : kind == LoaderKind::val  ? Hook::val_dataloader
            : kind == LoaderKind::test ? Hook::test_dataloader
                                       : Hook::predict_dataloader;
  DataLoader loader = data ? ask(*data) : ask(*model);
  context = Hook::none;
  return loader;
}

bool Trainer::Impl::reload_due(LoaderKind kind) const {
  const std::int64_t every = options.reload_dataloaders_every_n_epochs;
  const std::int64_t last = kind == LoaderKind::train ? train_loaded_epoch : val_loaded_epoch;
  return every > 0 && !loaders_given && progress.epoch.current.completed - last >= every;
}

void Trainer::Impl::setup_train_loader() {
  const Limit limit = options.overfit_batches.value_or(options.limit_train_batches);
  train_loader = request_loader(LoaderKind::train);
  if (!train_loader.defined()) {
    throw Error({.what = "fit needs a training loader",
                 .value = loaders_given ? "an undefined DataLoader" : "train_dataloader() returned none",
                 .where = {},
                 .hint = loaders_given ? "pass one over a dataset" : "override train_dataloader()"});
  }
  if (options.overfit_batches) train_loader = train_loader.sequential_copy();
  train_loaded_epoch = progress.epoch.current.completed;
  train_length_known = train_loader.has_size();
  num_training_batches =
      limited(train_loader, limit, options.overfit_batches ? "overfit_batches" : "limit_train_batches");

  const ValCheckInterval& interval = options.val_check_interval;
  if (!interval.across_epochs()) {
    const Limit& share = interval.limit();
    if (num_training_batches == kUnknownLength && share.kind() == Limit::Kind::fraction && share.value() != 1) {
      throw Error({.what = "val_check_interval asks for a share of an epoch of unknown length",
                   .value = share.to_string(),
                   .where = "TrainerOptions",
                   .hint = "use count(n) batches, every(...), or fraction(1.0)"});
    }
    val_check_batch = share.kind() == Limit::Kind::count ? static_cast<std::int64_t>(share.value())
                                                         : std::max<std::int64_t>(1, share.of(num_training_batches));
    if (options.check_val_every_n_epoch && val_check_batch > num_training_batches) {
      throw Error({.what = "val_check_interval is larger than the number of training batches",
                   .value = "count(" + std::to_string(val_check_batch) + ") of " + std::to_string(num_training_batches),
                   .where = "TrainerOptions",
                   .hint = "use a smaller count, every(n, Unit::batches) to count across epochs, or fraction(1.0) to "
                           "validate at the end of each epoch"});
    }
  }
}

// A resumed run goes on with the batches that were left.
void Trainer::Impl::position_train_loader() {
  if (train_loader_state) train_loader.load_state(*std::exchange(train_loader_state, std::nullopt));
  if (train_batches_to_skip > 0) {
    console::warning("the checkpoint holds no position of the data: the epoch goes on at batch " +
                     std::to_string(train_batches_to_skip) + " of this run's own order");
    train_loader.begin_epoch(progress.epoch.current.completed);
    Batch skipped;
    while (train_batches_to_skip > 0 && train_loader.next(skipped)) --train_batches_to_skip;
    train_batches_to_skip = 0;
  }
}

void Trainer::Impl::setup_val_loader() {
  const Limit limit = options.overfit_batches.value_or(options.limit_val_batches);
  num_val_batches.clear();
  if (limit.value() == 0) return;
  val_loader = request_loader(LoaderKind::val);
  val_loaded_epoch = progress.epoch.current.completed;
  if (!val_loader.defined()) return;
  if (options.overfit_batches) val_loader = val_loader.sequential_copy();
  num_val_batches = eval_limits(val_loader, limit, "limit_val_batches");
}

// The batches to take of each loader in sequence, or of the one stream.
std::vector<std::int64_t> Trainer::Impl::eval_limits(const DataLoader& loader, const Limit& limit,
                                                     const char* option) const {
  std::vector<std::int64_t> batches;
  if (limit.value() == 0) return batches;
  if (loader.parts().size() > 1 && loader.mode() == CombineMode::sequential) {
    for (const DataLoader& part : loader.parts()) batches.push_back(limited(part, limit, option));
  } else {
    batches.push_back(limited(loader, limit, option));
  }
  return batches;
}

void Trainer::Impl::receive(Batch& batch) {
  if (options.precision.converts()) batch = options.precision.convert_input(std::move(batch));
  if (!transfers_by_hook) {
    if (!device.is_cpu()) batch = batch.to(device, /*non_blocking=*/true);
    return;
  }
  // A data module's hook goes before the module's.
  const auto call = [&](Hook hook, auto&& with) {
    context = hook;
    if (data && data_hooks.has(hook)) {
      with(*data);
    } else {
      with(*model);
    }
  };
  call(Hook::on_before_batch_transfer,
       [&](auto& owner) { batch = owner.on_before_batch_transfer(std::move(batch), dataloader_idx); });
  call(Hook::transfer_batch_to_device,
       [&](auto& owner) { batch = owner.transfer_batch_to_device(std::move(batch), device, dataloader_idx); });
  call(Hook::on_after_batch_transfer,
       [&](auto& owner) { batch = owner.on_after_batch_transfer(std::move(batch), dataloader_idx); });
  context = Hook::none;
}

}  // namespace levin
