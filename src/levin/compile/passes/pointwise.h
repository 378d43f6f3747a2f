// levin::pointwise: element-wise operators as groups that run in one pass over the elements.
#pragma once

#include <levin/compile/graph.h>
#include <levin/compile/kernels/pointwise.h>

#include <optional>
#include <string>

namespace levin::compile {

/** One argument for each of the group's inputs (a constant for those that are none in memory), a result an output. */
struct PointwisePayload : Payload {
  kernels::Pointwise group;
  std::string to_string() const override;
};

/**
 * The levin::pointwise node that computes what an ATen node does; nothing for other operators, types and layouts that
 * the kernels do not serve.
 */
std::optional<Node> pointwise_of(const Graph& graph, const Node& node);

/** ATen operators that pointwise_of knows. */
std::vector<std::string_view> pointwise_operators();

}  // namespace levin::compile
