#include <levin/app/engine/model_file.h>

#include <levin/core/error.h>
#include <levin/train/checkpoint.h>

namespace levin::app {
namespace {

constexpr const char* kKind = "levin tabular model";

}  // namespace

Map model_card(const Map& config, const PreparedData& data) {
  return {{"kind", kKind},
          {"config", config},
          {"problem", std::string(name_of(data.problem))},
          {"preprocessor", data.preprocessor.state()}};
}

std::unique_ptr<TabularModule> make_model(const Settings& settings, const Map& config, const PreparedData& data) {
  auto module =
      std::make_unique<TabularModule>(settings, shape_of(data.problem, data.preprocessor), model_card(config, data));
  module->save_hyperparameters(config);
  return module;
}

LoadedModel load_model(const std::string& path) {
  const PickleDict checkpoint = load_checkpoint(path);
  const PickleValue* saved = checkpoint.find(kModelCardKey);
  const Map card = saved && saved->is_dict() ? saved->to_value().as_map() : Map();
  if (const Value* kind = card.find("kind"); !kind || *kind != Value(kKind)) {
    throw Error({.what = "the checkpoint is of another model, not one of levin fit or levin tune",
                 .value = path,
                 .where = "ckpt_path",
                 .hint = "load it from a program: the class of its module is not known here"});
  }
  LoadedModel model;
  model.config = card.get<Map>("config");
  const auto problem = card.get<std::string>("problem");
  model.problem = problem == name_of(Problem::regression) ? Problem::regression
                  : problem == name_of(Problem::binary)   ? Problem::binary
                                                          : Problem::classification;
  model.preprocessor.load_state(card.get<Map>("preprocessor"));
  model.module =
      std::make_unique<TabularModule>(read_settings(model.config), shape_of(model.problem, model.preprocessor), card);
  load_state_dict(*model.module, checkpoint.at("state_dict").as_dict(), {.where = path});
  return model;
}

}  // namespace levin::app
