#include <levin/app/cli.h>
#include <levin/app/command.h>
#include <levin/core/file.h>
#include <levin/core/text.h>

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <unistd.h>

namespace levin::app {
namespace {

namespace fs = std::filesystem;

struct Result {
  int code = 0;
  std::string out, err;
};

Result levin(const std::vector<std::string>& arguments) {
  std::ostringstream out, err;
  Result result;
  result.code = run(arguments, out, err);
  result.out = out.str();
  result.err = err.str();
  return result;
}

// The message of a command that must fail as a mistake of the user does: one paragraph, nothing else.
std::string mistake(const std::vector<std::string>& arguments) {
  const auto result = levin(arguments);
  EXPECT_EQ(result.code, 2) << result.err;
  EXPECT_EQ(result.out, "");
  EXPECT_EQ(result.err.rfind("levin: error: ", 0), 0U) << result.err;
  EXPECT_EQ(result.err.find('\n'), result.err.size() - 1) << result.err;
  return result.err.substr(14, result.err.size() - 15);
}

class CommandLine : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = fs::temp_directory_path() / ("levin_cli_" + std::to_string(::getpid()));
    fs::create_directories(folder_);
    write("data.csv", "a,target\n1,2\n");
  }
  void TearDown() override {
    fs::remove_all(folder_);
    for (const char* name : {"LEVIN_ENGINE", "LEVIN_TEST_REQUEST", "LEVIN_TEST_ENGINE_VERSION"}) ::unsetenv(name);
  }

  std::string write(const std::string& name, const std::string& text) {
    std::ofstream(folder_ / name) << text;
    return (folder_ / name).string();
  }
  std::string path(const std::string& name) const { return (folder_ / name).string(); }

  fs::path folder_;
};

// The help texts are kept in tests/golden/app; `levin fit --help > tests/golden/app/fit.txt` after a wanted change.
TEST_F(CommandLine, HelpIsTheOneOnFile) {
  const fs::path golden = fs::path(LEVIN_SOURCE_DIR) / "tests/golden/app";
  EXPECT_EQ(levin({"--help"}).out, read_file(golden / "overview.txt"));
  EXPECT_EQ(levin({}).out, levin({"-h"}).out);
  for (const char* command : {"fit", "test", "predict", "tune", "study", "worker", "ask", "tell"}) {
    const auto help = levin({command, "--help"});
    EXPECT_EQ(help.code, 0);
    EXPECT_EQ(help.out, read_file(golden / (std::string(command) + ".txt"))) << command;
    EXPECT_EQ(help.out, levin({"help", command}).out);
    std::istringstream lines(help.out);
    for (std::string line; std::getline(lines, line);) EXPECT_LE(display_width(line), 80U) << line;
  }
}

TEST_F(CommandLine, VersionIsTheProjects) {
  EXPECT_EQ(levin({"--version"}).out.rfind("levin ", 0), 0U);
  EXPECT_EQ(levin({"--version"}).code, 0);
}

TEST_F(CommandLine, FilesAndOptionsCountFromLeftToRight) {
  const auto a = write("a.yaml", "optimizer: {lr: 0.1, name: sgd}\nseed: 5\n");
  const auto b = write("b.yaml", "optimizer.lr: 0.2\n");
  const auto has = [&](const std::vector<std::string>& arguments, const std::string& piece) {
    std::vector<std::string> all = {"fit", "--print-config"};
    all.insert(all.end(), arguments.begin(), arguments.end());
    const auto out = levin(all).out;
    EXPECT_NE(out.find(piece), std::string::npos) << piece << "\n" << out;
  };
  has({}, "\n  lr: 0.003\n");
  has({"--config", a}, "\n  lr: 0.1\n");
  has({"--config", a, "--config=" + b}, "\n  lr: 0.2\n");
  has({"--config", a, "--config", b}, "\n  name: sgd\n");
  has({"--config", b, "--config", a}, "\n  lr: 0.1\n");
  has({"--config", a, "--optimizer.lr=0.3"}, "\n  lr: 0.3\n");
  has({"--optimizer.lr", "0.3", "--config", a}, "\n  lr: 0.1\n");
  has({"--optimizer.lr", "0.3", "--optimizer.lr", "4e-1"}, "\n  lr: 0.4\n");
  has({"--config", a}, "seed: 5\n");
}

