#include <levin/app/cli.h>
#include <levin/app/study_command.h>
#include <levin/core/console.h>
#include <levin/core/error.h>
#include <levin/tune/storage/memory.h>
#include <levin/tune/study.h>

#include <gtest/gtest.h>

#include <cstdlib>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <unistd.h>

namespace levin::app {
namespace {

using std::chrono::milliseconds;
using tune::FrozenTrial;
using tune::TrialState;

// A study with a trial in each state, at fixed times.
void fill(tune::Study study) {
  ::setenv("TZ", "UTC", 1);
  ::tzset();
  const tune::TimePoint start = std::chrono::system_clock::from_time_t(1767225600);  // 2026-01-01 00:00:00 UTC
  const auto add = [&](TrialState state, std::vector<double> values, double lr, const char* optimizer) {
    FrozenTrial trial;
    trial.state = state;
    trial.values = std::move(values);
    trial.datetime_start = start + std::chrono::minutes(study.trials().size());
    if (tune::is_finished(state)) trial.datetime_complete = *trial.datetime_start + milliseconds(61500);
    trial.params = {{"optimizer.lr", lr}, {"optimizer.name", optimizer}};
    trial.distributions = {{"optimizer.lr", tune::loguniform(1e-5, 1)},
                           {"optimizer.name", tune::choice({"adam", "sgd"})}};
    study.add_trial(trial);
  };
  add(TrialState::complete, {0.5}, 0.123456789, "sgd");
  add(TrialState::complete, {0.96875}, 0.001, "adam");
  add(TrialState::pruned, {}, 0.01, "sgd");
  add(TrialState::fail, {}, 0.9, "sgd");
  add(TrialState::running, {}, 0.02, "adam");
}

class StudyCommand : public ::testing::Test {
 protected:
  std::string ask(const std::string& action, const std::string& format = "table", std::size_t width = 0) {
    std::ostringstream out;
    answer({.action = action, .storage = storage_, .study = "digits", .format = format, .width = width}, out);
    return out.str();
  }

