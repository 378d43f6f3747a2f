// levin worker in a study of levin tune: trains what the study asks for.
#include <levin/app/engine/commands.h>
#include <levin/app/engine/tabular_search.h>
#include <levin/core/interrupt.h>

namespace levin::app {

int run_join(const Request& request) {
  const JoinRequest& join = *request.join;
  TabularSearch search(request.config, searched_settings(request.config, {}));
  auto study = search.open_study(join.storage, join.study_name, join.checkpoint_dir);
  for (std::size_t slot = 0; slot < join.devices.size(); ++slot) device_of(join.devices, slot);
  work_on(study, join.work, [&](tune::Trial& trial, std::size_t slot) {
    return search.run(trial, device_of(join.devices, slot));
  });
  return interrupt_requested() ? kInterrupted : 0;
}

}  // namespace levin::app