TEST_F(CommandLine, PrintedConfigReadsBackToItself) {
  for (const char* command : {"fit", "test", "predict", "tune"}) {
    std::vector<std::string> arguments = {command,           "--print-config",   "--data",
                                          "my data: #1.csv", "--trainer.device", "cpu"};
    if (std::string(command) == "tune") {
      arguments.insert(arguments.end(), {"--optimizer.lr", "loguniform(1e-5, 1e-1)", "--tune.timeout", "10m",
                                         "--model.activation=choice(relu, \"gelu\")"});
    }
    if (std::string(command) == "fit") {
      arguments.insert(arguments.end(), {"--model.widths", "64,32", "--data.drop_columns", "id,a b", "--model.skip",
                                         "--trainer.max_time", "1h30m", "--target", "null and void"});
    }
    const auto first = levin(arguments);
    ASSERT_EQ(first.code, 0) << first.err;
    const auto file = write("printed.yaml", first.out);
    const auto second = levin({command, "--config", file, "--print-config"});
    EXPECT_EQ(second.out, first.out) << second.err;
  }
}

// What is printed is what is searched, so that it can be edited and run again.
TEST_F(CommandLine, PrintedConfigOfTuneHoldsItsSpace) {
  const auto first = levin({"tune", "--print-config", "--optimizer.name", "sgd"});
  EXPECT_NE(first.out.find("  name: sgd\n  lr: \"loguniform(3e-04, 0.03)\"\n"), std::string::npos) << first.out;
  EXPECT_NE(first.out.find("  skip: \"choice(false, true)\"\n"), std::string::npos) << first.out;
  const auto file = write("space.yaml", first.out);
  EXPECT_EQ(levin({"tune", "--print-config", "--config", file}).out, first.out);
}

TEST_F(CommandLine, AFileMayHoldTheSettingsOfSeveralCommands) {
  const auto file = write("all.yaml", "data: x.csv\nout: p.csv\ntune:\n  trials: 3\noptimizer.lr: 0.1\n");
  for (const char* command : {"fit", "test", "predict", "tune"}) {
    EXPECT_EQ(levin({command, "--config", file, "--print-config"}).code, 0) << command;
  }
  EXPECT_EQ(mistake({"fit", "--tune.trials", "3"}),
            "levin fit has no setting \"tune.trials\" (command line); other commands have it; see levin fit --help");
  const auto wrong = write("wrong.yaml", "tune:\n  trails: 3\n");
  EXPECT_EQ(mistake({"tune", "--config", wrong}),
            "there is no setting \"tune.trails\" (" + wrong + ":2:3); did you mean \"tune.trials\"?");
}

