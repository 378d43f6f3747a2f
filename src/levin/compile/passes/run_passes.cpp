#include <levin/compile/passes/passes.h>

namespace levin::compile {

void run_passes(Graph& graph, const GradientTargets& targets, const CompileOptions& options, const PassObserver& observe) {
  const auto run = [&](std::string_view name, const auto& pass) {
    pass(graph);
    graph.verify(name);
    if (observe) observe(name, graph);
  };
  if (observe) observe("lift", graph);
  run("drop dead", drop_dead);
  run("fold constants", fold_constants);
  run("elide copies", elide_copies);
  if (options.fuse) {
    if (options.fast_dropout) run("draw natively", draw_natively);
    run("recognise matmul", recognise_matmul);
    run("fuse epilogues", fuse_epilogues);
    run("fuse norms", fuse_norms);
    run("recognise RMS norm", recognise_rms_norm);
    run("channels last", prefer_channels_last);
    run("fuse pools", fuse_pools);
    run("recognise LSTM", recognise_lstm);
    run("recognise attention", recognise_attention);
    run("place parts", place_parts);
    run("fuse losses", fuse_losses);
    run("fuse small networks", fuse_small_mlp);
    run("recognise pointwise", recognise_pointwise);
    run("fuse pointwise", fuse_pointwise);
    run("drop dead again", drop_dead);
  }
  run("place gradients", [&](Graph& g) { place_gradients(g, targets, options.fuse); });
}

}  // namespace levin::compile
