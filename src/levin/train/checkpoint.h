// Checkpoints: a model's weights and what belongs to them, in and out of PyTorch, Lightning and safetensors files.
#pragma once

#include <levin/core/error.h>
#include <levin/core/export.h>
#include <levin/core/value.h>
#include <levin/data/data_module.h>
#include <levin/train/checkpoint_io/pickle_value.h>

#include <torch/nn/module.h>

#include <concepts>
#include <functional>
#include <memory>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

namespace levin {

/** How weights find their place in a module. */
struct LoadOptions {
  bool strict = true;  ///< missing, unexpected and mis-shaped names are an error; else they are left alone and reported
  /**
   * Prefixes of names in the file, and what stands for them in the module; the first that fits counts. For instance
   * {{"model.", ""}} or {{"module.", ""}, {"encoder.", "backbone."}}.
   */
  std::vector<std::pair<std::string, std::string>> rename = {};
  /** Names (after renaming) with * and ? as wildcards that are neither loaded nor reported, for instance "head.*". */
  std::vector<std::string> ignore = {};
  bool cast = false;       ///< convert weights of another dtype to the module's; else they are an error
  std::string where = {};  ///< the source, for messages
};

/** What became of the names. */
struct LoadReport {
  struct Mismatch {
    std::string name;
    std::vector<std::int64_t> in_file, in_module;  ///< shapes
  };
  struct Cast {
    std::string name;
    std::string from, to;  ///< dtypes, as "float16"
  };
  std::vector<std::string> loaded;
  std::vector<std::string> missing;     ///< in the module, not in the file
  std::vector<std::string> unexpected;  ///< in the file, not in the module
  std::vector<Mismatch> misshaped;
  std::vector<Cast> cast;  ///< of another dtype: converted, or with `.cast = false` not loaded

  bool complete() const { return missing.empty() && unexpected.empty() && misshaped.empty(); }
  /** In prose, with the nearest name for each missing one; "all N tensors loaded" when complete. */
  LEVIN_API std::string to_string() const;
};

/** The module's parameters and buffers by name, as Python's Module.state_dict(). Tensors alias the module's. */
LEVIN_API PickleDict state_dict(const torch::nn::Module& module);

/**
 * Copies `weights` into the module's parameters and buffers and reports what became of every name. Throws Error when
 * strict and something does not fit, or a dtype is another and `.cast` is off; then nothing was changed.
 */
LEVIN_API LoadReport load_state_dict(torch::nn::Module& module, const PickleDict& weights,
                                     const LoadOptions& options = {});

/** The weights in a file: safetensors, a state_dict of torch.save, or a checkpoint of Lightning or a Trainer. */
LEVIN_API PickleDict load_weights(const std::string& path);
/** The same, into `module`; see load_state_dict. */
LEVIN_API LoadReport load_weights(torch::nn::Module& module, const std::string& path, LoadOptions options = {});
/** Writes the module's weights: as safetensors to a path with that ending, else as torch.save(module.state_dict()). */
LEVIN_API void save_weights(const torch::nn::Module& module, const std::string& path);

/**
 * A checkpoint's content: a dict with "state_dict" as Lightning and Levin write them. A bare state_dict file is
 * accepted and wrapped. Throws Error for other files.
 */
LEVIN_API PickleDict load_checkpoint(const std::string& path);

/** The hyperparameters saved with a checkpoint (`Module::save_hyperparameters`); empty when there are none. */
LEVIN_API Map checkpoint_hyperparameters(const PickleDict& checkpoint);
/** The hyperparameters of the DataModule that Lightning saved with a checkpoint; empty when there are none. */
LEVIN_API Map checkpoint_datamodule_hyperparameters(const PickleDict& checkpoint);

namespace detail {
/** Runs `make` on the checkpoint's hyperparameters; an Error in it names the file and what to do. */
LEVIN_API void rebuild(const std::string& path, const PickleDict& checkpoint, const Map& overrides, bool needs_any,
                       const std::function<torch::nn::Module&(const Map&)>& make, LoadOptions options);
/** The same for a data module's, and its saved state. */
LEVIN_API void rebuild_data(const std::string& path, const Map& overrides, bool needs_any,
                            const std::function<DataModule&(const Map&)>& make);
}  // namespace detail

/**
 * Builds a module again as it was saved: from the checkpoint's hyperparameters, with `overrides` over them, and its
 * weights. M is made by `M::from_hparams(const Map&)` (returning M's shared pointer) when it has that, else by a
 * constructor that takes a `const Map&`, else by its default constructor when the checkpoint holds no hyperparameters.
 * Files of Lightning and of Levin serve alike. Throws Error when a hyperparameter is missing.
 *
 *     auto model = levin::load_from_checkpoint<Classifier>("best.ckpt", {{"dropout", 0.0}});
 */
template <std::derived_from<torch::nn::Module> M>
std::shared_ptr<M> load_from_checkpoint(const std::string& path, const Map& overrides = {}, LoadOptions options = {}) {
  constexpr bool has_factory = requires(const Map& map) {
    { M::from_hparams(map) } -> std::convertible_to<std::shared_ptr<M>>;
  };
  constexpr bool from_map = std::constructible_from<M, const Map&>;
  static_assert(
      has_factory || from_map || std::default_initializable<M>,
      "load_from_checkpoint needs M::from_hparams(const levin::Map&), a constructor taking const levin::Map&, "
      "or a default constructor");
  std::shared_ptr<M> module;
  detail::rebuild(
      path, load_checkpoint(path), overrides, /*needs_any=*/!std::default_initializable<M>,
      [&](const Map& hparams) -> torch::nn::Module& {
        if constexpr (has_factory) {
          module = M::from_hparams(hparams);
        } else if constexpr (from_map) {
          module = std::make_shared<M>(hparams);
        } else {
          if (!hparams.empty()) {
            throw Error({.what = "the class cannot be made from hyperparameters, but the checkpoint holds some",
                         .value = hparams.to_string(),
                         .where = {},
                         .hint = "give it a constructor that takes const levin::Map&, or a static from_hparams"});
          }
          module = std::make_shared<M>();
        }
        return *module;
      },
      std::move(options));
  return module;
}

/**
 * Builds a data module again as it was saved: from its hyperparameters (`DataModule::save_hyperparameters`), with
 * `overrides` over them, and its state. D is made by a constructor that takes a `const Map&`, else by its default
 * constructor when the checkpoint holds no hyperparameters. Throws Error when a hyperparameter is missing.
 */
template <std::derived_from<DataModule> D>
std::shared_ptr<D> load_from_checkpoint(const std::string& path, const Map& overrides = {}) {
  constexpr bool from_map = std::constructible_from<D, const Map&>;
  static_assert(from_map || std::default_initializable<D>,
                "load_from_checkpoint needs a constructor taking const levin::Map&, or a default constructor");
  std::shared_ptr<D> data;
  detail::rebuild_data(path, overrides, /*needs_any=*/!std::default_initializable<D>,
                       [&](const Map& hparams) -> DataModule& {
                         if constexpr (from_map) {
                           data = std::make_shared<D>(hparams);
                         } else {
                           if (!hparams.empty()) {
                             throw Error({.what = "the class cannot be made from hyperparameters, but there are some",
                                          .value = hparams.to_string(),
                                          .where = {},
                                          .hint = "give it a constructor that takes const levin::Map&"});
                           }
                           data = std::make_shared<D>();
                         }
                         return *data;
                       });
  return data;
}

}  // namespace levin
