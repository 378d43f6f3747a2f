#include <levin/compile/debug.h>

#include <levin/core/console.h>

#include <cstdlib>
#include <sstream>
#include <string_view>

namespace levin::compile::debug {
namespace {

bool wants(std::string_view what) {
  const char* set = std::getenv("LEVIN_COMPILE_DEBUG");
  return set != nullptr && (std::string_view(set) == what || std::string_view(set) == "all");
}

std::string place_text(const Place& place) {
  const std::string offset = "+" + std::to_string(place.offset);
  switch (place.kind) {
    case Place::Kind::arena: return "arena" + offset;
    case Place::Kind::external: return "external " + std::to_string(place.index) + offset;
    case Place::Kind::input: return "batch[" + std::to_string(place.index) + "]" + offset;
    case Place::Kind::boxed: return "boxed " + std::to_string(place.index) + offset;
    case Place::Kind::none: break;
  }
  return "none";
}

}  // namespace

PassObserver observer() {
  if (!wants("graph")) return {};
  return [](std::string_view pass, const Graph& graph) {
    console::write("-- after " + std::string(pass) + "\n" + graph.to_string());
  };
}

void lowered(const Code& code) {
  if (wants("code")) console::write("-- program\n" + to_string(code));
}

std::string to_string(const Code& code) {
  std::ostringstream out;
  for (std::size_t i = 0; i < code.steps.size(); ++i) {
    const Code::Step& step = code.steps[i];
    out << i << ' ' << (step.boxed ? "boxed " : "") << step.name << '(';
    for (std::size_t operand = 0; operand < step.operands; ++operand) {
      out << (operand ? ", " : "") << place_text(code.places[step.first_operand + operand]);
    }
    out << ")\n";
  }
  out << "arena " << code.arena_bytes << " bytes, " << code.steps.size() << " instructions, " << code.boxed_calls
      << " boxed\n";
  return out.str();
}

}  // namespace levin::compile::debug
