// OptimizerImpl: what all optimizers share (groups, arenas, state, which parameters are due). A new optimizer derives
// from it and supplies the names of its state and one update over lists of tensors.
#pragma once

#include <levin/core/export.h>
#include <levin/optim/arena.h>
#include <levin/optim/optimizer_state.h>
#include <levin/optim/param_group.h>

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace levin::optim {

class LEVIN_API OptimizerImpl {
 public:
  static constexpr size_t kMaxStates = 3;

  /** What is known of one parameter. */
  struct Slot {
    at::Tensor param;
    int64_t index = 0;          ///< number of the parameter through all groups
    bool has_state = false;     ///< its state tensors hold something
    at::Tensor step;            ///< its own count, once counts differ within the chunk
    double number = 1;          ///< its own number (see number_name), likewise
    uint32_t grad_version = 0;  ///< version of the bound gradient at the last zero_grad
    bool grad_counts = false;   ///< the bound gradient counts as given even if nothing was added since
  };

  /** Tensors of one call of `update`: parallel lists, never empty. */
  struct Lists {
    std::vector<at::Tensor> params, grads, steps;
    std::array<std::vector<at::Tensor>, kMaxStates> states;
    std::vector<double> numbers;
    void clear();
  };

  /**
   * Parameters of one group, dtype and device. Where `params` is defined they lie in it in slot order; where `grads` is
   * defined the bound gradients do. `states` share the layout always.
   */
  struct Chunk {
    size_t group = 0;
    at::TensorOptions options;  ///< dtype and device of the parameters
    std::vector<Slot> slots;
    ArenaLayout layout;
    Arena params;
    Arena grads;
    std::vector<Arena> states;  ///< as all_state_names; undefined ones that the group's settings have no use for
    at::Tensor step;            ///< float32, 0-dim: the count of all slots while they agree
    double number = 1;          ///< their number (see number_name), likewise
    bool uniform = true;  ///< all slots have the count `step`
    Lists all;            ///< the lists of an update of all slots; grads are filled in at each step
    Lists flat;           ///< the same as one tensor each
  };

  virtual ~OptimizerImpl();
  OptimizerImpl(const OptimizerImpl&) = delete;
  OptimizerImpl& operator=(const OptimizerImpl&) = delete;

  const std::string& name() const noexcept { return name_; }
  /** Whether this optimizer has the setting, "momentum" for instance. */
  bool has_setting(std::string_view name) const;
  void zero_grad(bool set_to_none);
  void step();
  int64_t step_count() const noexcept { return step_count_; }
  std::span<Group> param_groups() noexcept { return groups_; }
  std::vector<at::Tensor> parameters() const;
  void add_param_group(ParamGroup group);
  OptimizerState state_dict() const;
  void load_state_dict(const OptimizerState& state);
  void bind_gradients();
  void unbind_gradients();
  bool gradients_bound() const noexcept { return bound_; }

  /** The flat buffers, for code that steps, reduces or clips them as a whole. */
  const std::vector<Chunk>& chunks() const noexcept { return chunks_; }

  /** The update of one chunk as a kernel over raw memory sees it: every array has `numel` elements. */
  struct FlatStep {
    const Group* group = nullptr;
    std::int64_t numel = 0;
    float* params = nullptr;
    float* grads = nullptr;
    std::array<float*, kMaxStates> states = {};
    float* step = nullptr;  ///< the count of steps, which the kernel's caller advances before the update
    double* number = nullptr;  ///< the number beside it (see number_name), likewise
    bool first = false;     ///< the states hold nothing yet
  };
  /**
   * The steps of all chunks, for a caller that updates them himself and then says `flat_step_done`. Empty unless every
   * parameter lies in an arena of float32 on the CPU with bound gradients, all with the same count of steps. The
   * addresses hold while `layout_version` stays.
   */
  std::vector<FlatStep> flat_steps();
  void flat_step_done();
  /** Changes when chunks, their memory or their states were made anew. */
  std::uint64_t layout_version() const noexcept { return layout_version_; }
  /**
   * Says which parameters, by their index through all groups, have a gradient in the bound buffers, for a caller that
   * wrote there behind autograd's back.
   */
  void gradients_written(const std::vector<bool>& given);
  /** Whether the gradient of slot `i` is the chunk's own view. */
  static bool is_bound(const Chunk& chunk, size_t i);
  /** Whether slot `i` was given a gradient since the last zero_grad: PyTorch's "grad is not None". */
  static bool has_gradient(const Chunk& chunk, size_t i);
  /** Makes the state buffers of every chunk (zeros), as the first step would. */
  void allocate_states();
  /** The bytes of these buffers, made or not. */
  size_t state_bytes() const;

 protected:
  /** `defaults` holds the settings of groups that name none. */
  OptimizerImpl(std::string name, Group defaults);
  void add_param_groups(std::vector<ParamGroup> groups);

  /** PyTorch's names of the state tensors that a parameter of this group has, among all_state_names. */
  virtual std::span<const std::string_view> state_names(const Group& group) const = 0;
  /** Every name this optimizer ever writes, at most kMaxStates; the place of a name here is its place in Lists. */
  virtual std::span<const std::string_view> all_state_names() const = 0;
  /** Whether PyTorch's state carries `step`. */
  virtual bool counts_steps() const = 0;
  /** Whether steps are counted in host memory, where an update reads them without waiting for the device. */
  virtual bool counts_on_host() const { return false; }
  /** PyTorch's name of a number that is kept for each parameter beside its count, "" for none; it begins at 1. */
  virtual std::string_view number_name() const { return {}; }
  /** That number after the step of this count. */
  virtual double next_number(const Group&, double /*step*/, double number) const { return number; }
  /** Updates the tensors of `lists`; steps are already advanced. `first`: the states hold nothing yet. */
  virtual void update(const Group& group, Lists& lists, bool first) = 0;
  /** Updates one parameter from a sparse gradient; throws Error unless overridden. */
  virtual void update_sparse(const Group& group, at::Tensor& param, const at::Tensor& grad);
  /** Throws Error when a setting is out of its range. */
  virtual void validate(const Group& group) const = 0;
  /** Names of the settings of a group that this optimizer has, in PyTorch's order. */
  virtual std::span<const std::string_view> setting_names() const = 0;

 private:
  Group resolve(const ParamGroup& asked) const;
  void check_parameter(const at::Tensor& param, size_t group, size_t position) const;
  void build_chunks(size_t group);
  Chunk make_chunk(size_t group, std::vector<Slot> slots, Arena params) const;
  void ensure_states(Chunk& chunk, std::span<const std::string_view> names);
  size_t place_of(std::string_view state) const;
  void follow_moved_parameters();
  void step_chunk(Chunk& chunk);
  void step_lists(Chunk& chunk, std::span<const size_t> due, bool first);
  void bind_chunk(Chunk& chunk);
  Map write_group(const Group& group, int64_t first_index) const;
  Group read_group(const Map& saved, const Group& current, const std::string& where) const;

  std::string name_;
  Group defaults_;
  std::vector<Group> groups_;
  std::vector<Chunk> chunks_;
  int64_t step_count_ = 0;
  bool bound_ = false;
  std::uint64_t layout_version_ = 0;
  Lists lists_;  // these two are reused from step to step
  std::vector<size_t> due_;
};

/** One group of these parameters with the optimizer's settings. */
LEVIN_API std::vector<ParamGroup> one_group(std::vector<at::Tensor> params);

}  // namespace levin::optim
