#include <levin/core/json.h>
#include <levin/dist/ray_jobs.h>
#include <levin/dist/ray_workers.h>

#include <gtest/gtest.h>

#include <dist/http_server.h>

#include <algorithm>
#include <chrono>
#include <functional>
#include <atomic>
#include <map>
#include <mutex>
#include <set>
#include <string>
#include <vector>
#include <thread>

namespace levin::dist {
namespace {

using Response = HttpServer::Response;

std::string message_of(const std::function<void()>& call) {
  try {
    call();
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

// What each of these answers is for whoever asked for a job's state.
std::string message_for(Response response) {
  HttpServer server([&](const HttpServer::Request&) { return response; });
  const RayJobs jobs({.base_url = server.url()});
  return message_of([&] { jobs.status("a"); });
}

TEST(RayJobs, EachRefusalIsOneSentence) {
  EXPECT_NE(message_for({.status = 401}).find("asks for a token"), std::string::npos);
  EXPECT_NE(message_for({.status = 403}).find("RAY_AUTH_TOKEN"), std::string::npos);
  EXPECT_NE(message_for({.status = 404, .body = "Job a does not exist"}).find("Job a does not exist"), std::string::npos);
  const std::string broken = message_for({.status = 500, .body = "Traceback:\n  File x\nValueError: no such thing\n.\n"});
  EXPECT_NE(broken.find("ValueError: no such thing"), std::string::npos) << broken;
  EXPECT_EQ(broken.find("Traceback"), std::string::npos) << broken;
  EXPECT_NE(message_for({.body = "{\"status\": \"RUNN"}).find("is not Ray's"), std::string::npos);
  EXPECT_NE(message_for({.body = "[1]"}).find("is not Ray's"), std::string::npos);
  EXPECT_NE(message_for({.body = "{\"status\": \"DANCING\"}"}).find("DANCING"), std::string::npos);

  HttpServer page([](const HttpServer::Request&) { return Response{.body = "<html>"}; });
  EXPECT_NE(message_of([&] { RayJobs({.base_url = page.url()}).version(); }).find("no Ray dashboard"), std::string::npos);
  HttpServer full([](const HttpServer::Request& r) { return Response{.status = r.method == "PUT" ? 413 : 404}; });
  EXPECT_NE(message_of([&] { RayJobs({.base_url = full.url()}).upload("zip"); }).find("larger than"), std::string::npos);
}

// A cluster of `slots` places that runs what `play` says. Time passes at each look at a job.
class FakeRay {
 public:
  struct Play {
    int looks_pending = 1, looks_running = 2;
    std::string end = "SUCCEEDED";  // STOPPED when it is told to stop before
    int exit_code = 0;
    std::string error_type = {};
    std::string log = "line\n";
  };

  explicit FakeRay(std::int64_t slots, std::function<Play(const std::string& id)> play)
      : slots_(slots), play_(std::move(play)), server_([this](const auto& request) { return answer(request); }) {}

  RayJobs jobs() const { return RayJobs({.base_url = server_.url()}); }
  std::vector<std::string> submitted() const {
    const std::lock_guard lock(mutex_);
    return submitted_;
  }
  std::vector<std::string> stopped() const {
    const std::lock_guard lock(mutex_);
    return stopped_;
  }
  int most_pending() const {
    const std::lock_guard lock(mutex_);
    return most_pending_;
  }
  std::size_t uploads() const {
    const std::lock_guard lock(mutex_);
    return uploads_;
  }
  Map last_submission() const {
    const std::lock_guard lock(mutex_);
    return last_;
  }
  void lose_next_answer() { lose_ = true; }

 private:
  struct Job {
    Play play;
    int looks = 0;
    bool stopped = false;
    bool pending() const { return looks < play.looks_pending; }
    bool running() const { return !pending() && !ended(); }
    bool ended() const { return stopped || looks >= play.looks_pending + play.looks_running; }
  };

  Response answer(const HttpServer::Request& request) {
    const std::lock_guard lock(mutex_);
    const auto& path = request.path;
    if (path == "/api/version") return {.body = R"({"ray_version": "2.60.0"})"};
    if (path == "/api/cluster_status") {
      const auto busy = std::count_if(jobs_.begin(), jobs_.end(), [](const auto& j) { return j.second.running(); });
      return {.body = R"({"data": {"clusterStatus": {"loadMetricsReport": {"usageByNode": {"n": {"CPU": [)" +
                      std::to_string(busy) + ", " + std::to_string(slots_) + "]}}}}}}"};
    }
    if (path.starts_with("/api/packages/gcs/")) {
      if (request.method == "GET") return {.status = packages_.contains(path) ? 200 : 404};
      packages_[path] = request.body;
      ++uploads_;
      return {};
    }
    if (path.starts_with("/api/v0/logs/stream?node_id=node&filename=job-driver-")) {
      const auto start = path.find("job-driver-") + 11;
      return {.body = jobs_.at(path.substr(start, path.find(".log") - start)).play.log};
    }
    if (path == "/api/jobs/") {
      last_ = parse_json(request.body).as_map();
      const auto id = last_.get<std::string>("submission_id");
      if (jobs_.contains(id)) return {.status = 500, .body = "ValueError: Job " + id + " already exists."};
      jobs_[id].play = play_(id);
      submitted_.push_back(id);
      const auto waiting = std::count_if(jobs_.begin(), jobs_.end(), [](const auto& j) { return j.second.pending(); });
      most_pending_ = std::max(most_pending_, static_cast<int>(waiting));
      if (lose_.exchange(false)) return {.body = "{", .complete = false};
      return {.body = R"({"job_id": "x"})"};
    }
    std::string id = path.substr(std::string("/api/jobs/").size());
    if (id.ends_with("/stop")) {
      id.resize(id.size() - 5);
      stopped_.push_back(id);
      jobs_.at(id).stopped = true;
      return {.body = R"({"stopped": true})"};
    }
    Job& job = jobs_.at(id);
    ++job.looks;
    Map state{{"status", job.pending()   ? "PENDING"
                         : job.stopped   ? "STOPPED"
                         : job.running() ? "RUNNING"
                                         : job.play.end},
              {"message", "words\nthe last words"}};
    if (!job.pending()) state["driver_node_id"] = "node";
    if (job.ended() && !job.play.error_type.empty()) {
      state["error_type"] = job.play.error_type;
      if (job.play.exit_code != 0) state["driver_exit_code"] = job.play.exit_code;
    }
    return {.body = to_json(state)};
  }

  const std::int64_t slots_;
  std::function<Play(const std::string&)> play_;
  mutable std::mutex mutex_;
  std::map<std::string, Job> jobs_;
  std::map<std::string, std::string> packages_;
  std::vector<std::string> submitted_, stopped_;
  std::size_t uploads_ = 0;
  int most_pending_ = 0;
  Map last_;
  std::atomic<bool> lose_{false};
  HttpServer server_;
};

struct Heard {
  std::mutex mutex;
  std::vector<std::string> lines, events;
  bool has_event(const std::string& part) {
    const std::lock_guard lock(mutex);
    return std::any_of(events.begin(), events.end(), [&](const auto& e) { return e.find(part) != std::string::npos; });
  }
};

RayWorkersOptions options_of(std::int64_t n, Heard& heard) {
  return {.n_workers = n,
          .name = "t",
          .job = {.cpus = 1, .environment = {{"A", "b"}}},
          .entrypoint = [] { return "exec ./worker"; },
          .archive = "zip",
          .on_line =
              [&](std::int64_t worker, std::string_view line) {
                const std::lock_guard lock(heard.mutex);
                heard.lines.push_back(std::to_string(worker) + ": " + std::string(line));
              },
          .on_event =
              [&](const std::string& text) {
                const std::lock_guard lock(heard.mutex);
                heard.events.push_back(text);
              }};
}

void wait_for(const RayWorkers& workers) {
  for (int i = 0; i < 600 && !workers.done(); ++i) std::this_thread::sleep_for(std::chrono::milliseconds(50));
  ASSERT_TRUE(workers.done());
}

TEST(RayWorkers, RunsEachToItsEnd) {
  FakeRay ray(2, [](const auto&) { return FakeRay::Play{.log = "one\ntwo\nhalf"}; });
  Heard heard;
  RayWorkers workers(ray.jobs(), options_of(2, heard));
  wait_for(workers);
  workers.rethrow();
  EXPECT_EQ(ray.submitted().size(), 2u);
  EXPECT_EQ(ray.uploads(), 1u);
  for (const char* line : {"0: one", "0: two", "1: one", "1: two"}) {
    EXPECT_EQ(std::count(heard.lines.begin(), heard.lines.end(), line), 1) << line;
  }
  const Map job = ray.last_submission();
  EXPECT_EQ(job.get<std::string>("entrypoint"), "exec ./worker");
  EXPECT_EQ(job.get<double>("entrypoint_num_cpus"), 1);
  EXPECT_EQ(job.get<Map>("runtime_env").get<Map>("env_vars"), Map({{"A", "b"}}));
  EXPECT_TRUE(job.get<Map>("runtime_env").get<std::string>("working_dir").starts_with("gcs://_ray_pkg_"));
}

TEST(RayWorkers, TheDeadAreReplacedUnderANewId) {
  FakeRay ray(2, [](const std::string& id) {
    FakeRay::Play play;
    if (id.ends_with("-w1-a0")) play.end = "FAILED", play.error_type = "JOB_SUPERVISOR_ACTOR_DIED";
    if (id.ends_with("-w1-a1")) play.end = "FAILED", play.error_type = "JOB_ENTRYPOINT_COMMAND_ERROR", play.exit_code = -9;
    return play;
  });
  ray.lose_next_answer();  // the first submission is made, and its answer lost: not a second worker
  Heard heard;
  RayWorkers workers(ray.jobs(), options_of(2, heard));
  wait_for(workers);
  workers.rethrow();
  const auto submitted = ray.submitted();
  EXPECT_EQ(submitted.size(), 4u);
  EXPECT_EQ(std::set<std::string>(submitted.begin(), submitted.end()).size(), 4u);
  EXPECT_TRUE(heard.has_event("worker 1 failed and is submitted again: JOB_SUPERVISOR_ACTOR_DIED, the last words"));
  EXPECT_TRUE(heard.has_event("exit code -9"));
}

TEST(RayWorkers, AMistakeAndEndlessFailuresEndAll) {
  {
    FakeRay ray(2, [](const auto&) {
      return FakeRay::Play{.end = "FAILED", .exit_code = 2, .error_type = "JOB_ENTRYPOINT_COMMAND_ERROR"};
    });
    Heard heard;
    RayWorkers workers(ray.jobs(), options_of(1, heard));
    wait_for(workers);
    EXPECT_EQ(ray.submitted().size(), 1u);
    EXPECT_NE(message_of([&] { workers.rethrow(); }).find("worker 0 cannot work"), std::string::npos);
  }
  {
    FakeRay ray(1, [](const auto&) {
      return FakeRay::Play{.looks_running = 0, .end = "FAILED", .exit_code = 1, .error_type = "JOB_ENTRYPOINT_COMMAND_ERROR"};
    });
    Heard heard;
    auto options = options_of(1, heard);
    options.max_failures = 2;
    RayWorkers workers(ray.jobs(), options);
    wait_for(workers);
    EXPECT_EQ(ray.submitted().size(), 2u);
    EXPECT_NE(message_of([&] { workers.rethrow(); }).find("one after the other"), std::string::npos);
  }
}

TEST(RayWorkers, NoMoreWaitThanThereIsRoom) {
  FakeRay ray(2, [](const auto&) { return FakeRay::Play{.looks_pending = 2, .looks_running = 2}; });
  Heard heard;
  RayWorkers workers(ray.jobs(), options_of(5, heard));
  wait_for(workers);
  workers.rethrow();
  EXPECT_EQ(ray.submitted().size(), 5u);
  EXPECT_LE(ray.most_pending(), 2);
}

TEST(RayWorkers, StopEndsWhatRuns) {
  FakeRay ray(2, [](const auto&) { return FakeRay::Play{.looks_running = 1'000'000}; });
  Heard heard;
  RayWorkers workers(ray.jobs(), options_of(2, heard));
  for (int i = 0; i < 200 && !(heard.has_event("worker 0 runs") && heard.has_event("worker 1 runs")); ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }
  workers.stop();
  EXPECT_TRUE(workers.done());
  workers.rethrow();
  EXPECT_EQ(ray.stopped().size(), 2u);
  EXPECT_EQ(ray.submitted().size(), 2u);
}

TEST(RayWorkers, ACostlyMistakeIsSaidAtOnce) {
  Heard heard;
  FakeRay ray(1, [](const auto&) { return FakeRay::Play{}; });
  EXPECT_NE(message_of([&] { RayWorkers(ray.jobs(), options_of(0, heard)); }).find("a worker at least"), std::string::npos);
  auto options = options_of(1, heard);
  options.entrypoint = {};
  EXPECT_NE(message_of([&] { RayWorkers(ray.jobs(), options); }).find("entrypoint"), std::string::npos);
}

}  // namespace
}  // namespace levin::dist
