#include "core/tls/certificate_store.h"

#include <algorithm>

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
    const auto number = static_cast<std::uint32_t>(i + 1);
    for (const std::string& host : pairs_[i]->names) {
      slots_.push_back(pairs_[i]->ecdsa ? Slot{host, number, 0} : Slot{host, 0, number});
    }
  }
  // Stable: of two that expire together the first listed wins.
  std::stable_sort(slots_.begin() + static_cast<std::ptrdiff_t>(begin), slots_.end(),
                   [](const Slot& a, const Slot& b) { return a.name < b.name; });
  const auto later = [this](std::uint32_t& best, std::uint32_t other) {
    if (other != 0 && (best == 0 || pairs_[other - 1]->not_after > pairs_[best - 1]->not_after)) best = other;
  };
  std::size_t kept = begin;
  for (std::size_t i = begin; i < slots_.size(); ++i) {
    const Slot slot = slots_[i];
    if (kept > begin && slots_[kept - 1].name == slot.name) {
      later(slots_[kept - 1].ecdsa, slot.ecdsa);
      later(slots_[kept - 1].rsa, slot.rsa);
    } else {
      slots_[kept++] = slot;
    }
  }
  slots_.resize(kept);
  scopes_.push_back({std::move(name), begin, kept});
}

const CertificateStore::Scope* CertificateStore::scope_of(std::string_view name) const {
  const auto at = std::lower_bound(scopes_.begin(), scopes_.end(), name,
                                   [](const Scope& scope, std::string_view wanted) { return scope.name < wanted; });
  return at != scopes_.end() && at->name == name ? &*at : nullptr;
}

const CertificateStore::Slot* CertificateStore::probe(std::string_view name, const Scope& scope) const {
  const auto* begin = slots_.data() + scope.begin;
  const auto* end = slots_.data() + scope.end;
  const auto* at =
      std::lower_bound(begin, end, name, [](const Slot& slot, std::string_view wanted) { return slot.name < wanted; });
  return at != end && at->name == name ? at : nullptr;
}

CertificateChoice CertificateStore::find_in(std::string_view name, const Scope& scope) const {
  const Slot* slot = probe(name, scope);
  if (slot == nullptr) {
    const std::size_t dot = name.find('.');
    if (dot == std::string_view::npos || dot == 0) return {};
    std::string wildcard = "*";
    wildcard += name.substr(dot);
    slot = probe(wildcard, scope);
  }
  CertificateChoice choice;
  if (slot == nullptr) return choice;
  if (slot->ecdsa != 0) choice.ecdsa = &pairs_[slot->ecdsa - 1];
  if (slot->rsa != 0) choice.rsa = &pairs_[slot->rsa - 1];
  return choice;
}

CertificateChoice CertificateStore::find(std::string_view name, std::string_view scope) const {
  if (name.empty() || name.front() == '*') return {};
  if (const Scope* own = scope.empty() ? nullptr : scope_of(scope)) {
    if (const auto choice = find_in(name, *own)) return choice;
  }
  const Scope* everybody = scope_of({});
  return everybody == nullptr ? CertificateChoice{} : find_in(name, *everybody);
}

}  // namespace edgemux::core
