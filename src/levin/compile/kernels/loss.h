// Losses over rows: cross entropy, negative log likelihood, (log-)softmax, squared error; with their gradients.
#pragma once

#include <levin/core/export.h>

#include <cstddef>
#include <cstdint>

namespace levin::compile::kernels {

enum class Reduction { none, mean, sum };

/** What functions that check targets return when all are in range; else it is the first row whose target is not. */
inline constexpr std::int64_t kAllInRange = -1;

/** torch.nn.functional.cross_entropy of logits [rows, classes] and class numbers [rows]. */
struct CrossEntropy {
  std::int64_t rows = 0, classes = 0;
  std::int64_t ignore_index = -100;
  Reduction reduction = Reduction::mean;
  float label_smoothing = 0;
};

struct CrossEntropyArgs {
  const float* logits = nullptr;
  const std::int64_t* target = nullptr;
  const float* weight = nullptr;    ///< [classes], or null: 1 each
  const float* upstream = nullptr;  ///< gradient of the loss, [1] ([rows] for Reduction::none), or null: 1
  float* loss = nullptr;            ///< [1] ([rows] for Reduction::none)
  float* gradient = nullptr;        ///< [rows, classes] with respect to the logits, or null: the loss alone
};

/** Loss and gradient in one pass. A target out of range makes it return the row before anything is written. */
using CrossEntropyFn = std::int64_t (*)(const CrossEntropy&, const CrossEntropyArgs&, void* workspace);
LEVIN_API CrossEntropyFn select_cross_entropy(const CrossEntropy& settings);
LEVIN_API std::size_t cross_entropy_workspace(const CrossEntropy& settings);

/** torch.nn.functional.nll_loss of log probabilities [rows, classes]. */
struct Nll {
  std::int64_t rows = 0, classes = 0;
  std::int64_t ignore_index = -100;
  Reduction reduction = Reduction::mean;
};

struct NllForwardArgs {
  const float* log_probabilities = nullptr;
  const std::int64_t* target = nullptr;
  const float* weight = nullptr;  ///< [classes], or null: 1 each
  float* loss = nullptr;          ///< [1] ([rows] for Reduction::none)
  float* total_weight = nullptr;  ///< [1]: the weights of the targets that count, what the mean divides by; may be null
};

struct NllBackwardArgs {
  const float* upstream = nullptr;  ///< [1] ([rows] for Reduction::none)
  const std::int64_t* target = nullptr;
  const float* weight = nullptr;
  const float* total_weight = nullptr;  ///< of the forward pass; read for the mean alone
  float* gradient = nullptr;            ///< [rows, classes]
};

/** Both return the first row whose target is out of range, or kAllInRange; then nothing is written. */
using NllForwardFn = std::int64_t (*)(const Nll&, const NllForwardArgs&);
using NllBackwardFn = std::int64_t (*)(const Nll&, const NllBackwardArgs&);
LEVIN_API NllForwardFn select_nll_forward(const Nll& settings);
LEVIN_API NllBackwardFn select_nll_backward(const Nll& settings);

/** Softmax or its logarithm over the last dimension. */
struct Softmax {
  std::int64_t rows = 0, columns = 0;
  bool log = false;
};

/** Rows [begin, end): y = softmax(x). */
using SoftmaxForwardFn = void (*)(const Softmax&, const float* x, float* y, std::int64_t begin, std::int64_t end);
/** Rows [begin, end): the gradient of x from the gradient of y and y itself. dx may be dy. */
using SoftmaxBackwardFn = void (*)(const Softmax&, const float* dy, const float* y, float* dx, std::int64_t begin,
                                   std::int64_t end);
LEVIN_API SoftmaxForwardFn select_softmax_forward(const Softmax& settings);
LEVIN_API SoftmaxBackwardFn select_softmax_backward(const Softmax& settings);

/** Squared error of [rows, columns] elements. */
struct Mse {
  std::int64_t rows = 0, columns = 1;
  Reduction reduction = Reduction::mean;  ///< mean or sum
};

struct MseArgs {
  const float* input = nullptr;
  const float* target = nullptr;
  const float* upstream = nullptr;  ///< [1], or null: 1
  float* loss = nullptr;            ///< [1], or null
  float* gradient = nullptr;        ///< [rows, columns] with respect to the input, or null
  float* column_sums = nullptr;     ///< [columns]: the gradient summed over rows (a bias's gradient), or null
};

using MseFn = void (*)(const Mse&, const MseArgs&);
LEVIN_API MseFn select_mse(const Mse& settings);

}  // namespace levin::compile::kernels
