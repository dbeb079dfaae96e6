#include "config/problem_journal.h"

#include <gtest/gtest.h>

namespace edgemux::config {
namespace {

Diagnostic problem(std::uint32_t line, const std::string& message) {
  Diagnostic made;
  made.origin = {std::make_shared<const std::string>("a.yaml"), line, 1};
  made.message = message;
  return made;
}

TEST(ProblemJournal, TellsEachProblemOnce) {
  ProblemJournal journal;
  const std::vector<Diagnostic> standing{problem(1, "one"), problem(2, "two")};
  EXPECT_EQ(journal.update(standing).fresh.size(), 2U);
  for (int i = 0; i < 10; ++i) {
    const auto news = journal.update(standing);
    EXPECT_TRUE(news.fresh.empty());
    EXPECT_TRUE(news.solved.empty());
  }
}

TEST(ProblemJournal, TellsWhatIsNewAndWhatIsGone) {
  ProblemJournal journal;
  journal.update({problem(1, "one"), problem(2, "two")});
  const auto news = journal.update({problem(2, "two"), problem(3, "two")});
  ASSERT_EQ(news.fresh.size(), 1U);
  EXPECT_EQ(news.fresh[0].origin.line, 3U);
  EXPECT_EQ(news.solved, std::vector<std::string>{problem(1, "one").headline()});
  // One that comes back is news.
  EXPECT_EQ(journal.update({problem(1, "one")}).fresh.size(), 1U);
}

TEST(ProblemJournal, WhatMovesIsNeitherNewNorGone) {
  ProblemJournal journal;
  journal.update({problem(1, "one"), problem(2, "two; the first stands at a.yaml:1:3 (used at 9:8, too)")});
  const auto moved =
      journal.update({problem(2, "one"), problem(3, "two; the first stands at a.yaml:2:3 (used at 10:8, too)")});
  EXPECT_TRUE(moved.fresh.empty());
  EXPECT_TRUE(moved.solved.empty());
  // Of two that say the same, one is gone; and another is as good as new.
  journal.update({problem(4, "one"), problem(5, "one")});
  EXPECT_EQ(journal.update({problem(6, "one")}).solved.size(), 1U);
  EXPECT_EQ(journal.update({problem(7, "one"), problem(8, "one")}).fresh.size(), 1U);
  // Ports are no places.
  journal.update({problem(1, "bad endpoint '10.0.0.1:80'")});
  const auto changed = journal.update({problem(1, "bad endpoint '10.0.0.1:81'")});
  EXPECT_EQ(changed.fresh.size(), 1U);
  EXPECT_EQ(changed.solved.size(), 1U);
}

TEST(ProblemJournal, WhatMovedIsRepeatedWhenAsked) {
  ProblemJournal journal;
  journal.update({problem(1, "one")});
  const auto asked = journal.update({problem(2, "one")}, true);
  EXPECT_EQ(asked.fresh.size(), 1U);
  EXPECT_TRUE(asked.solved.empty());
}

TEST(ProblemJournal, WhatMovedWhileALoadFailedIsNotSolvedLater) {
  ProblemJournal journal;
  journal.update({problem(1, "one")});
  EXPECT_TRUE(journal.update({problem(2, "one")}, false, false).fresh.empty());
  const auto whole = journal.update({problem(2, "one")});
  EXPECT_TRUE(whole.fresh.empty());
  EXPECT_TRUE(whole.solved.empty());
}

TEST(ProblemJournal, TellsEqualOnesOfOneLoadOnce) {
  ProblemJournal journal;
  EXPECT_EQ(journal.update({problem(1, "one"), problem(1, "one")}).fresh.size(), 1U);
}

TEST(ProblemJournal, RepeatsEverythingWhenAsked) {
  ProblemJournal journal;
  journal.update({problem(1, "one"), problem(2, "two")});
  const auto news = journal.update({problem(1, "one")}, true);
  EXPECT_EQ(news.fresh.size(), 1U);
  EXPECT_EQ(news.solved.size(), 1U);
}

TEST(ProblemJournal, AFailedLoadSolvesNothing) {
  ProblemJournal journal;
  journal.update({problem(1, "one"), problem(2, "two")});
  const auto failed = journal.update({problem(3, "three")}, false, false);
  EXPECT_EQ(failed.fresh.size(), 1U);
  EXPECT_TRUE(failed.solved.empty());
  EXPECT_TRUE(journal.update({problem(3, "three")}, false, false).fresh.empty()) << "it is told once";
  const auto mended = journal.update({problem(1, "one")});
  EXPECT_TRUE(mended.fresh.empty());
  EXPECT_EQ(mended.solved.size(), 2U);
}

}  // namespace
}  // namespace edgemux::config
