// The passes over a graph, one idea each, in the order in which optimize() runs them.
#pragma once

#include <levin/compile/graph.h>
#include <levin/compile/options.h>

#include <ATen/core/Tensor.h>

#include <functional>
#include <string_view>
#include <vector>

namespace levin::compile {

/** Where the gradient of each parameter goes: a view of the optimizer's gradient buffer. */
struct GradientTargets {
  std::vector<at::Tensor> views;  ///< one a parameter
  bool accumulate = false;        ///< add to what is there
};

/** Called after each pass with its name, for dumps. */
using PassObserver = std::function<void(std::string_view pass, const Graph&)>;

/** All passes; options.fuse of false leaves out what would change eager's bits. */
void run_passes(Graph& graph, const GradientTargets& targets, const CompileOptions& options, const PassObserver& observe);

/** Computes once what depends on no tensor of the step: masks, positions, constants. */
void fold_constants(Graph& graph);
/** Drops what nobody reads. */
void drop_dead(Graph& graph);
/** Drops copies of temporaries that nobody changes afterwards. */
void elide_copies(Graph& graph);
/** Makes levin::bernoulli of bernoulli_, with random numbers of our own. */
void draw_natively(Graph& graph);
/** Makes levin::gemm of matrix products (matmul.h). */
void recognise_matmul(Graph& graph);
/** Moves biases, relu and its derivative into the product before them. */
void fuse_epilogues(Graph& graph);
/** Makes one node of a batch norm and the relu behind it, and of their gradients. */
void fuse_norms(Graph& graph);
/** Makes one node of relu and the max pooling behind it, and of their gradients. */
void fuse_pools(Graph& graph);
/** Makes levin::rms_norm of the operators that RMS norm is on the CPU, and of its gradients (rms_norm.h). */
void recognise_rms_norm(Graph& graph);
/** Lays images out with channels last where ATen's convolutions read them. */
void prefer_channels_last(Graph& graph);
/** Makes one node of an LSTM's layer (lstm.h) and of attention (attention.h), each way. */
void recognise_lstm(Graph& graph);
void recognise_attention(Graph& graph);
/** Writes what is joined by cat where it is joined. */
void place_parts(Graph& graph);
/** Makes one node of a loss and its gradient (losses.h). */
void fuse_losses(Graph& graph);
/** Makes one node each way of a small network with one hidden layer (small_mlp.h). */
void fuse_small_mlp(Graph& graph);
/** Makes levin::pointwise of element-wise operators, and groups of them (pointwise.h). */
void recognise_pointwise(Graph& graph);
void fuse_pointwise(Graph& graph);
/** Writes gradients where the optimizer reads them; where kernels are `native` they write there directly. */
void place_gradients(Graph& graph, const GradientTargets& targets, bool native);

}  // namespace levin::compile
