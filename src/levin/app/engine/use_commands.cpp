// levin test and levin predict: use a model that fit or tune saved.
#include <levin/app/engine/commands.h>
#include <levin/app/engine/model_file.h>
#include <levin/core/atomic_file.h>
#include <levin/core/csv.h>
#include <levin/core/error.h>
#include <levin/core/text_table.h>
#include <levin/data/tensor_dataset.h>

#include <ATen/ops/cat.h>

#include <algorithm>
#include <iostream>

namespace levin::app {
namespace {

LoadedModel load(const Settings& settings) {
  if (settings.ckpt_path.empty()) {
    throw Error({.what = "which model is to be used?",
                 .value = {},
                 .where = {},
                 .hint = "give --ckpt_path FILE, as levin fit and levin tune print it"});
  }
  return load_model(settings.ckpt_path);
}

}  // namespace

int run_test(const Request& request) {
  const Settings settings = read_settings(request.config);
  LoadedModel model = load(settings);
  const Table table = read_csv(settings.data.path);
  const std::string& target = model.preprocessor.options().target;
  table.raw(target);  // without it there is nothing to compare with
  Trainer trainer(trainer_options(settings));
  const Map metrics = trainer.test(
      *model.module, eval_loader(levin::TensorDataset(model.preprocessor.transform(table))), {.verbose = false});
  TextTable results({"metric", "value"});
  for (const auto& [name, value] : metrics) results.add_row({name, show(value.as_double())});
  std::cout << results.to_string();
  return trainer.interrupted() ? kInterrupted : 0;
}

int run_predict(const Request& request) {
  const Settings settings = read_settings(request.config);
  LoadedModel model = load(settings);
  Table table = read_csv(settings.data.path);
  const std::string& target = model.preprocessor.options().target;
  if (table.contains(target)) table = table.drop(target);
  Trainer trainer(trainer_options(settings));
  const auto batches =
      trainer.predict(*model.module, eval_loader(levin::TensorDataset(model.preprocessor.transform(table))));
  std::vector<at::Tensor> parts;
  for (const Batch& batch : batches) parts.push_back(batch[0]);
  const at::Tensor outputs = at::cat(parts).to(at::kDouble).contiguous();

  AtomicFile file(settings.out);
  std::ostream& out = file.stream();
  out << csv::quote(target);
  if (model.problem == Problem::regression) {
    const at::Tensor values = model.preprocessor.inverse_target(outputs).to(at::kDouble).contiguous();
    const double* value = values.const_data_ptr<double>();
    out << '\n';
    for (std::int64_t row = 0; row < values.numel(); ++row) out << format_double(value[row]) << '\n';
  } else {
    const auto& classes = model.preprocessor.classes();
    const auto count = static_cast<std::int64_t>(classes.size());
    for (const auto& name : classes) out << ',' << csv::quote("p(" + name + ")");
    out << '\n';
    const double* p = outputs.const_data_ptr<double>();
    for (std::int64_t row = 0; row < outputs.size(0); ++row, p += count) {
      out << csv::quote(classes[static_cast<std::size_t>(std::max_element(p, p + count) - p)]);
      for (std::int64_t c = 0; c < count; ++c) out << ',' << format_double(p[c]);
      out << '\n';
    }
  }
  file.commit();
  std::cout << outputs.size(0) << " predictions in " << settings.out << '\n';
  return 0;
}

}  // namespace levin::app
