// Workers are killed at random moments: what they were told is done stays done, what they left is found and run again.
#include <levin/tune/storage/storage.h>
#include <levin/tune/study.h>

#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <random>
#include <set>
#include <string>
#include <thread>
#include <tune/postgres_server.h>
#include <tune/scratch.h>
#include <vector>

namespace levin::tune {
namespace {

constexpr double kInterval = 0.25;

// A worker process whose output, a line for each trial that it was told is done, is read here.
class Toiler {
 public:
  explicit Toiler(const std::string& url) {
    int ends[2];
    if (::pipe(ends) != 0) return;
    process_ = ::fork();
    if (process_ == 0) {
      ::dup2(ends[1], 1);
      ::close(ends[0]);
      ::close(ends[1]);
      const std::string interval = std::to_string(kInterval);
      ::execl(LEVIN_TUNE_WORKER, LEVIN_TUNE_WORKER, "toil", url.c_str(), "s", interval.c_str(), nullptr);
      ::_exit(127);
    }
    ::close(ends[1]);
    output_ = ends[0];
  }

  // Reads what was printed so far; with `all`, until the end.
  void listen(bool all) {
    char buffer[4096];
    pollfd wait{output_, POLLIN, 0};
    while (all || ::poll(&wait, 1, 0) > 0) {
      const auto got = ::read(output_, buffer, sizeof buffer);
      if (got <= 0) return;
      text_.append(buffer, static_cast<std::size_t>(got));
    }
  }

  void kill_now(std::set<std::int64_t>& done) {
    ::kill(process_, SIGKILL);
    int status = 0;
    ::waitpid(process_, &status, 0);
    EXPECT_TRUE(WIFSIGNALED(status)) << "a worker ended by itself with code " << WEXITSTATUS(status);
    listen(true);
    ::close(output_);
    for (std::size_t start = 0, end; (end = text_.find('\n', start)) != std::string::npos; start = end + 1) {
      EXPECT_TRUE(done.insert(std::stoll(text_.substr(start, end - start))).second) << "a trial was done twice";
    }
  }

 private:
  pid_t process_ = 0;
  int output_ = -1;
  std::string text_;
};

void kill_workers(const std::string& url, int kills) {
  std::mt19937 random(7);
  std::set<std::int64_t> done;
  create_study({.storage = url, .study_name = "s"});
  {
    std::vector<Toiler> workers;
    for (int i = 0; i < 4; ++i) workers.emplace_back(url);
    std::this_thread::sleep_for(std::chrono::milliseconds(300));
    for (int i = 0; i < kills; ++i) {
      std::this_thread::sleep_for(std::chrono::milliseconds(random() % 40));
      Toiler& victim = workers[random() % workers.size()];
      victim.kill_now(done);
      victim = Toiler(url);
      for (auto& worker : workers) worker.listen(false);
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(200));
    for (auto& worker : workers) worker.kill_now(done);
  }
  // One that stays finds what the others left.
  std::this_thread::sleep_for(std::chrono::duration<double>(5 * kInterval));
  auto study = load_study(
      {.study_name = "s",
       .storage = url,
       .heartbeat = HeartbeatOptions{.interval = kInterval, .grace_period = 4 * kInterval, .max_retry = -1}});
  const auto unfinished = [&] { return study.trials({TrialState::running, TrialState::waiting}).size(); };
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  for (std::size_t round = 0; round == 0 || unfinished() > 0; ++round) {
    ASSERT_LT(std::chrono::steady_clock::now(), deadline) << unfinished() << " trials are unfinished";
    auto trial = study.ask();
    study.tell(trial, 2 * trial.suggest_float("x", 0, 1));
    if (unfinished() > 0) std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }

  const auto trials = study.trials();
  std::set<std::int64_t> retried;
  std::size_t n_complete = 0, n_failed = 0;
  for (std::size_t i = 0; i < trials.size(); ++i) {
    const auto& trial = trials[i];
    EXPECT_EQ(trial.number, static_cast<std::int64_t>(i));
    if (done.contains(trial.number)) {
      EXPECT_EQ(trial.state, TrialState::complete) << trial.number;
    }
    if (trial.state == TrialState::complete) {
      ++n_complete;
      EXPECT_EQ(trial.values.at(0), 2 * trial.params.at("x").as_double());
    } else {
      ++n_failed;
      EXPECT_EQ(trial.state, TrialState::fail);
    }
    const auto history = retry_history(trial);
    if (!history.empty()) {
      EXPECT_TRUE(retried.insert(history.back()).second) << "run again twice: " << history.back();
    }
  }
  EXPECT_EQ(retried.size(), n_failed) << "each trial that was left is run again once";
  EXPECT_GE(done.size(), static_cast<std::size_t>(kills) / 4);
  EXPECT_GT(n_failed, 0u);
  for (const auto number : done) EXPECT_LT(static_cast<std::size_t>(number), trials.size());
  std::printf(
      "%s: %d kills, %zu trials, %zu complete (%zu were reported so before the kills), %zu left and run again\n",
      url.substr(0, url.find(':')).c_str(), kills + 4, trials.size(), n_complete, done.size(), n_failed);
}

// LEVIN_TEST_KILLS asks for more than fit into a quick run.
int kills(int fallback) {
  const char* text = std::getenv("LEVIN_TEST_KILLS");
  return text == nullptr ? fallback : std::atoi(text);
}

TEST(KilledWorkers, LoseNothingOnSqlite) { kill_workers("sqlite:///" + scratch_file("kill.db"), kills(40)); }

TEST(KilledWorkers, LoseNothingInAJournal) { kill_workers("journal:///" + scratch_file("kill.log"), kills(40)); }

TEST(KilledWorkers, LoseNothingOnPostgres) {
  if (!PostgresServer::installed()) GTEST_SKIP() << "PostgreSQL is not installed: apt-get install postgresql";
  kill_workers(PostgresServer::instance().fresh_url(), kills(20));
}

}  // namespace
}  // namespace levin::tune