  std::shared_ptr<tune::Storage> storage_ = std::make_shared<tune::MemoryStorage>();
};

TEST_F(StudyCommand, ListsStudies) {
  EXPECT_EQ(ask("list", "json"), "[]\n");
  fill(tune::create_study({.storage = storage_, .study_name = "digits", .direction = tune::Direction::maximize}));
  tune::create_study({.storage = storage_, .study_name = "empty"});
  EXPECT_EQ(ask("list"),
            "study   direction  trials  best_value  started\n"
            "------  ---------  ------  ----------  -------------------\n"
            "digits  maximize        5     0.96875  2026-01-01 00:00:00\n"
            "empty   minimize        0           -  -\n");
  EXPECT_EQ(ask("list", "csv"),
            "study,direction,trials,best_value,started\n"
            "digits,maximize,5,0.96875,2026-01-01 00:00:00\n"
            "empty,minimize,0,,\n");
}

TEST_F(StudyCommand, ShowsOneStudy) {
  fill(tune::create_study({.storage = storage_, .study_name = "digits", .direction = tune::Direction::maximize}));
  EXPECT_EQ(ask("show"),
            "study          digits\n"
            "direction      maximize\n"
            "trials         5\n"
            "complete       2\n"
            "pruned         1\n"
            "fail           1\n"
            "running        1\n"
            "started        2026-01-01 00:00:00\n"
            "last_finished  2026-01-01 00:04:01\n"
            "best_trial     1\n"
            "best_value     0.96875\n"
            "\n"
            "best settings\n"
            "  optimizer.lr = 0.001\n"
            "  optimizer.name = adam\n");
  EXPECT_EQ(ask("show", "json"),
            "[{\"study\": \"digits\", \"direction\": \"maximize\", \"trials\": 5, \"complete\": 2, \"pruned\": 1, "
            "\"fail\": 1, \"running\": 1, \"waiting\": 0, \"started\": \"2026-01-01 00:00:00\", \"last_finished\": "
            "\"2026-01-01 00:04:01\", \"best_trial\": 1, \"best_value\": 0.96875, \"best_params\": {\"optimizer.lr\": "
            "0.001, \"optimizer.name\": \"adam\"}}]\n");
}

TEST_F(StudyCommand, ShowsTheBestTrial) {
  fill(tune::create_study({.storage = storage_, .study_name = "digits", .direction = tune::Direction::maximize}));
  EXPECT_EQ(ask("best"), "trial 1: 0.96875\n  optimizer.lr = 0.001\n  optimizer.name = adam\n");
  EXPECT_EQ(ask("best", "csv"),
            "number,state,value,started,seconds,optimizer.lr,optimizer.name\n"
            "1,complete,0.96875,2026-01-01 00:01:00,61.5,0.001,adam\n");
}

TEST_F(StudyCommand, ListsTrials) {
  fill(tune::create_study({.storage = storage_, .study_name = "digits", .direction = tune::Direction::maximize}));
  EXPECT_EQ(ask("trials"),
            "trial  state       value  time   settings\n"
            "-----  --------  -------  -----  -------------------\n"
            "    0  complete      0.5  01:01  lr=0.12346 name=sgd\n"
            "    1  complete  0.96875  01:01  lr=0.001 name=adam\n"
            "    2  pruned          -  01:01  lr=0.01 name=sgd\n"
            "    3  fail            -  01:01  lr=0.9 name=sgd\n"
            "    4  running         -  -      lr=0.02 name=adam\n");
  std::istringstream narrow(ask("trials", "table", 40));
  for (std::string line; std::getline(narrow, line);) EXPECT_LE(line.size(), 40U);
  EXPECT_NE(ask("trials", "csv").find("0,complete,0.5,2026-01-01 00:00:00,61.5,0.123456789,sgd\n"), std::string::npos);
  EXPECT_NE(ask("trials", "csv").find("4,running,,2026-01-01 00:04:00,,0.02,adam\n"), std::string::npos);
  EXPECT_NE(ask("trials", "json").find("{\"number\": 3, \"state\": \"fail\", \"value\": null, "), std::string::npos);
}

TEST_F(StudyCommand, NothingCompleteIsSaid) {
  tune::create_study({.storage = storage_, .study_name = "digits"});
  EXPECT_THROW(ask("best"), Error);
  EXPECT_NE(ask("show").find("best_value     -\n"), std::string::npos);
  EXPECT_EQ(ask("trials", "csv"), "number,state,value,started,seconds\n");
}

TEST_F(StudyCommand, AWrongNameIsAnError) {
  tune::create_study({.storage = storage_, .study_name = "digit"});
  try {
    ask("show");
    FAIL();
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("\"digit\""), std::string::npos) << error.what();
  }
}

std::string mistake(const std::vector<std::string>& arguments) {
  std::ostringstream out, err;
  EXPECT_EQ(run(arguments, out, err), 2);
  return err.str();
}

TEST_F(StudyCommand, MistakesOnTheCommandLine) {
  EXPECT_EQ(mistake({"study", "lst"}),
            "levin: error: there is no action of levin study named \"lst\"; did you mean \"list\"?\n");
  EXPECT_EQ(mistake({"study", "list", "--storag", "x"}),
            "levin: error: levin study list has no option \"--storag\" (command line); did you mean \"--storage\"?\n");
  EXPECT_EQ(mistake({"study", "list", "--storage"}),
            "levin: error: --storage needs a value (command line); write --storage URL\n");
  EXPECT_EQ(mistake({"study", "list", "--format=jsn", "--storage", "x"}),
            "levin: error: there is no format \"jsn\"; did you mean \"json\"?\n");
  EXPECT_NE(mistake({"study", "list", "--storage", "sqlite:///no/such.db"}).find("there is no such file (no/such.db)"),
            std::string::npos);
}

// The whole way: a study written by the library, read by the command.
TEST_F(StudyCommand, ReadsAStudyOnDisk) {
  namespace fs = std::filesystem;
  const fs::path home = fs::temp_directory_path() / ("levin_study_" + std::to_string(::getpid()));
  const fs::path before = fs::current_path();
  fs::create_directories(home / "runs" / "a");
  fs::current_path(home);
  auto study = tune::create_study({.storage = "sqlite:///runs/a/study.db", .study_name = "on disk"});
  study.optimize(
      [](tune::Trial& trial) {
        return trial.suggest_float("x", 2, 2) + static_cast<double>(trial.suggest_int("n", 1, 1));
      },
      {.n_trials = 3});
  const auto levin = [](const std::vector<std::string>& arguments) {
    std::ostringstream out, err;
    EXPECT_EQ(run(arguments, out, err), 0) << err.str();
    return out.str();
  };
  const std::string best = "trial 0: 3\n  x = 2\n  n = 1\n";
  EXPECT_EQ(levin({"study", "best"}), best) << "the newest study below runs/";
  EXPECT_EQ(levin({"study", "best", "--storage", "sqlite:///runs/a/study.db", "--study", "on disk"}), best);
  EXPECT_EQ(levin({"study", "best", "--storage=runs/a/study.db"}), best) << "a file alone names the storage";
  EXPECT_NE(levin({"study", "list", "--format", "csv"}).find("\non disk,minimize,3,3.0,"), std::string::npos);
  EXPECT_NE(mistake({"study", "show", "--study", "on disc"}).find("did you mean \"on disk\"?"), std::string::npos);

  // A trial from the shell, and what looks after studies.
  levin({"study", "create", "--storage", "s.log", "--study", "s", "--direction", "minimize,maximize", "--metric-names",
         "a,b"});
  levin({"study", "enqueue", "--storage", "s.log", "--param", "x=0.25", "--params", R"({"c": "two words"})"});
  EXPECT_EQ(levin({"ask", "--storage", "s.log", "--study", "s", "--param", "x=uniform(0,1)", "--format", "env"}),
            "number=0\nx='0.25'\nc='two words'\n");
  levin({"tell", "--storage", "s.log", "--number", "0", "--report", "3=0.5"});
  levin({"tell", "--storage", "s.log", "--number", "0", "--value", "1,2.5"});
  EXPECT_NE(mistake({"tell", "--storage", "s.log", "--number", "0", "--value", "1,2"}).find("only a running trial"),
            std::string::npos);
  EXPECT_NE(mistake({"ask", "--storage", "s.log", "--study", "s", "--param", "x=unifrm(0,1)"}).find("\"uniform\""),
            std::string::npos);
  EXPECT_NE(levin({"study", "pareto", "--storage", "s.log", "--format", "yaml"}).find("- number: 0\n"),
            std::string::npos);
  EXPECT_EQ(levin({"study", "copy", "--storage", "s.log", "--to-storage", "t.db", "--to-study", "t"}), "t: 1 trials\n");
  EXPECT_NE(levin({"study", "export", "--storage", "t.db"}).find("number,values_a,values_b,datetime_start"),
            std::string::npos);
  levin({"study", "delete", "--storage", "t.db", "--study", "t"});
  EXPECT_EQ(levin({"study", "list", "--storage", "t.db", "--format", "json"}), "[]\n");
  EXPECT_NE(mistake({"study", "create", "--storage", "s.log", "--study", "s"}).find("exists already"),
            std::string::npos);

  std::ofstream("runs/a/text") << "no database";
  EXPECT_NE(mistake({"study", "list", "--storage", "runs/a/text"}).find("runs/a/text"), std::string::npos);
  fs::current_path(before);
  fs::remove_all(home);
}

// Any program is an objective; workers agree through the study.
TEST_F(StudyCommand, WorkersRunPrograms) {
  namespace fs = std::filesystem;
  const fs::path home = fs::temp_directory_path() / ("levin_worker_" + std::to_string(::getpid()));
  const fs::path before = fs::current_path();
  fs::create_directories(home);
  fs::current_path(home);
  ::setenv("LEVIN_LOG", "error", 1);
  console::set_level(console::Level::error);
  const auto worker = [](std::vector<std::string> arguments) {
    const std::vector<std::string> head = {"worker", "--storage", "w.db", "--study", "s"};
    arguments.insert(arguments.begin(), head.begin(), head.end());
    std::ostringstream out, err;
    const int code = run(arguments, out, err);
    return code == 0 ? std::string() : err.str();
  };
  EXPECT_NE(worker({"--trials", "1"}).find("add --command"), std::string::npos);
  EXPECT_NE(worker({"--command", "train {lrr}", "--param", "lr=uniform(0,1)"}).find("did you mean \"lr\"?"),
            std::string::npos);
  tune::delete_study({.study_name = "s", .storage = "sqlite:///w.db"});
  const std::string program =
      R"(echo working; echo '{"step": 0, "value": 3}'; case {number} in 1) exit 3;; 2) echo nothing;; )"
      R"(*) printf '{"value": %s}' {x} > {checkpoint_dir}/out; cat {checkpoint_dir}/out;; esac)";
  EXPECT_EQ(worker({"--command", program, "--param", "x=uniform(1,2)", "--trials", "3", "--pruner", "none"}), "");
  EXPECT_EQ(worker({"--trials", "4", "--jobs", "2", "--devices", "4,5", "--pruner", "none"}), "");
  const auto study = tune::load_study({.study_name = "s", .storage = "sqlite:///w.db"});
  const auto trials = study.trials();
  ASSERT_EQ(trials.size(), 7u);
  for (const auto& trial : trials) {
    const bool fails = trial.number == 1 || trial.number == 2;
    EXPECT_EQ(trial.state, fails ? TrialState::fail : TrialState::complete);
    EXPECT_EQ(trial.intermediate_values.at(0), 3);
    if (!fails) {
      EXPECT_EQ(trial.value(), trial.params.at("x").as_double());
    }
  }
  EXPECT_NE(trials[1].system_attrs.at("fail_reason").as_string().find("ended with code 3"), std::string::npos);
  EXPECT_NE(trials[2].system_attrs.at("fail_reason").as_string().find("gave no value"), std::string::npos);

  // Ctrl-C while a program runs: it is ended, its trial is in the queue again, and the next worker runs it.
  tune::create_study({.storage = "sqlite:///w.db", .study_name = "t"});
  const int interrupted = std::system((std::string("LEVIN_LOG=error ") + LEVIN_BINARY +
                                       " worker --storage w.db --study t --command 'touch began.{number}; sleep 60; "
                                       "echo {x}' --param 'x=uniform(0,1)' --jobs 2 & "
                                       "i=0; until [ -e began.0 -a -e began.1 ] || [ $i = 600 ]; do sleep 0.1; "
                                       "i=$((i + 1)); done; kill -TERM $!; wait $!")
                                          .c_str());
  EXPECT_NE(interrupted, 0);
  const auto left = tune::load_study({.study_name = "t", .storage = "sqlite:///w.db"}).trials();
  ASSERT_EQ(left.size(), 2u);
  for (const auto& trial : left) {
    EXPECT_EQ(trial.state, TrialState::waiting);
    EXPECT_TRUE(trial.params.contains("x"));
  }
  fs::current_path(before);
  fs::remove_all(home);
  console::set_level(console::Level::info);
}

}  // namespace
}  // namespace levin::app
