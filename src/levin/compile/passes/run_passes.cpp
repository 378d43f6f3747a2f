#include <levin/compile/passes/passes.h>

namespace levin::compile {

void run_passes(Graph& graph, const GradientTargets& targets, bool optimize, const PassObserver& observe) {
  const auto run = [&](std::string_view name, const auto& pass) {
    pass(graph);
    graph.verify(name);
    if (observe) observe(name, graph);
  };
  if (observe) observe("lift", graph);
  run("drop dead", drop_dead);
  run("fold constants", fold_constants);
  run("elide copies", elide_copies);
  if (optimize) {
    run("drop dead again", drop_dead);
  }
  run("place gradients", [&](Graph& g) { place_gradients(g, targets); });
}

}  // namespace levin::compile
