#include "config/problem_journal.h"

namespace edgemux::config {

ProblemJournal::News ProblemJournal::update(const std::vector<Diagnostic>& standing, bool repeat) {
  News news;
  if (!repeat && standing == standing_) return news;
  std::set<std::string> now;
  for (const Diagnostic& problem : standing) {
    std::string headline = problem.headline();
    const bool known = !repeat && told_.contains(headline);
    if (now.insert(std::move(headline)).second && !known) news.fresh.push_back(problem);
  }
  for (const std::string& headline : told_) {
    if (!now.contains(headline)) news.solved.push_back(headline);
  }
  told_ = std::move(now);
  standing_ = standing;
  return news;
}

}  // namespace edgemux::config
