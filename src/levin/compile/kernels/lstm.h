// The pointwise part of recurrent cells, forward and backward.
#pragma once

#include <levin/core/export.h>

#include <cstddef>
#include <cstdint>

namespace levin::compile::kernels {

/** An LSTM's cell of `width` units for `rows` sequences. Gates are in torch's order: input, forget, cell, output. */
struct LstmCell {
  std::int64_t rows = 0, width = 0;
};

struct LstmForwardArgs {
  const float* input_gates = nullptr;   ///< [rows, 4 width]: W x
  const float* hidden_gates = nullptr;  ///< [rows, 4 width]: U h, or null: already added
  const float* input_bias = nullptr;    ///< [4 width], or null
  const float* hidden_bias = nullptr;   ///< [4 width], or null
  const float* cell = nullptr;          ///< [rows, width]
  float* new_hidden = nullptr;          ///< [rows, width]
  float* new_cell = nullptr;            ///< [rows, width]; may be `cell`
  float* gates = nullptr;               ///< [rows, 4 width]: activated, for the backward pass; or null
};
struct LstmBackwardArgs {
  const float* d_hidden = nullptr;  ///< gradient of new_hidden, or null: 0
  const float* d_cell = nullptr;    ///< gradient of new_cell, or null: 0
  const float* cell = nullptr;      ///< before the step
  const float* new_cell = nullptr;
  const float* gates = nullptr;  ///< activated
  float* d_gates = nullptr;      ///< [rows, 4 width]: of the sums that went into the gates
  float* d_old_cell = nullptr;   ///< [rows, width]; may be d_cell
};
/** Rows [begin, end). */
using LstmForwardFn = void (*)(const LstmCell&, const LstmForwardArgs&, std::int64_t begin, std::int64_t end);
using LstmBackwardFn = void (*)(const LstmCell&, const LstmBackwardArgs&, std::int64_t begin, std::int64_t end);
LEVIN_API LstmForwardFn select_lstm_forward(const LstmCell& settings);
LEVIN_API LstmBackwardFn select_lstm_backward(const LstmCell& settings);

}  // namespace levin::compile::kernels
