// A SLURM batch job that is about to reach its time limit: saved, requeued, and taken up again.
#pragma once

#include <levin/core/export.h>

#include <optional>
#include <string>

namespace levin {

/** The batch job that this process runs in. */
struct LEVIN_API SlurmJob {
  std::string id;  ///< as scontrol takes it: "123", or "123_4" for the element of an array

  /** From SLURM_JOB_ID and SLURM_ARRAY_*; nothing outside a job and in interactive ones (job name bash, interactive).
   */
  static std::optional<SlurmJob> current();
  /** Runs `scontrol requeue <id>`; false, with a warning, when that fails. */
  bool requeue() const;
};

/** The next free `hpc_ckpt_<N>.ckpt` in `folder`. */
LEVIN_API std::string next_hpc_checkpoint(const std::string& folder);
/** The `hpc_ckpt_<N>.ckpt` with the highest N in `folder`; "" when there is none. */
LEVIN_API std::string last_hpc_checkpoint(const std::string& folder);

}  // namespace levin
