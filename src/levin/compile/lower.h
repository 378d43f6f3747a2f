// From a graph to code: each node becomes a native kernel where a rule knows one, else a boxed ATen call.
#pragma once

#include <levin/compile/graph.h>
#include <levin/compile/program.h>

#include <memory>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

namespace levin::compile {

/** A native instruction for a node. Its operands are values; a workspace comes last. */
struct Emission {
  Instruction::Run run = nullptr;
  std::shared_ptr<const void> spec;
  std::vector<ValueId> operands;
  std::size_t workspace = 0;  ///< bytes
  std::int64_t pieces = 1;    ///< that it can be cut into: `run` asks Instruction::range
  bool draws = false;         ///< random numbers, into its only operand; Instruction::state is its Program

  template <class Spec>
  static Emission of(Instruction::Run run, Spec spec, std::vector<ValueId> operands, std::size_t workspace = 0) {
    return {.run = run,
            .spec = std::make_shared<const Spec>(std::move(spec)),
            .operands = std::move(operands),
            .workspace = workspace};
  }
  /** So many units, cut at multiples of `step`, can be shared by threads without a change of a bit. */
  Emission split(std::int64_t units, std::int64_t step = 1) && {
    pieces = (units + step - 1) / step;
    return std::move(*this);
  }
};

/** How an operator is lowered: the instructions, or none where this node's shapes or types are not served. */
struct Rule {
  std::string_view op;
  std::string_view kernel;  ///< for people: "GEMM with bias"
  std::vector<Emission> (*emit)(const Graph&, const Node&);
  std::string_view limits;     ///< for people: what is served beside float32 in rows without gaps
  std::string_view made_of = "";  ///< for people: the ATen operators of which a pass makes `op`, where one does
};

/** All rules, by family: lowering/ has a file for each. */
std::span<const Rule> rules();

/** The native instructions of a node; empty when it has to be a boxed call. */
std::vector<Emission> lower_natively(const Graph& graph, const Node& node);

struct LowerOptions {
  bool native = true;  ///< false: boxed calls alone, which give eager's bits
};

struct Lowered {
  std::shared_ptr<Code> code;
  std::vector<at::Tensor> externals;  ///< owners of the memory that the code's `external` places are in
};

/** The code of a graph whose passes are done, and the memory that it runs on. */
Lowered lower(const Graph& graph, LowerOptions options = {});

}  // namespace levin::compile
