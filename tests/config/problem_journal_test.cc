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