TEST_F(CommandLine, MistakesAreOneParagraphAndCode2) {
  EXPECT_EQ(mistake({"fot"}), "there is no command \"fot\"; did you mean \"fit\"?");
  EXPECT_EQ(mistake({"--data", "x"}), "the first argument must be a command: got \"--data\"; such as levin fit --data");
  EXPECT_EQ(mistake({"fit", "x.csv"}), "unexpected argument: got \"x.csv\"; write --data x.csv");
  EXPECT_EQ(mistake({"fit", "--lr", "1"}), "there is no setting \"lr\" (command line); did you mean \"optimizer.lr\"?");
  EXPECT_EQ(mistake({"fit", "--optimizer.lr"}),
            "--optimizer.lr needs a value (command line); it takes a number above 0");
  EXPECT_EQ(mistake({"fit", "--optimizer.lr", "-1"}),
            "optimizer.lr must be a number above 0: got \"-1\" (command line); the default is 0.003");
  EXPECT_EQ(mistake({"fit", "--optimizer.name=adma"}),
            "optimizer.name has no such choice: got \"adma\" (command line); did you mean \"adam\"?");
  EXPECT_EQ(mistake({"fit", "--optimizer", "adam"}).rfind("\"optimizer\" is a group of settings", 0), 0U);
  EXPECT_EQ(mistake({"fit"}), "levin fit needs --data FILE; see levin fit --help");
  EXPECT_EQ(mistake({"fit", "--data", path("data.csv")}), "levin fit needs --target COLUMN; see levin fit --help");
  EXPECT_EQ(mistake({"test", "--data", path("data.csv")}), "levin test needs --ckpt_path FILE; see levin test --help");
  EXPECT_EQ(mistake({"fit", "--data", path("dat.csv"), "--target", "t"}),
            "there is no such file (" + path("dat.csv") + "); did you mean \"" + path("data.csv") + "\"?");
  EXPECT_NE(mistake({"fit", "--config", path("no.yaml")}).find("there is no such file"), std::string::npos);
  EXPECT_NE(mistake({"fit", "--config", write("bad.yaml", "a: [1\n")}).find("the file is not valid YAML"),
            std::string::npos);
  EXPECT_NE(mistake({"fit", "--data", path("data.csv"), "--target", "t", "--data.val_fraction=0.6",
                     "--data.test_fraction=0.4"})
                .find("leave no rows to train on"),
            std::string::npos);
}

TEST_F(CommandLine, DistributionsAreForTuneAndMustFit) {
  EXPECT_EQ(mistake({"fit", "--optimizer.lr", "loguniform(1e-5,1e-1)"}),
            "optimizer.lr is a distribution, which only levin tune can search: got \"loguniform(1e-5,1e-1)\" (command "
            "line); give a value, or run levin tune");
  EXPECT_EQ(mistake({"tune", "--optimizer.lr", "logunifrm(1,2)"}),
            "optimizer.lr: unknown distribution: got logunifrm (command line); did you mean \"loguniform\"?");
  EXPECT_NE(mistake({"tune", "--model.dropout", "uniform(0,1)"}).find("model.dropout must be a number in [0, 1)"),
            std::string::npos);
  EXPECT_NE(mistake({"tune", "--model.layers", "uniform(1,3)"}).find("use randint, lograndint or choice"),
            std::string::npos);
  EXPECT_NE(mistake({"tune", "--model.norm", "choice(batch, leyer)"}).find("did you mean \"layer\"?"),
            std::string::npos);
  EXPECT_EQ(mistake({"tune", "--data", path("data.csv"), "--target", "t", "--tune.sampler", "grid", "--optimizer.lr",
                     "loguniform(1e-5,1e-1)"}),
            "a grid cannot cover the values of optimizer.lr: got loguniform(1e-05, 0.1); give it choice(A,B,...) or "
            "quniform(LOW,HIGH,STEP), or take another tune.sampler");
  const auto tune = [&](const std::string& setting, const std::string& value, const std::string& options) {
    return mistake({"tune", "--data", path("data.csv"), "--target", "t", "--" + setting, value,
                    "--" + setting + "_options", options, "--optimizer.lr", "loguniform(1e-5,1e-1)"});
  };
  EXPECT_EQ(
      tune("tune.sampler", "nsga2", "populationsize=20"),
      "sampler nsga2 has no such option: got \"populationsize\" (sampler nsga2); did you mean \"population_size\"?");
  EXPECT_NE(tune("tune.sampler", "nsga2", "population_size=1").find("population_size must be at least 2"),
            std::string::npos);
  EXPECT_NE(tune("tune.sampler", "tpe", "group").find("an option is written NAME=VALUE"), std::string::npos);
  EXPECT_NE(tune("tune.pruner", "hyperband", "max_resource=many").find("a number of steps or \"auto\""),
            std::string::npos);
  EXPECT_NE(tune("tune.pruner", "threshold", "n_warmup_steps=1").find("it needs lower, upper or both"),
            std::string::npos);
  // What cannot be searched takes no distribution.
  EXPECT_NE(mistake({"tune", "--data.val_fraction", "uniform(0.1,0.2)"}).find("must be a number in [0, 1)"),
            std::string::npos);
}

