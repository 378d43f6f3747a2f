// levin::lstm and levin::lstm_backward: one direction of one layer over a whole sequence.
#pragma once

#include <levin/compile/graph.h>
#include <levin/compile/kernels/lstm_layer.h>

#include <string>

namespace levin::compile {

/**
 * Of levin::lstm, with arguments x, w_ih, w_hh, b_ih, b_hh, h0, c0 and results out, hy or none, cy or none, cells, gates;
 * and of levin::lstm_backward, with arguments dout, dhy, dcy (each or None), x, w_ih, w_hh, h0, c0, out, cells, gates and
 * results dx, dw_ih, dw_hh, db_ih, db_hh, dh0, dc0, each or none.
 */
struct LstmPayload : Payload {
  kernels::LstmShape shape;
  std::int64_t d_out_time = 0, d_out_row = 0;  ///< strides of dout
  std::string to_string() const override;
};

}  // namespace levin::compile
