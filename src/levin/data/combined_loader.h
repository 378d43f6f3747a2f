// CombinedLoader: several loaders as one.
#pragma once

#include <levin/data/loader.h>

#include <string>
#include <utility>
#include <vector>

namespace levin {

struct CombinedLoaderOptions {
  CombineMode mode = CombineMode::min_size;
  /** Interleaved: how many batches in a row each part gives in its turn; by default one each. */
  std::vector<std::int64_t> weights = {};
};

/**
 * Several loaders as one, for every stage (Lightning's CombinedLoader, and interleaving).
 *
 * The first three modes give a batch of every part at once: the parts' tensors in order, and each part as a Batch by
 * `batch.part(0)` or `batch.part("labelled")`. Names are "part/name", with the index for what has no name of its own;
 * lists of loaders whose tensors have no names give batches without names. In max_size, a part that has ended is
 * empty. A part that max_size_cycle starts again goes through further epochs of its own order.
 *
 * The other two modes give the batches of one part at a time as they are: `dataloader_idx()` says whose it was.
 *
 * Batches an epoch: the smallest or largest number of the parts, or their sum; known where that follows from what the
 * parts know. The state holds the states of all parts. A loader gives
 * up its position to the whole: do not run it on its own meanwhile.
 */
class LEVIN_API CombinedLoader : public DataLoader {
 public:
  using Named = std::pair<std::string, DataLoader>;

  /** Throws Error without parts, for an undefined or doubled one, and for weights that do not fit. */
  explicit CombinedLoader(std::vector<DataLoader> parts, CombinedLoaderOptions options = {});
  /** `CombinedLoader({{"labelled", a}, {"unlabelled", b}}, {.mode = CombineMode::max_size_cycle})` */
  explicit CombinedLoader(std::vector<Named> parts, CombinedLoaderOptions options = {});

  /** The parts' names; empty for a list of loaders. */
  const std::vector<std::string>& names() const;
};

}  // namespace levin