TEST_F(CommandLine, TheEngineGetsTheWholeRequest) {
  ::setenv("LEVIN_ENGINE", LEVIN_RECORDING_ENGINE, 1);
  ::setenv("LEVIN_TEST_REQUEST", path("request").c_str(), 1);
  const auto yaml = write("c.yaml", "optimizer:\n  lr: 0.25\n");
  const auto result = levin({"fit", "--config", yaml, "--data=" + path("data.csv"), "--target", "target"});
  EXPECT_EQ(result.code, 7) << result.err;
  std::istringstream lines(read_file(path("request")));
  std::string command, config, provenance, arguments, executable;
  std::getline(lines, command);
  std::getline(lines, config);
  std::getline(lines, provenance);
  std::getline(lines, arguments);
  std::getline(lines, executable);
  EXPECT_EQ(command, "fit");
  EXPECT_NE(config.find("\"optimizer\": {\"name\": \"adamw\", \"lr\": 0.25, "), std::string::npos) << config;
  EXPECT_NE(config.find("\"target\": \"target\""), std::string::npos) << config;
  EXPECT_EQ(config.find("\"tune\""), std::string::npos) << "fit has no tune settings";
  EXPECT_EQ(provenance,
            "{\"target\": \"command line\", \"data.path\": \"command line\", \"optimizer.lr\": \"" + yaml + ":2:7\"}");
  EXPECT_EQ(arguments, "fit|--config|" + yaml + "|--data=" + path("data.csv") + "|--target|target|");
  EXPECT_TRUE(fs::exists(executable));
}

TEST_F(CommandLine, ErrorsOfTheEngineAreReported) {
  ::setenv("LEVIN_ENGINE", LEVIN_RECORDING_ENGINE, 1);
  const std::vector<std::string> fit = {"fit", "--data", path("data.csv"), "--target", "target", "--seed"};
  const auto with_seed = [&](const std::string& seed) {
    auto arguments = fit;
    arguments.push_back(seed);
    return arguments;
  };
  EXPECT_EQ(mistake(with_seed("13")), "an unlucky seed: got 13; take another");
  const auto broken = levin(with_seed("14"));
  EXPECT_EQ(broken.code, 1);
  EXPECT_EQ(broken.err, "levin: error: something broke\n");
  ::setenv("LEVIN_TEST_ENGINE_VERSION", "999", 1);
  EXPECT_NE(mistake(with_seed("1")).find("the training part is of another build"), std::string::npos);
  ::setenv("LEVIN_ENGINE", path("data.csv").c_str(), 1);
  EXPECT_NE(mistake(with_seed("1")).find("the training part cannot be opened"), std::string::npos);
}

// The process itself: exit codes and streams, and no LibTorch in it.
TEST_F(CommandLine, TheBinaryAnswersWithoutLibTorch) {
  const auto shell = [&](const std::string& line) {
    const int status = std::system((std::string(LEVIN_BINARY) + " " + line).c_str());
    return WEXITSTATUS(status);
  };
  const auto out = path("out"), err = path("err");
  EXPECT_EQ(shell("--help >" + out + " 2>" + err), 0);
  EXPECT_EQ(read_file(out), levin({"--help"}).out);
  EXPECT_EQ(shell("fot >" + out + " 2>" + err), 2);
  EXPECT_EQ(read_file(out), "");
  EXPECT_EQ(read_file(err), "levin: error: there is no command \"fot\"; did you mean \"fit\"?\n");
  const int status = std::system(("LD_TRACE_LOADED_OBJECTS=1 " + std::string(LEVIN_BINARY) + " >" + out).c_str());
  ASSERT_EQ(WEXITSTATUS(status), 0);
  const auto libraries = read_file(out);
  EXPECT_NE(libraries.find("liblevin_core"), std::string::npos);
  EXPECT_EQ(libraries.find("libtorch"), std::string::npos) << libraries;
}

}  // namespace
}  // namespace levin::app
