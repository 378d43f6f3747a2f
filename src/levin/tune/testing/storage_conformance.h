// What every storage must do, as tests: instantiate StorageConformance with the ways to open your storage.
//
//   INSTANTIATE_TEST_SUITE_P(Mine, StorageConformance, testing::Values(StorageFactory{"mine", [] { return ...; }}));
#pragma once

#include <levin/tune/storage/storage.h>

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <cmath>
#include <functional>
#include <limits>
#include <memory>
#include <optional>
#include <ostream>
#include <set>
#include <string>
#include <thread>
#include <vector>

namespace levin::tune::testing {

/** Opens a new, empty storage each time it is called. */
struct StorageFactory {
  std::string name;
  std::function<std::shared_ptr<Storage>()> open;
  friend std::ostream& operator<<(std::ostream& out, const StorageFactory& factory) { return out << factory.name; }
};

class StorageConformance : public ::testing::TestWithParam<StorageFactory> {
 protected:
  std::shared_ptr<Storage> storage = GetParam().open();
  std::int64_t new_study(const std::string& name = "study") {
    return storage->create_study(name, {Direction::minimize}).value();
  }
  static ParamRecord param(const std::string& name, double internal) {
    return {name, FloatDistribution{.low = 0, .high = 10}, internal};
  }
};

TEST_P(StorageConformance, StudiesAreNamedOnce) {
  const auto a = storage->create_study("a", {Direction::minimize, Direction::maximize});
  ASSERT_TRUE(a.has_value());
  EXPECT_FALSE(storage->create_study("a", {Direction::minimize}).has_value());
  const auto b = storage->create_study("b", {Direction::maximize});
  EXPECT_EQ(storage->find_study("a"), a);
  EXPECT_EQ(storage->find_study("c"), std::nullopt);
  EXPECT_EQ(storage->study(*a).directions, (std::vector{Direction::minimize, Direction::maximize}));
  const auto all = storage->studies();
  ASSERT_EQ(all.size(), 2u);
  EXPECT_EQ(all[0].study_name, "a");
  EXPECT_EQ(all[1].study_id, *b);
}

TEST_P(StorageConformance, DeletedStudiesAreGone) {
  const auto a = new_study("a"), b = new_study("b");
  const auto trial = storage->create_trial(a);
  storage->update_trial(trial->trial_id, {.params = {param("x", 1)}, .system_attrs = {{"k", 1}}});
  const auto kept = storage->create_trial(b);
  storage->delete_study(a);
  EXPECT_EQ(storage->find_study("a"), std::nullopt);
  EXPECT_THROW(storage->study(a), Error);
  EXPECT_THROW(storage->delete_study(a), Error);
  EXPECT_THROW(storage->trial(trial->trial_id), Error);
  EXPECT_EQ(storage->trial(kept->trial_id)->number, 0);
  EXPECT_TRUE(storage->create_study("a", {Direction::minimize}).has_value());
}

TEST_P(StorageConformance, StudyAttributesAreReplaced) {
  const auto id = new_study();
  storage->set_study_user_attr(id, "k", 1);
  storage->set_study_user_attr(id, "k", List{1, "two", Value(), 2.5, true});
  storage->set_study_system_attr(id, "k", Map{{"a", "b"}});
  EXPECT_EQ(storage->study(id).user_attrs, (Map{{"k", List{1, "two", Value(), 2.5, true}}}));
  EXPECT_EQ(storage->study(id).system_attrs, (Map{{"k", Map{{"a", "b"}}}}));
}

TEST_P(StorageConformance, UnknownIdsAreErrors) {
  EXPECT_THROW(storage->study(77), Error);
  EXPECT_THROW(storage->create_trial(77), Error);
  EXPECT_THROW(storage->trial(77), Error);
  EXPECT_THROW(storage->update_trial(77, {.state = TrialState::complete}), Error);
  EXPECT_THROW(storage->set_study_user_attr(77, "k", 1), Error);
}

TEST_P(StorageConformance, TrialsCountWithinTheirStudy) {
  const auto a = new_study("a"), b = new_study("b");
  EXPECT_EQ(storage->create_trial(a)->number, 0);
  EXPECT_EQ(storage->create_trial(b)->number, 0);
  const auto second = storage->create_trial(a);
  EXPECT_EQ(second->number, 1);
  EXPECT_EQ(second->state, TrialState::running);
  EXPECT_TRUE(second->datetime_start.has_value());
  EXPECT_FALSE(second->datetime_complete.has_value());
}

TEST_P(StorageConformance, UpdatesAreReadBack) {
  const auto trial = storage->create_trial(new_study());
  const double inf = std::numeric_limits<double>::infinity();
  storage->update_trial(trial->trial_id, {.params = {{"b", CategoricalDistribution{{"x", Value(), 2}}, 1},
                                                     {"a", IntDistribution{.low = 1, .high = 9, .step = 2}, 7}},
                                          .intermediate_values = {{3, std::nan("")}, {1, inf}, {2, -inf}, {0, 0.1}},
                                          .user_attrs = {{"u", "\xC3\xBC"}},
                                          .system_attrs = {{"s", inf}}});
  storage->update_trial(trial->trial_id, {.user_attrs = {{"u", 2}, {"v", 3}}});
  storage->update_trial(trial->trial_id, {.state = TrialState::complete, .values = {-inf}});
  const auto read = storage->trial(trial->trial_id);
  EXPECT_EQ(read->params, (Map{{"b", Value()}, {"a", 7}}));
  EXPECT_EQ(read->distributions.at("a"), Distribution(IntDistribution{.low = 1, .high = 9, .step = 2}));
  EXPECT_EQ(read->intermediate_values.size(), 4u);
  EXPECT_EQ(read->intermediate_values.at(0), 0.1);
  EXPECT_EQ(read->intermediate_values.at(1), inf);
  EXPECT_EQ(read->intermediate_values.at(2), -inf);
  EXPECT_TRUE(std::isnan(read->intermediate_values.at(3)));
  EXPECT_EQ(read->last_step(), 3);
  EXPECT_EQ(read->user_attrs, (Map{{"u", 2}, {"v", 3}}));
  EXPECT_EQ(read->system_attrs, (Map{{"s", inf}}));
  EXPECT_EQ(read->values, std::vector<double>{-inf});
  EXPECT_EQ(read->state, TrialState::complete);
  ASSERT_TRUE(read->duration().has_value());
  EXPECT_GE(read->duration()->count(), 0);
  EXPECT_LT(read->duration()->count(), 60);
}

TEST_P(StorageConformance, WhatWasReadDoesNotChange) {
  const auto id = new_study();
  const auto before = storage->create_trial(id);
  storage->update_trial(before->trial_id, {.params = {param("x", 1)}, .state = TrialState::fail});
  EXPECT_TRUE(before->params.empty());
  EXPECT_EQ(before->state, TrialState::running);
}

TEST_P(StorageConformance, FinishedTrialsStayAsTheyAre) {
  const auto id = new_study();
  for (const auto state : {TrialState::complete, TrialState::pruned, TrialState::fail}) {
    const auto trial = storage->create_trial(id);
    storage->update_trial(trial->trial_id, {.state = state});
    EXPECT_THROW(storage->update_trial(trial->trial_id, {.params = {param("x", 1)}}), Error);
    EXPECT_THROW(storage->update_trial(trial->trial_id, {.intermediate_values = {{1, 2.0}}}), Error);
    EXPECT_THROW(storage->update_trial(trial->trial_id, {.user_attrs = {{"a", 1}}}), Error);
    EXPECT_THROW(storage->update_trial(trial->trial_id, {.state = TrialState::running}), Error);
    EXPECT_EQ(storage->trial(trial->trial_id)->state, state);
  }
}

TEST_P(StorageConformance, AnUpdateHappensWholeOrNotAtAll) {
  const auto id = new_study();
  const auto first = storage->create_trial(id);
  storage->update_trial(first->trial_id, {.params = {param("x", 1)}});
  const auto second = storage->create_trial(id);
  EXPECT_THROW(storage->update_trial(second->trial_id,
                                     {.params = {param("y", 1), {"x", IntDistribution{.low = 0, .high = 1}, 1}},
                                      .user_attrs = {{"a", 1}},
                                      .state = TrialState::complete,
                                      .values = {1.0}}),
               Error);
  const auto read = storage->trial(second->trial_id);
  EXPECT_TRUE(read->params.empty());
  EXPECT_TRUE(read->user_attrs.empty());
  EXPECT_EQ(read->state, TrialState::running);
}

TEST_P(StorageConformance, ContentIsCopied) {
  const auto id = new_study();
  FrozenTrial content;
  content.number = 12;
  content.trial_id = 34;
  content.state = TrialState::complete;
  content.values = {0.5};
  content.datetime_start = TimePoint(std::chrono::microseconds(1'500'000'000'123'456));
  content.datetime_complete = *content.datetime_start + std::chrono::microseconds(2'000'001);
  content.params = {{"x", 2.5}};
  content.distributions = {{"x", FloatDistribution{.low = 0, .high = 10}}};
  content.intermediate_values.set(4, 0.25);
  content.user_attrs = {{"u", 1}};
  content.system_attrs = {{"s", 2}};
  storage->create_trial(id);
  const auto read = storage->trial(storage->create_trial(id, &content)->trial_id);
  EXPECT_EQ(read->number, 1);
  EXPECT_EQ(read->state, TrialState::complete);
  EXPECT_EQ(read->values, content.values);
  EXPECT_EQ(read->datetime_start, content.datetime_start);
  EXPECT_EQ(read->datetime_complete, content.datetime_complete);
  EXPECT_EQ(read->params, content.params);
  EXPECT_EQ(read->distributions, content.distributions);
  EXPECT_EQ(read->intermediate_values.at(4), 0.25);
  EXPECT_EQ(read->user_attrs, content.user_attrs);
  EXPECT_EQ(read->system_attrs, content.system_attrs);
  content.params = {{"x", 1}};
  content.distributions = {{"x", IntDistribution{.low = 0, .high = 10}}};
  EXPECT_THROW(storage->create_trial(id, &content), Error);
}

TEST_P(StorageConformance, OnlyNewAndNamedTrialsAreRead) {
  const auto id = new_study(), other = new_study("other");
  std::vector<std::int64_t> ids;
  for (int i = 0; i < 5; ++i) {
    ids.push_back(storage->create_trial(id)->trial_id);
    storage->create_trial(other);
  }
  EXPECT_EQ(storage->read_trials(id, {}, -1).size(), 5u);
  const std::vector<std::int64_t> named{ids[0], ids[2]};
  std::vector<std::int64_t> read;
  for (const auto& trial : storage->read_trials(id, named, ids[3])) read.push_back(trial->trial_id);
  EXPECT_EQ(read, (std::vector<std::int64_t>{ids[0], ids[2], ids[4]}));
}

TEST_P(StorageConformance, WaitingTrialsAreClaimedInOrderAndOnce) {
  const auto id = new_study();
  EXPECT_EQ(storage->claim_waiting_trial(id), nullptr);
  FrozenTrial waiting;
  waiting.state = TrialState::waiting;
  for (int i = 0; i < 30; ++i) storage->create_trial(id, &waiting);
  EXPECT_EQ(storage->claim_waiting_trial(id)->number, 0);
  const auto second = storage->claim_waiting_trial(id);
  EXPECT_EQ(second->number, 1);
  EXPECT_EQ(second->state, TrialState::running);
  EXPECT_TRUE(second->datetime_start.has_value());
  std::vector<std::vector<std::int64_t>> claimed(4);
  {
    std::vector<std::jthread> threads;
    for (auto& list : claimed) {
      threads.emplace_back([&, this] {
        while (const auto trial = storage->claim_waiting_trial(id)) list.push_back(trial->number);
      });
    }
  }
  std::set<std::int64_t> numbers;
  std::size_t count = 0;
  for (const auto& list : claimed) {
    numbers.insert(list.begin(), list.end());
    count += list.size();
  }
  EXPECT_EQ(count, 28u);
  EXPECT_EQ(numbers.size(), 28u);
}

TEST_P(StorageConformance, TheNextTrialIsTheOldestOfTheQueueOrANewOne) {
  const auto id = new_study();
  EXPECT_THROW(storage->next_trial(77), Error);
  FrozenTrial waiting;
  waiting.state = TrialState::waiting;
  waiting.system_attrs = {{"fixed_params", Map{{"x", 1}}}};
  storage->create_trial(id, &waiting);
  const auto first = storage->next_trial(id, true);
  EXPECT_EQ(first->number, 0);
  EXPECT_EQ(first->state, TrialState::running);
  EXPECT_EQ(first->system_attrs.at("fixed_params"), Value(Map{{"x", 1}}));
  EXPECT_TRUE(first->datetime_start.has_value());
  EXPECT_EQ(storage->next_trial(id, true)->number, 1);
  EXPECT_EQ(storage->trial(storage->next_trial(id)->trial_id)->state, TrialState::running);
}

TEST_P(StorageConformance, TheNextTrialStaysBelowALimit) {
  const auto id = new_study();
  const auto state = [&](const TrialPtr& trial, TrialState to) {
    storage->update_trial(trial->trial_id, {.state = to});
  };
  EXPECT_EQ(storage->next_trial(id, false, 0), nullptr);
  const auto failed = storage->next_trial(id, false, 1);
  ASSERT_NE(failed, nullptr);
  EXPECT_EQ(storage->next_trial(id, false, 1), nullptr) << "one is running";
  state(failed, TrialState::fail);
  EXPECT_EQ(storage->next_trial(id, true, 1), nullptr) << "one is finished";
  FrozenTrial again;
  again.state = TrialState::waiting;
  again.system_attrs = {{"failed_trial", failed->number}};
  storage->create_trial(id, &again);
  const auto retried = storage->next_trial(id, true, 1);
  ASSERT_NE(retried, nullptr) << "what is run again counts once";
  EXPECT_EQ(retried->number, 1);
  EXPECT_EQ(storage->next_trial(id, true, 1), nullptr);
  state(retried, TrialState::waiting);
  EXPECT_EQ(storage->next_trial(id, true, 1)->number, 1) << "one that waits is not taken";
  EXPECT_EQ(storage->next_trial(id, true, 2)->number, 2);
  EXPECT_EQ(storage->next_trial(id, true, 2), nullptr);
  EXPECT_EQ(storage->next_trial(id)->number, 3);
}

TEST_P(StorageConformance, NoMoreThanTheLimitBeginHoweverManyAskAtOnce) {
  const auto id = new_study();
  std::atomic<int> begun{0};
  {
    std::vector<std::jthread> threads;
    for (int t = 0; t < 4; ++t) {
      threads.emplace_back([&] {
        while (const auto trial = storage->next_trial(id, false, 25)) {
          ++begun;
          storage->update_trial(trial->trial_id, {.state = TrialState::complete, .values = {0.0}});
        }
      });
    }
  }
  EXPECT_EQ(begun, 25);
  EXPECT_EQ(storage->read_trials(id, {}, -1).size(), 25u);
}

TEST_P(StorageConformance, ATrialMayGoBackIntoTheQueue) {
  const auto id = new_study();
  const auto trial = storage->next_trial(id, true);
  storage->update_trial(trial->trial_id, {.params = {param("x", 1)}});
  storage->update_trial(trial->trial_id, {.state = TrialState::waiting});
  EXPECT_TRUE(storage->fail_stale_trials(id, -1).empty()) << "it is not running";
  const auto again = storage->next_trial(id);
  EXPECT_EQ(again->trial_id, trial->trial_id);
  EXPECT_EQ(again->params, (Map{{"x", 1.0}}));
  EXPECT_EQ(storage->next_trial(id)->number, 1);
}

TEST_P(StorageConformance, TrialsWithoutASignOfLifeFailOnceAndAreSucceededOnce) {
  const auto id = new_study(), other = new_study("other");
  const auto dead = storage->next_trial(id, true), alive = storage->next_trial(id, true);
  const auto silent = storage->next_trial(id), elsewhere = storage->next_trial(other, true);
  const auto finished = storage->next_trial(id, true);
  storage->update_trial(dead->trial_id, {.params = {param("x", 3)}, .user_attrs = {{"u", 1}}});
  storage->update_trial(finished->trial_id, {.state = TrialState::complete, .values = {1.0}});
  EXPECT_TRUE(storage->fail_stale_trials(id, 60).empty());
  std::this_thread::sleep_for(std::chrono::milliseconds(1200));
  const std::vector<std::int64_t> ids{alive->trial_id, finished->trial_id};
  storage->record_heartbeats(ids);
  const auto successor = [](const FrozenTrial& failed) -> std::optional<FrozenTrial> {
    EXPECT_EQ(failed.state, TrialState::fail);
    FrozenTrial next;
    next.state = TrialState::waiting;
    next.params = failed.params;
    next.distributions = failed.distributions;
    next.system_attrs = {{"failed_trial", failed.number}};
    return next;
  };
  const auto failed = storage->fail_stale_trials(id, 1.0, successor);
  ASSERT_EQ(failed.size(), 1u);
  EXPECT_EQ(failed[0]->trial_id, dead->trial_id);
  EXPECT_EQ(failed[0]->user_attrs, (Map{{"u", 1}}));
  EXPECT_TRUE(failed[0]->datetime_complete.has_value());
  EXPECT_TRUE(storage->fail_stale_trials(id, 1.0, successor).empty());
  EXPECT_EQ(storage->trial(alive->trial_id)->state, TrialState::running);
  EXPECT_EQ(storage->trial(silent->trial_id)->state, TrialState::running);
  EXPECT_EQ(storage->trial(elsewhere->trial_id)->state, TrialState::running);
  EXPECT_EQ(storage->trial(finished->trial_id)->state, TrialState::complete);
  const auto next = storage->next_trial(id);
  EXPECT_EQ(next->number, 4);
  EXPECT_EQ(next->params, (Map{{"x", 3.0}}));
  EXPECT_EQ(next->system_attrs.at("failed_trial"), Value(0));
}

TEST_P(StorageConformance, ManyTrialsAreAddedInOrder) {
  const auto id = new_study();
  std::vector<TrialPtr> contents;
  for (int i = 0; i < 250; ++i) {
    auto trial = std::make_shared<FrozenTrial>();
    trial->state = i % 5 == 0 ? TrialState::waiting : TrialState::complete;
    if (i % 5 != 0) {
      trial->values = {1.0 * i};
      trial->params = {{"x", 0.01 * i}};
      trial->distributions = {{"x", FloatDistribution{.low = 0, .high = 10}}};
    }
    contents.push_back(std::move(trial));
  }
  storage->create_trials(id, contents);
  const auto trials = storage->read_trials(id, {}, -1);
  ASSERT_EQ(trials.size(), 250u);
  for (std::size_t i = 0; i < trials.size(); ++i) {
    EXPECT_EQ(trials[i]->number, static_cast<std::int64_t>(i));
    EXPECT_EQ(trials[i]->state, contents[i]->state);
    EXPECT_EQ(trials[i]->values, contents[i]->values);
    EXPECT_EQ(trials[i]->params, contents[i]->params);
  }
  EXPECT_EQ(storage->next_trial(id)->number, 0);
}

TEST_P(StorageConformance, TextsComeBackAsTheyWere) {
  const std::string odd = "quote ' \" back\\slash % {} \xE2\x82\xAC \xF0\x9F\x8E\x89 \n\t$1";
  const auto id = storage->create_study(odd, {Direction::minimize}).value();
  EXPECT_EQ(storage->find_study(odd), id);
  storage->set_study_user_attr(id, odd, odd);
  EXPECT_EQ(storage->study(id).user_attrs, (Map{{odd, odd}}));
  const std::string longer(5000, 'x');
  const auto trial = storage->next_trial(id)->trial_id;
  storage->update_trial(trial, {.params = {{odd, CategoricalDistribution{{odd, 1}}, 0}},
                                .user_attrs = {{"long", longer}, {"", Value()}},
                                .system_attrs = {{odd, List{odd, Map{{odd, 1.5}}}}}});
  const auto read = storage->trial(trial);
  EXPECT_EQ(read->params, (Map{{odd, odd}}));
  EXPECT_EQ(read->user_attrs, (Map{{"long", longer}, {"", Value()}}));
  EXPECT_EQ(read->system_attrs, (Map{{odd, List{odd, Map{{odd, 1.5}}}}}));
}

TEST_P(StorageConformance, NumbersComeBackToTheLastBit) {
  const auto trial = storage->next_trial(new_study())->trial_id;
  const std::vector<double> numbers{0.1, 1.0 / 3, 1e-300, 4.9406564584124654e-324, 1.7976931348623157e308, -0.0, 1e22};
  TrialUpdate update;
  for (std::size_t i = 0; i < numbers.size(); ++i) {
    update.intermediate_values.emplace_back(static_cast<std::int64_t>(i), numbers[i]);
    update.params.push_back({"p" + std::to_string(i), FloatDistribution{.low = -1e308, .high = 1.7e308}, numbers[i]});
  }
  storage->update_trial(trial, update);
  storage->update_trial(trial, {.intermediate_values = {{0, 7.5}}});
  const auto read = storage->trial(trial);
  EXPECT_EQ(read->intermediate_values.at(0), 7.5) << "a second value replaces the first";
  for (std::size_t i = 0; i < numbers.size(); ++i) {
    if (i > 0) {
      EXPECT_EQ(read->intermediate_values.at(static_cast<std::int64_t>(i)), numbers[i]);
    }
    EXPECT_EQ(read->params.at("p" + std::to_string(i)).as_double(), numbers[i]);
  }
}

TEST_P(StorageConformance, ThreadsGetDistinctNumbers) {
  const auto id = new_study();
  {
    std::vector<std::jthread> threads;
    for (int t = 0; t < 6; ++t) {
      threads.emplace_back([&, this] {
        for (int i = 0; i < 10; ++i) {
          const auto trial = storage->create_trial(id);
          storage->update_trial(trial->trial_id, {.params = {param("x", 1)}});
          storage->read_trials(id, {}, -1);
          storage->update_trial(trial->trial_id, {.state = TrialState::complete, .values = {1.0}});
        }
      });
    }
  }
  const auto trials = storage->read_trials(id, {}, -1);
  ASSERT_EQ(trials.size(), 60u);
  for (std::size_t i = 0; i < trials.size(); ++i) {
    EXPECT_EQ(trials[i]->number, static_cast<std::int64_t>(i));
    EXPECT_EQ(trials[i]->state, TrialState::complete);
    EXPECT_EQ(trials[i]->params.size(), 1u);
  }
}

}  // namespace levin::tune::testing
