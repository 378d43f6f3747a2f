#include <levin/core/error.h>

#include <algorithm>
#include <cctype>
#include <numeric>

namespace levin {
namespace {

std::string message(const ErrorInfo& info) {
  std::string text = info.what;
  if (!info.value.empty()) text += ": got " + info.value;
  if (!info.where.empty()) text += " (" + info.where + ")";
  if (!info.hint.empty()) text += "; " + info.hint;
  return text;
}

std::string lower(std::string_view word) {
  std::string out(word);
  std::transform(out.begin(), out.end(), out.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return out;
}

// Optimal string alignment distance: insertions, deletions, substitutions and swaps of neighbours.
std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> before(b.size() + 1), last(b.size() + 1), now(b.size() + 1);
  std::iota(last.begin(), last.end(), std::size_t{0});
  for (std::size_t i = 1; i <= a.size(); ++i) {
    now[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t substitution = last[j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1);
      now[j] = std::min({last[j] + 1, now[j - 1] + 1, substitution});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) now[j] = std::min(now[j], before[j - 2] + 1);
    }
    std::swap(before, last);
    std::swap(last, now);
  }
  return last[b.size()];
}

}  // namespace

Error::Error(ErrorInfo info) : std::runtime_error(message(info)), info_(std::move(info)) {}

std::string closest(std::string_view word, std::span<const std::string> candidates) {
  const std::string wanted = lower(word);
  std::string best;
  std::size_t best_distance = std::max<std::size_t>(2, wanted.size() / 3) + 1;
  for (const auto& candidate : candidates) {
    const std::string folded = lower(candidate);
    std::size_t distance = edit_distance(wanted, folded);
    // "lr" for "optimizer.lr": the last part of a dotted key counts as nearly equal.
    if (const auto dot = folded.rfind('.'); dot != std::string::npos) {
      distance = std::min(distance, edit_distance(wanted, folded.substr(dot + 1)) + 1);
    }
    if (distance < best_distance && distance < std::max(wanted.size(), folded.size())) {
      best_distance = distance;
      best = candidate;
    }
  }
  return best;
}

std::string did_you_mean(std::string_view word, std::span<const std::string> candidates, std::size_t max_listed) {
  if (auto match = closest(word, candidates); !match.empty()) return "did you mean \"" + match + "\"?";
  if (candidates.empty()) return {};
  const auto listed = candidates.subspan(0, std::min(max_listed, candidates.size()));
  std::string hint = "choose from " + join_words(listed);
  if (listed.size() < candidates.size()) hint += " and " + std::to_string(candidates.size() - listed.size()) + " more";
  return hint;
}

std::string join_words(std::span<const std::string> words) {
  std::string out;
  for (std::size_t i = 0; i < words.size(); ++i) {
    if (i > 0) out += i + 1 == words.size() ? " and " : ", ";
    out += words[i];
  }
  return out;
}

}  // namespace levin
