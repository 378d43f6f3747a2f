#include <levin/train/checkpoint_io/callback_pickle.h>

#include <ATen/ATen.h>

#include <algorithm>
#include <array>

namespace levin {
namespace {

PickleValue scalar(const Value& value) {
  return value.is_number() ? PickleValue(at::scalar_tensor(value.as_double(), at::kDouble)) : PickleValue(value);
}

PickleValue plain(const PickleValue& value) {
  if (value.is_tensor() && value.as_tensor().numel() == 1) {
    const auto number = value.as_tensor().item();
    return number.isFloatingPoint() ? PickleValue(number.toDouble()) : PickleValue(number.toLong());
  }
  if (value.is_dict()) {
    PickleDict dict;
    for (const auto& [key, item] : value.as_dict()) dict.append(key, plain(item));
    return dict;
  }
  if (value.is_list() || value.is_tuple()) {
    PickleList list;
    for (const auto& item : value.as_list()) list.push_back(plain(item));
    return list;
  }
  return value;
}

}  // namespace

PickleValue callback_state_to_pickle(const Map& state) {
  static constexpr std::array<std::string_view, 4> scores{"best_score", "best_model_score", "current_score",
                                                          "kth_value"};
  PickleDict dict;
  for (const auto& [key, value] : state) {
    if (std::ranges::find(scores, key) != scores.end()) {
      dict.append(key, scalar(value));
    } else if (key == "best_k_models" && value.is_map()) {
      PickleDict models;
      for (const auto& [path, score] : value.as_map()) models.append(path, scalar(score));
      dict.append(key, std::move(models));
    } else {
      dict.append(key, value);
    }
  }
  return dict;
}

Map callback_state_from_pickle(const PickleValue& value) { return plain(value).to_value().as_map(); }

}  // namespace levin
