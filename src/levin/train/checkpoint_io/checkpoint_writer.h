// CheckpointWriter: brings states to the disk, at once or behind the training's back.
#pragma once

#include <levin/core/export.h>
#include <levin/train/checkpoint_io/pickle_value.h>
#include <levin/train/checkpoint_io/torch_file.h>

#include <exception>
#include <filesystem>
#include <thread>
#include <vector>

namespace levin {

/** Where one state goes, and what follows once it lies there whole. */
struct SaveJob {
  std::vector<std::filesystem::path> paths;
  std::filesystem::path link = {};                      ///< a symbolic link to `link_to`; a copy where links cannot be
  std::filesystem::path link_to = {};                   ///< the newest file
  std::vector<std::filesystem::path> remove_then = {};  ///< files that the new one replaces
};

/**
 * Writes states, one after the other.
 *
 * Asynchronous, `save` copies all tensors into memory that is used again and again, and returns; a thread writes the
 * copy. So a file holds the state of the moment of `save`, whatever the training does meanwhile. One job is under way
 * at most: `save` first waits for the one before. Files replace others atomically, and old ones go when all new ones
 * are whole, so after a crash or a full disk the previous state is there.
 */
class LEVIN_API CheckpointWriter {
 public:
  explicit CheckpointWriter(bool async = false) : async_(async) {}
  CheckpointWriter(const CheckpointWriter&) = delete;
  CheckpointWriter& operator=(const CheckpointWriter&) = delete;
  /** Waits for the job under way; its failure is a warning then. */
  ~CheckpointWriter();

  /**
   * Asynchronous, gets memory for states of this size on a thread, so that the first `save` does not wait for the
   * system to find it; a larger state is still right. Throws Error when there is no memory.
   */
  void prepare(size_t bytes);
  /**
   * Saves `state`. Throws Error for a state that cannot be written. A failure of the disk is thrown by the next
   * `wait`, which is also the beginning of the next `save`.
   */
  void save(const PickleValue& state, SaveJob job);
  /** Waits until the last job is done; throws its error, once. */
  void wait();
  /** True while a job of any writer in this process is going to write `path`. */
  static bool is_pending(const std::filesystem::path& path);

 private:
  void run(const TorchFileImage& image, const SaveJob& job) noexcept;

  bool async_;
  StagingBuffer staging_;
  std::thread worker_;  // gets memory, or writes a job
  std::exception_ptr error_;
};

}  // namespace levin
