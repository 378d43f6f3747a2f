// `levin study`: makes, shows, copies and deletes studies, as tables for people and CSV, JSON or YAML for programs.
#pragma once

#include <levin/tune/storage/storage.h>

#include <cstddef>
#include <iosfwd>
#include <string>
#include <vector>

namespace levin::app {

struct StudyQuery {
  std::string action = "list";    ///< list, show, best, trials, pareto
  tune::StorageRef storage = {};  ///< where the studies are
  std::string study = "";         ///< "": the only one
  std::string format = "table";   ///< table, csv, json, yaml
  std::size_t width = 0;          ///< columns to which the lines of tables are cut; 0: not at all
};

/** Answers the query on `out`; throws Error when the study or what is asked of it is not there. */
void answer(const StudyQuery& query, std::ostream& out);

/** The help of `levin study`, or of one of its actions. */
std::string study_help(const std::string& action = "");

/** `levin study` with its arguments; returns the exit code. */
int run_study(const std::vector<std::string>& arguments, std::ostream& out);

}  // namespace levin::app
