#include <levin/compile/tape_check.h>

#include <levin/compile/graph.h>

#include <algorithm>
#include <sstream>

namespace levin::compile {
namespace {

std::string tensor_text(const Tape& tape, int number) {
  if (number < 0) return "None";
  const at::Tensor& tensor = tape.tensors[static_cast<std::size_t>(number)];
  if (tensor.unsafeGetTensorImpl()->is_wrapped_number()) {
    const PauseRecording pause;
    return constant_text(tensor.item());
  }
  std::ostringstream out;
  out << '%' << number << ' ' << c10::toString(tensor.scalar_type()) << tensor.sizes();
  return out.str();
}

std::string argument_text(const Tape& tape, const Tape::Argument& argument) {
  if (argument.kind == Tape::Argument::Kind::constant) return constant_text(argument.constant);
  std::string text;
  for (const int number : argument.tensors) text += (text.empty() ? "" : ", ") + tensor_text(tape, number);
  return argument.kind == Tape::Argument::Kind::tensor ? text : "[" + text + "]";
}

}  // namespace

TapeText::TapeText(const Tape& tape) {
  for (const Tape::Record& record : tape.records) {
    Call call{.op = name_of(record.op), .arguments = {}};
    for (const auto& argument : record.arguments) call.arguments.push_back(argument_text(tape, argument));
    calls_.push_back(std::move(call));
  }
}

std::optional<std::string> TapeText::difference(const TapeText& later) const {
  const auto where = [](std::size_t call, const std::string& op) { return "call " + std::to_string(call) + ", " + op; };
  for (std::size_t i = 0; i < std::min(calls_.size(), later.calls_.size()); ++i) {
    const Call &a = calls_[i], &b = later.calls_[i];
    if (a.op != b.op) return where(i, a.op) + ", is now " + b.op;
    for (std::size_t j = 0; j < std::min(a.arguments.size(), b.arguments.size()); ++j) {
      if (a.arguments[j] != b.arguments[j]) {
        return where(i, a.op) + ", was given " + a.arguments[j] + " and is now given " + b.arguments[j];
      }
    }
  }
  if (calls_.size() == later.calls_.size()) return std::nullopt;
  return "the step made " + std::to_string(calls_.size()) + " calls and now makes " +
         std::to_string(later.calls_.size());
}

}  // namespace levin::compile
