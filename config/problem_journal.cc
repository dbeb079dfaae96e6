#include "config/problem_journal.h"

#include <map>
#include <string_view>

namespace edgemux::config {
namespace {

bool is_number_at(std::string_view text, std::size_t& at) {
  const std::size_t begin = at;
  while (at < text.size() && text[at] >= '0' && text[at] <= '9') ++at;
  return at != begin;
}

// What a headline says, wherever it stands: an edit above a problem moves it, and what it refers to. The places are
// ":LINE:COLUMN" behind a file and "at LINE:COLUMN".
std::string without_places(std::string_view headline) {
  std::string out;
  for (std::size_t at = 0; at < headline.size();) {
    const bool may_begin = headline[at] == ':' || (headline[at] == ' ' && out.ends_with("at"));
    std::size_t end = at + 1;
    if (may_begin && is_number_at(headline, end) && end < headline.size() && headline[end] == ':' &&
        is_number_at(headline, ++end)) {
      at = end;
    } else {
      out += headline[at++];
    }
  }
  return out;
}

}  // namespace

ProblemJournal::News ProblemJournal::update(const std::vector<Diagnostic>& standing, bool repeat, bool whole) {
  News news;
  if (!repeat && whole && !partial_ && standing == standing_) return news;
  partial_ = !whole;
  std::set<std::string> now;
  std::vector<const Diagnostic*> unknown;
  for (const Diagnostic& problem : standing) {
    std::string headline = problem.headline();
    const bool known = told_.contains(headline);
    if (!now.insert(std::move(headline)).second) continue;
    if (repeat) news.fresh.push_back(problem);
    if (!known) unknown.push_back(&problem);
  }
  std::multimap<std::string, std::string> left;  // told, and not where it was: by what it says
  for (const std::string& headline : told_) {
    if (!now.contains(headline)) left.emplace(without_places(headline), headline);
  }
  for (const Diagnostic* problem : unknown) {
    const auto moved = left.find(without_places(problem->headline()));
    if (moved != left.end()) {
      told_.erase(moved->second);
      left.erase(moved);
    } else if (!repeat) {
      news.fresh.push_back(*problem);
    }
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
