// Everything users of Levin include: LibTorch, the loop, the Trainer and the tuner.
#pragma once

#include <torch/torch.h>

#include <levin/core/error.h>
#include <levin/core/interrupt.h>
#include <levin/core/console.h>
#include <levin/core/mode.h>
#include <levin/core/rng.h>
#include <levin/core/value.h>

#include <levin/compile/compile_step.h>
#include <levin/compile/options.h>

#include <levin/data/batch.h>
#include <levin/data/collate.h>
#include <levin/data/combined_loader.h>
#include <levin/data/data_module.h>
#include <levin/data/dataset.h>
#include <levin/data/idx.h>
#include <levin/data/image_folder.h>
#include <levin/data/image_transforms.h>
#include <levin/data/iterable_dataset.h>
#include <levin/data/loader.h>
#include <levin/data/npy.h>
#include <levin/data/random_split.h>
#include <levin/data/sample_rng.h>
#include <levin/data/sampler.h>
#include <levin/data/seed.h>
#include <levin/data/table.h>
#include <levin/data/table_preprocessor.h>
#include <levin/data/tensor_dataset.h>
#include <levin/data/text.h>
#include <levin/data/transforms.h>

#include <levin/nn/activation.h>
#include <levin/nn/init.h>
#include <levin/nn/mlp.h>

#include <levin/optim/adagrad.h>
#include <levin/optim/adam.h>
#include <levin/optim/adam_variants.h>
#include <levin/optim/clip_grad.h>
#include <levin/optim/lr_scheduler.h>
#include <levin/optim/lr_schedules.h>
#include <levin/optim/optimizer.h>
#include <levin/optim/rmsprop.h>
#include <levin/optim/rprop.h>
#include <levin/optim/sgd.h>

#include <levin/train/callbacks/device_stats_monitor.h>
#include <levin/train/callbacks/early_stopping.h>
#include <levin/train/callbacks/finetuning.h>
#include <levin/train/callbacks/gradient_accumulation_scheduler.h>
#include <levin/train/callbacks/lambda_callback.h>
#include <levin/train/callbacks/learning_rate_monitor.h>
#include <levin/train/callbacks/model_checkpoint.h>
#include <levin/train/callbacks/model_summary.h>
#include <levin/train/callbacks/progress_bar.h>
#include <levin/train/callbacks/stochastic_weight_averaging.h>
#include <levin/train/callbacks/throughput_monitor.h>
#include <levin/train/callbacks/timer.h>
#include <levin/train/callbacks/weight_averaging.h>
#include <levin/train/checkpoint.h>
#include <levin/train/fabric.h>
#include <levin/train/loggers/csv_logger.h>
#include <levin/train/loggers/tensorboard_logger.h>
#include <levin/train/lr_find.h>
#include <levin/train/metrics.h>
#include <levin/train/module.h>
#include <levin/train/scale_batch_size.h>
#include <levin/train/trainer.h>

#include <levin/sweep/module_trainable.h>
#include <levin/sweep/pruning_callback.h>
#include <levin/sweep/trial_checkpoint.h>
#include <levin/tune/tune.h>
