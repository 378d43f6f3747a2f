// ModelSummary: the layers of the model at the start of a fit.
#pragma once

#include <levin/train/callbacks/callback.h>

namespace levin {

struct ModelSummaryOptions {
  std::int64_t max_depth = 1;  ///< levels of submodules: 1 shows the direct children, -1 all; 0 prints nothing
};

/** Prints `summarize` of the module before training, in place of `enable_model_summary` (Lightning's ModelSummary). */
class LEVIN_API ModelSummaryImpl : public CallbackImpl {
 public:
  explicit ModelSummaryImpl(ModelSummaryOptions options = {});
  void on_fit_start(Trainer& trainer, Module& module) override;
  bool is_model_summary() const override { return true; }

 private:
  ModelSummaryOptions options_;
};

/** See ModelSummaryImpl. */
class ModelSummary : public CallbackHolder<ModelSummaryImpl> {
 public:
  explicit ModelSummary(ModelSummaryOptions options = {})
      : CallbackHolder(std::make_shared<ModelSummaryImpl>(options)) {}
};

}  // namespace levin
