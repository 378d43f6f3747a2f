// Tape: the ATen calls of one step, in order, as the dispatcher saw them below autograd.
#pragma once

#include <levin/compile/call_site.h>

#include <ATen/core/Tensor.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/core/ivalue.h>

#include <cstdint>
#include <optional>
#include <stdexcept>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

namespace levin::compile {

/** Thrown inside a capture: the step cannot become a program. `what()` is one sentence for the user. */
class NotCapturable : public std::runtime_error {
 public:
  explicit NotCapturable(const std::string& reason) : std::runtime_error(reason), frames(stack_frames()) {}

  std::vector<StackFrame> frames;   ///< where it was thrown
  std::string place;                ///< what is known of that: " (net.cpp:42, soon after the use of fc2.weight)"
  std::optional<std::size_t> call;  ///< the recorded call that it is about, where it was found later
  bool known = false;               ///< an earlier step of the same structure was refused for it, with a warning
};

/** The sentence about tensors whose data the host wrote. */
inline constexpr const char* kFilledByHost =
    "a tensor is filled by the host within the step (by data_ptr, an accessor, a vector of numbers); make it before "
    "and register_buffer it, or pass it in the batch";

/**
 * What a Recording wrote down. Tensors are numbered; two tensors that are the same view of the same memory have one
 * number, since autograd hands saved outputs out as new tensors. All are kept alive, so that memory stays unique; what
 * nobody else holds any more keeps its name alone and gives its bytes back.
 */
struct Tape {
  struct Argument {
    enum class Kind { constant, tensor, tensors };
    Kind kind = Kind::constant;
    std::vector<int> tensors;  ///< one number for `tensor`, one an element for `tensors`; -1 for an undefined tensor
    c10::IValue constant;
  };
  struct Record {
    c10::OperatorHandle op;
    std::vector<Argument> arguments;        ///< in the order of the schema
    std::vector<std::vector<int>> results;  ///< a list for each return: one number, or one an element
    at::Tensor draw;                        ///< of a random operator: a copy of what it drew
  };

  std::vector<Record> records;
  at::DeviceType device = at::kCPU;    ///< whose memory the calls may work on
  std::optional<std::size_t> stop_at;  ///< refuses this call, to learn where it comes from
  std::vector<at::Tensor> tensors;
  /** What was made of nothing (zeros, arange), with a copy of its first numbers, and the memory that calls wrote. */
  std::vector<std::pair<int, at::Tensor>> made;
  std::unordered_set<const void*> written;

  /** Whether a call drew random numbers. */
  bool draws() const;
  /** Throws NotCapturable when the host has written into a tensor that the step made. */
  void check_made() const;

  /** The number of a tensor, given one if it is new; -1 for an undefined tensor. */
  int number(const at::Tensor& tensor);
  /** The number of a tensor that was seen, or -1. */
  int find(const at::Tensor& tensor) const;
  /** Gives back the bytes of large tensors that the tape alone holds. */
  void let_go();

 private:
  struct Key {
    const void* storage;
    std::int64_t offset;
    std::vector<std::int64_t> sizes, strides;
    at::ScalarType dtype;
    bool operator==(const Key&) const = default;
  };
  struct Hash {
    std::size_t operator()(const Key& key) const;
  };
  static Key key_of(const at::Tensor& tensor);

  std::unordered_map<Key, int, Hash> numbers_;
  std::unordered_map<c10::StorageImpl*, std::size_t> large_;  // how many tensors here are in it
  std::size_t free_bytes_ = 0;                                 // not returned to the system yet
  std::size_t live_bytes_ = 0, most_live_bytes_ = 0;           // of large tensors
};

/**
 * Returns memory that is free to the system. What is recorded between a step's large tensors lies in the gaps that they
 * leave, and the next large ones find no room there: without this a recorded step takes half as much again as an eager.
 */
void return_free_memory();

/** "aten::addmm", "aten::add.Tensor": the name with its overload. */
std::string name_of(const c10::OperatorHandle& op);

/**
 * While it lives, every ATen call of this thread (forward and backward) is run as always and written on the tape.
 * A call that no program could repeat throws NotCapturable: one that hands values to the host, one whose result's shape
 * depends on data, one on tensors that are not plain memory of the tape's device.
 */
class Recording {
 public:
  explicit Recording(Tape& tape);
  ~Recording();
  Recording(const Recording&) = delete;
  Recording& operator=(const Recording&) = delete;

 private:
  Tape* outer_;
  bool was_on_;
};

/** Switches the recording of this thread off: what runs meanwhile is not part of the step. */
class PauseRecording {
 public:
  PauseRecording();
  ~PauseRecording();
  PauseRecording(const PauseRecording&) = delete;
  PauseRecording& operator=(const PauseRecording&) = delete;

 private:
  Tape* paused_;
};

}  // namespace levin::compile
