#include <levin/train/callbacks/model_summary.h>

#include <levin/core/console.h>
#include <levin/core/error.h>
#include <levin/train/module.h>
#include <levin/train/summary.h>

namespace levin {

ModelSummaryImpl::ModelSummaryImpl(ModelSummaryOptions options) : options_(options) {
  if (options_.max_depth < -1) {
    throw Error({.what = "ModelSummary: max_depth must be at least -1",
                 .value = std::to_string(options_.max_depth),
                 .where = {},
                 .hint = "-1 shows all levels"});
  }
}

void ModelSummaryImpl::on_fit_start(Trainer&, Module& module) {
  if (options_.max_depth != 0) console::info(summarize(module, options_.max_depth));
}

}  // namespace levin
