// Gradient clipping without a device synchronisation.
#pragma once

#include <levin/core/export.h>
#include <levin/optim/optimizer.h>

#include <ATen/core/Tensor.h>

#include <vector>

namespace levin::optim {

struct ClipGradNormOptions {
  double norm_type = 2;             ///< p of the norm; infinity for the largest element
  bool error_if_nonfinite = false;  ///< throw Error when the norm is NaN or infinite; waits for the device
};

/**
 * Scales the gradients of `params` so that their norm, taken over all of them as one vector, is at most `max_norm`;
 * as torch.nn.utils.clip_grad_norm_. Parameters without a gradient are passed over.
 *
 * @return the norm before clipping, 0-dim, on the device of the first gradient (0 on the CPU when there is none)
 */
LEVIN_API at::Tensor clip_grad_norm_(const std::vector<at::Tensor>& params, double max_norm,
                                     ClipGradNormOptions options = {});
/** As above for the parameters of an optimizer; where its gradients are bound, one norm over the flat buffers. */
LEVIN_API at::Tensor clip_grad_norm_(const Optimizer& optimizer, double max_norm, ClipGradNormOptions options = {});

/** Clamps every gradient element to [-clip_value, clip_value]; as torch.nn.utils.clip_grad_value_. */
LEVIN_API void clip_grad_value_(const std::vector<at::Tensor>& params, double clip_value);
LEVIN_API void clip_grad_value_(const Optimizer& optimizer, double clip_value);

}  // namespace levin::optim
