#include <levin/dist/ray_jobs.h>

#include <levin/core/file.h>
#include <levin/core/json.h>
#include <levin/core/rng.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <limits>

namespace levin::dist {
namespace {

// Ray puts a Python traceback into its answers; what it means to say is the last line with words.
std::string last_line(const std::string& text) {
  std::string line;
  for (std::size_t start = 0; start < text.size();) {
    const auto end = std::min(text.find('\n', start), text.size());
    if (text.find_first_not_of(" \t\r.", start) < end) line = text.substr(start, end - start);
    start = end + 1;
  }
  constexpr std::size_t kMost = 300;
  return line.size() > kMost ? line.substr(0, kMost) + "..." : line;
}

std::string text_of(const Map& map, std::string_view key) {
  const Value* value = map.find(key);
  return value != nullptr && value->is_string() ? value->as_string() : "";
}

const Map* map_of(const Map* map, std::string_view key) {
  const Value* value = map != nullptr ? map->find(key) : nullptr;
  return value != nullptr && value->is_map() ? &value->as_map() : nullptr;
}

std::string trimmed(std::string text) {
  while (!text.empty() && std::isspace(static_cast<unsigned char>(text.back())) != 0) text.pop_back();
  return text;
}

}  // namespace

HttpResponse RayJobs::ask(const std::string& method, const std::string& path, std::string_view body,
                          const std::string& content_type) const {
  HttpResponse response = http_.request(method, path, body, content_type);
  if (response.status == 401 || response.status == 403) {
    throw Error({.what = http_.options().token.empty() ? "the Ray cluster asks for a token" : "the Ray cluster refuses the token",
                 .value = "HTTP " + std::to_string(response.status),
                 .where = address(),
                 .hint = "put it into the environment variable RAY_AUTH_TOKEN, or a file that RAY_AUTH_TOKEN_PATH names"});
  }
  return response;
}

Map RayJobs::ask_map(const std::string& method, const std::string& path, std::string_view body) const {
  const HttpResponse response = ask(method, path, body);
  if (response.status != 200) {
    throw Error({.what = "the Ray cluster refuses " + method + " " + path.substr(0, path.find('?')) + ": " +
                         last_line(response.body),
                 .value = "HTTP " + std::to_string(response.status),
                 .where = address(),
                 .hint = {}});
  }
  try {
    return parse_json(response.body).as_map();
  } catch (const Error& error) {
    throw Error({.what = "the answer to " + method + " " + path.substr(0, path.find('?')) + " is not Ray's: " + error.what(),
                 .value = last_line(response.body),
                 .where = address(),
                 .hint = "the address must be that of the cluster's dashboard, such as http://HEAD:8265"});
  }
}

std::string RayJobs::version() const {
  const HttpResponse response = ask("GET", "/api/version");
  std::string version;
  if (response.status == 200) {
    try {
      version = text_of(parse_json(response.body).as_map(), "ray_version");
    } catch (const Error&) {
    }
  }
  if (!version.empty()) return version;
  throw Error({.what = "there is no Ray dashboard at this address",
               .value = "HTTP " + std::to_string(response.status),
               .where = address(),
               .hint = "give the address of the cluster's dashboard, such as http://HEAD:8265"});
}

std::string RayJobs::upload(std::string_view zip) const {
  char name[64];
  std::snprintf(name, sizeof name, "_ray_pkg_%016llx%08zx.zip", static_cast<unsigned long long>(stable_hash(zip)),
                zip.size());
  const std::string path = std::string("/api/packages/gcs/") + name;
  if (ask("GET", path).status != 200) {
    const HttpResponse response = ask("PUT", path, zip, "application/octet-stream");
    if (response.status == 413) {
      throw Error({.what = "the package is larger than the Ray cluster takes",
                   .value = std::to_string(zip.size() >> 20) + " MiB",
                   .where = address(),
                   .hint = "leave large files out of it and put them where every node finds them"});
    }
    if (response.status != 200) {
      throw Error({.what = "the Ray cluster refuses the package: " + last_line(response.body),
                   .value = "HTTP " + std::to_string(response.status),
                   .where = address(),
                   .hint = {}});
    }
  }
  return std::string("gcs://") + name;
}

void RayJobs::submit(const RayJob& job) const {
  Map runtime;
  if (!job.package.empty()) runtime["working_dir"] = job.package;
  if (!job.environment.empty()) runtime["env_vars"] = job.environment;
  Map request;
  request["submission_id"] = job.submission_id;
  request["entrypoint"] = job.entrypoint;
  request["entrypoint_num_cpus"] = job.cpus;
  request["entrypoint_num_gpus"] = job.gpus;
  if (!job.resources.empty()) request["entrypoint_resources"] = job.resources;
  request["runtime_env"] = runtime;
  const HttpResponse response = ask("POST", "/api/jobs/", to_json(request));
  if (response.status == 200) return;
  // The answer to an earlier try was lost.
  if (response.body.find("already exists") != std::string::npos) return;
  throw Error({.what = "the Ray cluster refuses the job: " + last_line(response.body),
               .value = "HTTP " + std::to_string(response.status),
               .where = address(),
               .hint = {}});
}

RayStatus RayJobs::status(const std::string& submission_id) const {
  const Map answer = ask_map("GET", "/api/jobs/" + url_encoded(submission_id));
  RayStatus status{.state = RayState::pending,
                   .message = text_of(answer, "message"),
                   .error_type = text_of(answer, "error_type"),
                   .node_id = text_of(answer, "driver_node_id")};
  const std::string state = text_of(answer, "status");
  if (state == "RUNNING") {
    status.state = RayState::running;
  } else if (state == "STOPPED") {
    status.state = RayState::stopped;
  } else if (state == "SUCCEEDED") {
    status.state = RayState::succeeded;
  } else if (state == "FAILED") {
    status.state = RayState::failed;
  } else if (state != "PENDING") {
    throw Error({.what = "the Ray cluster reports a state that is not known here",
                 .value = state.empty() ? "none" : state,
                 .where = address(),
                 .hint = {}});
  }
  if (const Value* code = answer.find("driver_exit_code"); code != nullptr && code->is_int()) {
    status.exit_code = code->as_int();
  }
  return status;
}

void RayJobs::stop(const std::string& submission_id) const {
  ask_map("POST", "/api/jobs/" + url_encoded(submission_id) + "/stop");
}

HttpStream RayJobs::log(const std::string& submission_id, const std::string& node_id) const {
  return http_.stream("/api/v0/logs/stream?node_id=" + url_encoded(node_id) + "&filename=" +
                      url_encoded("job-driver-" + submission_id + ".log") + "&lines=100000&interval=0.1");
}

std::optional<std::int64_t> RayJobs::free_slots(double cpus, double gpus) const {
  if (cpus <= 0 && gpus <= 0) return std::nullopt;
  const Map answer = ask_map("GET", "/api/cluster_status");
  const Map* status = map_of(map_of(&answer, "data"), "clusterStatus");
  const Map* nodes = map_of(map_of(status, "loadMetricsReport"), "usageByNode");
  if (nodes == nullptr) return std::nullopt;
  std::int64_t slots = 0;
  for (const auto& [id, node] : *nodes) {
    if (!node.is_map()) return std::nullopt;
    const auto room = [&node = node](const char* resource, double needed) {
      if (needed <= 0) return std::numeric_limits<double>::infinity();
      const Value* usage = node.as_map().find(resource);
      if (usage == nullptr || !usage->is_list() || usage->as_list().size() != 2) return 0.0;
      return std::floor((usage->as_list()[1].as_double() - usage->as_list()[0].as_double()) / needed + 1e-6);
    };
    slots += static_cast<std::int64_t>(std::max(0.0, std::min(room("CPU", cpus), room("GPU", gpus))));
  }
  return slots;
}

std::string ray_token_of_environment() {
  const auto variable = [](const char* name) {
    const char* text = std::getenv(name);
    return std::string(text == nullptr ? "" : text);
  };
  if (const std::string token = variable("RAY_AUTH_TOKEN"); !token.empty()) return trimmed(token);
  std::string path = variable("RAY_AUTH_TOKEN_PATH");
  if (path.empty()) {
    path = variable("HOME") + "/.ray/auth_token";
    std::error_code ignored;
    if (!std::filesystem::exists(path, ignored)) return "";
  }
  return trimmed(read_file(path, 1 << 16));
}

}  // namespace levin::dist
