// What stands behind a Trial handle: a trial of a study, or one whose parameters are given.
#pragma once

#include <levin/tune/frozen_trial.h>
#include <levin/tune/study_core.h>
#include <levin/tune/trial.h>

#include <filesystem>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>

namespace levin::tune::detail {

class TrialImpl {
 public:
  virtual ~TrialImpl() = default;

  virtual Value suggest(const std::string& name, const Distribution& distribution) = 0;
  virtual void report(const std::vector<double>& values, std::int64_t step, const Map& metrics) = 0;
  virtual bool should_prune() = 0;
  virtual bool stop_requested() const = 0;
  virtual void set_user_attr(const std::string& key, const Value& value) = 0;
  virtual void set_system_attr(const std::string& key, const Value& value) = 0;
  virtual std::filesystem::path checkpoint_dir() = 0;
  virtual FrozenTrial frozen() const = 0;
  virtual std::int64_t number() const = 0;
};

/** A trial of a study. */
class StudyTrial : public TrialImpl, public std::enable_shared_from_this<StudyTrial> {
 public:
  StudyTrial(std::shared_ptr<StudyCore> core, TrialPtr stored);

  Value suggest(const std::string& name, const Distribution& distribution) override;
  void report(const std::vector<double>& values, std::int64_t step, const Map& metrics) override;
  bool should_prune() override;
  bool stop_requested() const override;
  void set_user_attr(const std::string& key, const Value& value) override;
  void set_system_attr(const std::string& key, const Value& value) override;
  std::filesystem::path checkpoint_dir() override;
  FrozenTrial frozen() const override;
  std::int64_t number() const override { return number_; }

  ~StudyTrial() override;

  /** From now on shows samplers and pruners the study as it was at this moment. */
  void show(TrialsSnapshot moment) { moment_ = std::move(moment); }
  /** Lets the sampler prepare; once, before the first suggestion. */
  void begin();
  /** Writes what is still to be written. */
  void flush();
  /** Stores the end of the trial together with what is still to be written. */
  void finish(TrialState state, const std::vector<double>& values, const Map& system_attrs);
  const std::shared_ptr<StudyCore>& core() const { return core_; }

 private:
  StudyView view() const;
  StudyView sampler_view() const;
  Value choose(const std::string& name, const Distribution& distribution);
  const Value* relative(const std::string& name, const Distribution& distribution);
  void take_requests(const StudyView& view);
  void write_soon();
  void write();

  const std::shared_ptr<StudyCore> core_;
  const std::int64_t number_;
  mutable std::mutex mutex_;  // the writer thread flushes from outside
  FrozenTrial frozen_;
  Map fixed_params_;
  std::optional<TrialsSnapshot> moment_;
  bool relative_done_ = false;
  SearchSpace relative_space_;
  Map relative_params_;
  TrialUpdate pending_;
  bool queued_ = false;
};

}  // namespace levin::tune::detail
