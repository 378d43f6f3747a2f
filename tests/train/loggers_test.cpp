// The files of loggers: their bytes, what a killed or resumed run leaves, and what TensorBoard itself reads.
#include <levin/core/error.h>
#include <levin/core/file.h>
#include <levin/train/loggers/csv_logger.h>
#include <levin/train/loggers/event_file.h>
#include <levin/train/loggers/tensorboard_logger.h>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <cstdlib>
#include <filesystem>
#include <fstream>

namespace levin {
namespace {

namespace fs = std::filesystem;

class LoggerFiles : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = (fs::temp_directory_path() / "levin_loggers_XXXXXX").string();
    dir_ = ::mkdtemp(pattern.data());
  }
  void TearDown() override { fs::remove_all(dir_); }

  std::string csv_text(const std::string& version = "v") const {
    return read_file(fs::path(dir_) / "levin_logs" / version / "metrics.csv");
  }
  CSVLoggerOptions csv_options() const { return {.save_dir = dir_, .version = "v"}; }
  TensorBoardLoggerOptions board_options() const { return {.save_dir = dir_, .version = "v"}; }

  std::string dir_;
};

LogPoint at(std::int64_t step, std::int64_t epoch = 0) { return {.step = step, .epoch = epoch}; }

template <class F>
std::string message_of(const F& action) {
  try {
    action();
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

// --- CSV ---

TEST_F(LoggerFiles, CsvRowsWidenWithNewMetrics) {
  CSVLogger logger(csv_options());
  logger->log_metrics({{"loss", 0.5}}, at(0));
  logger->log_metrics({{"a,b", 2}, {"loss", 0.25}}, at(1));
  logger->save();
  EXPECT_EQ(csv_text(), "epoch,step,\"a,b\",loss\n0,0,,0.5\n0,1,2.0,0.25\n");
  logger->log_metrics({{"acc", 1}}, {.step = 7});
  logger->log_metrics({{"epoch", 0.5}, {"loss", 3}}, at(8));
  logger->finalize("success");
  EXPECT_EQ(csv_text(), "epoch,step,\"a,b\",acc,loss\n0,0,,,0.5\n0,1,2.0,,0.25\n,7,,1.0,\n0.5,8,,,3.0\n");
}

TEST_F(LoggerFiles, CsvAddsTheChosenAxisAndThePrefix) {
  auto options = csv_options();
  options.prefix = "run";
  options.x_axis = XAxis::samples;
  CSVLogger logger(options);
  logger->log_metrics({{"loss", 1}}, {.step = 3, .epoch = 1, .batches = 6, .samples = 384, .seconds = 0.5});
  logger->save();
  EXPECT_EQ(csv_text(), "epoch,step,samples,run-loss\n1,3,384,1.0\n");

  options.version = "w";
  options.x_axis = XAxis::seconds;
  CSVLogger timed(options);
  timed->log_metrics({{"loss", 1}}, {.step = 3, .epoch = 1, .batches = 6, .samples = 384, .seconds = 0.5});
  timed->save();
  EXPECT_EQ(csv_text("w"), "epoch,step,seconds,run-loss\n1,3,0.5,1.0\n");
}

TEST_F(LoggerFiles, CsvFlushesAtItsLimitAndAppendsToWhatIsThere) {
  auto options = csv_options();
  options.flush_logs_every_n_steps = 2;
  options.flush_interval = std::chrono::hours(1);
  {
    CSVLogger logger(options);
    for (int i = 0; i < 3; ++i) logger->log_metrics({{"x", i}}, at(i));
    EXPECT_EQ(csv_text(), "epoch,step,x\n0,0,0.0\n0,1,1.0\n");
  }  // destroyed without finalize, as by a kill: the third row is lost, the two before are whole
  {
    std::ofstream torn(fs::path(dir_) / "levin_logs/v/metrics.csv", std::ios::app);
    torn << "0,2,";  // and a row cut short
  }
  CSVLogger again(options);
  again->log_metrics({{"x", 5}}, at(5));
  again->save();
  EXPECT_EQ(csv_text(), "epoch,step,x\n0,0,0.0\n0,1,1.0\n0,5,5.0\n");
}

TEST_F(LoggerFiles, CsvRefusesTheFileOfAnother) {
  fs::create_directories(fs::path(dir_) / "levin_logs/v");
  std::ofstream(fs::path(dir_) / "levin_logs/v/metrics.csv") << "time,value\n1,2\n";
  CSVLogger logger(csv_options());
  EXPECT_NE(message_of([&] {
              logger->log_metrics({{"x", 1}}, at(0));
            }).find("it has other columns"),
            std::string::npos);
  EXPECT_NE(message_of([&] { CSVLogger({.flush_logs_every_n_steps = 0}); }).find("must be at least 1"),
            std::string::npos);
}

TEST_F(LoggerFiles, AResumedRunDropsTheRowsAfterItsCheckpoint) {
  Map saved;
  {
    CSVLogger logger(csv_options());
    logger->log_metrics({{"x", 0}}, at(0));
    logger->save();
    logger->log_metrics({{"x", 1}}, at(1));
    saved = logger->state_dict();  // with one row flushed and one not
    logger->log_metrics({{"x", 2}, {"y", 2}}, at(2));
    logger->finalize("failed");
  }
  CSVLogger resumed(csv_options());
  resumed->load_state_dict(saved);
  resumed->log_metrics({{"x", 2.5}}, at(2));
  resumed->save();
  EXPECT_EQ(csv_text(), "epoch,step,x,y\n0,0,0.0,\n0,1,1.0,\n0,2,2.5,\n");

  auto other = csv_options();
  other.version = "w";  // another folder keeps all of its own
  CSVLogger elsewhere(other);
  elsewhere->log_metrics({{"x", 9}}, at(9));
  elsewhere->load_state_dict(saved);
  elsewhere->save();
  EXPECT_EQ(csv_text("w"), "epoch,step,x\n0,9,9.0\n");
}

TEST_F(LoggerFiles, VersionsCountUp) {
  const CSVLoggerOptions options{.save_dir = dir_, .name = "runs"};
  fs::create_directories(fs::path(dir_) / "runs/version_3");
  fs::create_directories(fs::path(dir_) / "runs/version_x");
  CSVLogger first(options), second(options);
  EXPECT_FALSE(fs::exists(fs::path(dir_) / "runs/version_4"));  // nothing is made before it is needed
  EXPECT_EQ(first->log_dir(), dir_ + "/runs/version_4");
  EXPECT_EQ(second->version(), "version_5");
  EXPECT_EQ(CSVLogger({.save_dir = dir_, .name = "", .version = 7})->log_dir(), dir_ + "/version_7");
  EXPECT_EQ(TensorBoardLogger({.save_dir = dir_, .version = "a", .sub_dir = "b"})->log_dir(), dir_ + "/levin_logs/a/b");
  EXPECT_NE(message_of([] { CSVLogger({.version = -1}); }).find("at least 0"), std::string::npos);
}

TEST_F(LoggerFiles, HyperparametersMerge) {
  CSVLogger logger(csv_options());
  logger->log_hyperparams({{"lr", 0.1}, {"layers", 2}});
  logger->log_hyperparams({{"lr", 0.2}});
  EXPECT_EQ(read_file(fs::path(dir_) / "levin_logs/v/hparams.yaml"), "lr: 0.2\nlayers: 2\n");
}

// --- TensorBoard ---

std::string hex(std::string_view bytes) {
  std::string out;
  char digits[3];
  for (const unsigned char byte : bytes) {
    std::snprintf(digits, sizeof digits, "%02x", byte);
    out += digits;
  }
  return out;
}

TEST(EventFile, ChecksumsAndFramesAreTensorFlows) {
  // CRC-32C of "123456789" is 0xe3069283 (RFC 3720); masked by rotating 15 bits and adding a constant.
  EXPECT_EQ(tensorboard::masked_crc32c("123456789"), ((0xe3069283u >> 15) | (0xe3069283u << 17)) + 0xa282ead8u);
  // As tensorboard 2.21 serializes Event(wall_time=1.5, step=3, summary=[Value(tag="loss", simple_value=0.25)]).
  EXPECT_EQ(hex(tensorboard::scalar_event(1.5, 3, "loss", 0.25f)),
            "09000000000000f83f10032a0d0a0b0a046c6f7373150000803e");
  EXPECT_EQ(hex(tensorboard::version_event(1.5)), "09000000000000f83f1a0d627261696e2e4576656e743a32");
}

TEST(EventFile, ValidPrefixStopsAtDamage) {
  const std::string one = tensorboard::record("hello"), two = tensorboard::record("");
  const std::string file = one + two;
  EXPECT_EQ(tensorboard::valid_prefix(file), file.size());
  for (std::size_t cut = 0; cut < file.size(); ++cut) {
    EXPECT_EQ(tensorboard::valid_prefix(std::string_view(file).substr(0, cut)), cut < one.size() ? 0 : one.size());
  }
  for (std::size_t i = 0; i < one.size(); ++i) {
    std::string damaged = file;
    damaged[i] ^= 1;
    EXPECT_EQ(tensorboard::valid_prefix(damaged), 0u) << i;
  }
}

std::string python() {
  if (const char* chosen = std::getenv("LEVIN_ORACLE_PYTHON")) return chosen;
  const std::string local = std::string(LEVIN_SOURCE_DIR) + "/.bench-venv/bin/python";
  return fs::exists(local) ? local : "";
}

class TensorBoardInterop : public LoggerFiles {
 protected:
  void SetUp() override {
    LoggerFiles::SetUp();
    if (python().empty() || std::system((python() + " -c 'import tensorboard' 2>/dev/null").c_str()) != 0) {
      GTEST_SKIP() << "needs Python with tensorboard";
    }
  }
  // What TensorBoard's own reader sees in the run's folder.
  nlohmann::json read_by_tensorboard() const {
    const std::string out = dir_ + "/seen.json";
    const std::string command = "PYTHONDONTWRITEBYTECODE=1 " + python() + " " + LEVIN_SOURCE_DIR +
                                "/tests/train/tensorboard_interop.py " + dir_ + "/levin_logs/v > " + out;
    EXPECT_EQ(std::system(command.c_str()), 0);
    return nlohmann::json::parse(read_file(out));
  }
};

TEST_F(TensorBoardInterop, ReadsScalarsTextsAndHyperparameters) {
  TensorBoardLogger logger(board_options());
  logger->log_hyperparams({{"lr", 0.1},
                           {"layers", 2},
                           {"act", "relu"},
                           {"amp", true},
                           {"optimizer", Map{{"name", "Adam"}, {"betas", List{0.9, 0.999}}}},
                           {"none", nullptr}});
  for (int step = 0; step < 300; ++step) logger->log_metrics({{"loss", 1.0 / (step + 1)}}, at(step, step / 100));
  logger->log_metrics({{"nan", std::nan("")}, {"hp_metric", 0.75}}, {.step = 300});
  logger->log_text("note", "**bold**, ümlaut", 5);
  logger->finalize("success");

  const auto seen = read_by_tensorboard();
  ASSERT_EQ(seen["scalars"]["loss"].size(), 300u);
  EXPECT_EQ(seen["scalars"]["loss"][0], nlohmann::json({0, 1.0}));
  EXPECT_EQ(seen["scalars"]["loss"][299][0], 299);
  EXPECT_FLOAT_EQ(seen["scalars"]["loss"][299][1].get<float>(), 1.0f / 300);
  EXPECT_EQ(seen["scalars"]["epoch"].size(), 300u);
  EXPECT_EQ(seen["scalars"]["hp_metric"], nlohmann::json({{0, -1.0}, {300, 0.75}}));
  EXPECT_EQ(seen["scalars"]["nan"][0][1], "nan");
  EXPECT_EQ(seen["texts"]["note/text_summary"], "**bold**, ümlaut");
  EXPECT_EQ(seen["hparams"]["lr"], 0.1);
  EXPECT_EQ(seen["hparams"]["layers"], 2.0);
  EXPECT_EQ(seen["hparams"]["act"], "relu");
  EXPECT_EQ(seen["hparams"]["amp"], true);
  EXPECT_EQ(seen["hparams"]["optimizer/name"], "Adam");
  EXPECT_EQ(seen["hparams"]["optimizer/betas"], "[0.9, 0.999]");
  EXPECT_EQ(seen["hparam_types"]["lr"], "DATA_TYPE_FLOAT64");
  EXPECT_EQ(seen["hparam_types"]["amp"], "DATA_TYPE_BOOL");
  EXPECT_EQ(seen["hparam_metrics"], nlohmann::json({"hp_metric"}));
  EXPECT_EQ(seen["status"], "STATUS_SUCCESS");
}

TEST_F(TensorBoardInterop, AResumedRunDropsTheEventsAfterItsCheckpoint) {
  Map saved;
  {
    TensorBoardLogger logger(board_options());
    for (int i = 0; i < 3; ++i) logger->log_metrics({{"x", i}}, at(i));
    saved = logger->state_dict();
    for (int i = 3; i < 5; ++i) logger->log_metrics({{"x", i}}, at(i));
    logger->save();
  }
  for (int attempt = 0; attempt < 2; ++attempt) {  // the second attempt drops what the first one wrote
    TensorBoardLogger resumed(board_options());
    resumed->load_state_dict(saved);
    for (int i = 3; i < 5; ++i) resumed->log_metrics({{"x", 10 * i}}, at(i));
    resumed->finalize("success");
  }
  EXPECT_EQ(read_by_tensorboard()["scalars"]["x"],
            nlohmann::json({{0, 0.0}, {1, 1.0}, {2, 2.0}, {3, 30.0}, {4, 40.0}}));
}

TEST_F(LoggerFiles, TensorBoardFlushesAtItsLimit) {
  auto options = board_options();
  options.max_queue = 4;
  options.flush_interval = std::chrono::hours(1);
  options.x_axis = XAxis::samples;
  TensorBoardLogger logger(options);
  logger->log_metrics({{"x", 1}}, {.step = 1, .samples = 64});
  logger->log_metrics({{"x", 2}}, {.step = 2, .samples = 128});
  EXPECT_FALSE(fs::exists(logger->event_file()));
  logger->log_metrics({{"x", 3}, {"y", 3}}, {.step = 3, .samples = 192});
  const std::string file = read_file(logger->event_file());
  EXPECT_EQ(tensorboard::valid_prefix(file), file.size());
  // The axis stands in the event's step: varint 192 is c0 01.
  EXPECT_NE(hex(file).find("10c0012a"), std::string::npos);
  logger->log_metrics({{"x", 4}}, {.step = 4, .samples = 256});
  EXPECT_EQ(read_file(logger->event_file()), file);
  logger->finalize("failed");
  EXPECT_GT(read_file(logger->event_file()).size(), file.size());
}

}  // namespace
}  // namespace levin
