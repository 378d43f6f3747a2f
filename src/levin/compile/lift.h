// From a tape to a graph: memory becomes buffers, views become metadata, writes in place become new values.
#pragma once

#include <levin/compile/graph.h>
#include <levin/compile/tape.h>

#include <string>
#include <vector>

namespace levin::compile {

/** A tensor that the step may read, under the name that messages call it. */
struct Named {
  std::string name;
  at::Tensor tensor;
};

/** A tensor that the step hands out, as it was after so many records of the tape. */
struct Result {
  Output::Kind kind = Output::Kind::result;
  int index = 0;
  std::string name;
  at::Tensor tensor;
  std::size_t after = 0;  ///< records
};

/**
 * The graph of a tape. `inputs` are the tensors of the batch, each in memory of its own; `externals` the parameters and
 * buffers that the step may read and write. Throws NotCapturable when the step reads any other memory, or writes into
 * its batch.
 */
Graph lift(const Tape& tape, const std::vector<at::Tensor>& inputs, const std::vector<Named>& externals,
           const std::vector<Result>& results);

/** The parameter that was read last after so many records of a tape, by its name: "fc2.weight"; "" when none was. */
std::string place_in_model(const Tape& tape, std::size_t records, const std::vector<Named>& externals);

}  // namespace levin::compile
