#include <levin/compile/debug.h>

#include <levin/core/console.h>

#include <algorithm>
#include <cstdlib>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

namespace levin::compile::debug {
namespace {

std::vector<std::string> words() {
  const char* set = std::getenv("LEVIN_COMPILE_DEBUG");
  std::vector<std::string> all;
  std::istringstream in(set != nullptr ? set : "");
  for (std::string word; std::getline(in, word, ',');) {
    static const std::vector<std::string> known = {"graph", "code", "all", "check", "split"};
    if (std::ranges::find(known, word) == known.end()) {
      console::warn_once("LEVIN_COMPILE_DEBUG has no \"" + word + "\": it takes graph, code, all, check and split, with commas between");
    }
    all.push_back(std::move(word));
  }
  return all;
}

bool wants(std::string_view what) {
  const auto all = words();
  return std::ranges::any_of(all, [&](const std::string& word) {
    return word == what || (word == "all" && what != "check" && what != "split");
  });
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

bool dumps() { return wants("graph") || wants("code"); }

bool splits_steps() { return wants("split"); }

bool checks_steps() { return wants("check"); }

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
