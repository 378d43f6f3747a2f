// levin::gemm: one matrix product with what is done to its result while it is warm.
#pragma once

#include <levin/compile/graph.h>
#include <levin/compile/kernels/gemm.h>

#include <optional>
#include <string>

namespace levin::compile {

/** Arguments of a levin::gemm node: a, b, bias or None, mask or None. */
struct GemmPayload : Payload {
  float alpha = 1;
  kernels::Gemm::Epilogue epilogue = kernels::Gemm::Epilogue::none;

  std::string to_string() const override;
};

/** The kernel's description of a levin::gemm node; nothing when its operands do not lie as the kernel needs. */
std::optional<kernels::Gemm> gemm_of(const Graph& graph, const Node& node);

}  // namespace levin::compile
