#include "core/tls/certificate_store.h"

#include <algorithm>
#include <compare>
#include <ctime>

namespace edgemux::core {

CertificateStore::CertificateStore(std::vector<CertifiedKeyPtr> pairs) : pairs_(std::move(pairs)) {
  if (!pairs_.empty()) add_scope({}, 0);
}

CertificateStore::CertificateStore(std::vector<ScopedPair> pairs) {
  std::stable_sort(pairs.begin(), pairs.end(),
                   [](const ScopedPair& a, const ScopedPair& b) { return a.scope < b.scope; });
  pairs_.reserve(pairs.size());
  std::size_t first = 0;
  for (std::size_t i = 0; i < pairs.size(); ++i) {
    pairs_.push_back(std::move(pairs[i].pair));
    if (i + 1 < pairs.size() && pairs[i + 1].scope == pairs[i].scope) continue;
    add_scope(std::move(pairs[i].scope), first);
    first = i + 1;
  }
}

// All pairs from that one on are the scope's.
void CertificateStore::add_scope(std::string name, std::size_t first_pair) {
  const std::size_t begin = slots_.size();
  for (std::size_t i = first_pair; i < pairs_.size(); ++i) {
    for (const std::string& host : pairs_[i]->names) slots_.push_back({host, static_cast<std::uint32_t>(i)});
  }
  // Stable: of two that expire together the first listed comes first.
  std::stable_sort(slots_.begin() + static_cast<std::ptrdiff_t>(begin), slots_.end(),
                   [this](const Slot& a, const Slot& b) {
                     if (const auto order = a.name <=> b.name; order != 0) return order < 0;
                     return pairs_[a.pair]->not_after > pairs_[b.pair]->not_after;
                   });
  scopes_.push_back({std::move(name), begin, slots_.size()});
}

const CertificateStore::Scope* CertificateStore::scope_of(std::string_view name) const {
  const auto at = std::lower_bound(scopes_.begin(), scopes_.end(), name,
                                   [](const Scope& scope, std::string_view wanted) { return scope.name < wanted; });
  return at != scopes_.end() && at->name == name ? &*at : nullptr;
}

std::span<const CertificateStore::Slot> CertificateStore::probe(std::string_view name, const Scope& scope) const {
  const Slot* const begin = slots_.data() + scope.begin;
  const Slot* const end = slots_.data() + scope.end;
  const auto* first =
      std::lower_bound(begin, end, name, [](const Slot& slot, auto wanted) { return slot.name < wanted; });
  const auto* last = std::find_if(first, end, [name](const Slot& slot) { return slot.name != name; });
  return {first, last};
}

CertificateChoice CertificateStore::find_in(std::string_view name, const Scope& scope, std::int64_t now) const {
  auto slots = probe(name, scope);
  if (slots.empty()) {
    const std::size_t dot = name.find('.');
    if (dot == std::string_view::npos || dot == 0) return {};
    std::string wildcard = "*";
    wildcard += name.substr(dot);
    slots = probe(wildcard, scope);
  }
  const auto holds = [now](const CertifiedKeyPtr& pair) { return pair->not_before <= now && now <= pair->not_after; };
  CertificateChoice choice;
  for (const Slot& slot : slots) {
    const CertifiedKeyPtr& pair = pairs_[slot.pair];
    const CertifiedKeyPtr*& best = pair->ecdsa ? choice.ecdsa : choice.rsa;
    if (best == nullptr || (!holds(*best) && holds(pair))) best = &pair;
  }
  if (choice.ecdsa == nullptr || choice.rsa == nullptr) return choice;
  const bool ecdsa = holds(*choice.ecdsa);
  const bool rsa = holds(*choice.rsa);
  if (ecdsa && !rsa) choice.rsa = nullptr;
  if (rsa && !ecdsa) choice.ecdsa = nullptr;
  return choice;
}

CertificateChoice CertificateStore::find(std::string_view name, std::string_view scope, std::int64_t now) const {
  if (name.empty() || name.front() == '*') return {};
  if (now == 0) now = std::time(nullptr);
  if (const Scope* own = scope.empty() ? nullptr : scope_of(scope)) {
    if (const auto choice = find_in(name, *own, now)) return choice;
  }
  const Scope* everybody = scope_of({});
  return everybody == nullptr ? CertificateChoice{} : find_in(name, *everybody, now);
}

}  // namespace edgemux::core
