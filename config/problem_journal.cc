#include "config/problem_journal.h"

namespace edgemux::config {

ProblemJournal::News ProblemJournal::update(const std::vector<Diagnostic>& standing, bool repeat, bool whole) {
  News news;
  if (!repeat && whole && !partial_ && standing == standing_) return news;
  partial_ = !whole;
  std::set<std::string> now;
  for (const Diagnostic& problem : standing) {
    std::string headline = problem.headline();
    const bool known = !repeat && told_.contains(headline);
    if (now.insert(std::move(headline)).second && !known) news.fresh.push_back(problem);
  }
  if (!whole) {
    told_.merge(now);
    return news;
  }
  for (const std::string& headline : told_) {
    if (!now.contains(headline)) news.solved.push_back(headline);
  }
  told_ = std::move(now);
  standing_ = standing;
  return news;
}

}  // namespace edgemux::config
