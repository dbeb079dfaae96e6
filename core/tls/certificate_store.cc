#include "core/tls/certificate_store.h"

#include <algorithm>

namespace edgemux::core {

CertificateStore::CertificateStore(std::vector<CertifiedKeyPtr> pairs) : pairs_(std::move(pairs)) {
  std::size_t count = 0;
  for (const CertifiedKeyPtr& pair : pairs_) count += pair->names.size();
  slots_.reserve(count);
  for (std::uint32_t i = 0; i < pairs_.size(); ++i) {
    for (const std::string& name : pairs_[i]->names) {
      slots_.push_back(pairs_[i]->ecdsa ? Slot{name, i + 1, 0} : Slot{name, 0, i + 1});
    }
  }
  // Stable: of two that expire together the first listed wins.
  std::stable_sort(slots_.begin(), slots_.end(), [](const Slot& a, const Slot& b) { return a.name < b.name; });
  const auto later = [this](std::uint32_t& best, std::uint32_t other) {
    if (other != 0 && (best == 0 || pairs_[other - 1]->not_after > pairs_[best - 1]->not_after)) best = other;
  };
  std::size_t kept = 0;
  for (const Slot& slot : slots_) {
    if (kept > 0 && slots_[kept - 1].name == slot.name) {
      later(slots_[kept - 1].ecdsa, slot.ecdsa);
      later(slots_[kept - 1].rsa, slot.rsa);
    } else {
      slots_[kept++] = slot;
    }
  }
  slots_.resize(kept);
  slots_.shrink_to_fit();
}

const CertificateStore::Slot* CertificateStore::probe(std::string_view name) const {
  const auto at = std::lower_bound(slots_.begin(), slots_.end(), name,
                                   [](const Slot& slot, std::string_view wanted) { return slot.name < wanted; });
  return at != slots_.end() && at->name == name ? &*at : nullptr;
}

CertificateChoice CertificateStore::find(std::string_view name) const {
  if (name.empty() || name.front() == '*') return {};
  const Slot* slot = probe(name);
  if (slot == nullptr) {
    const std::size_t dot = name.find('.');
    if (dot == std::string_view::npos || dot == 0) return {};
    std::string wildcard = "*";
    wildcard += name.substr(dot);
    slot = probe(wildcard);
  }
  CertificateChoice choice;
  if (slot == nullptr) return choice;
  if (slot->ecdsa != 0) choice.ecdsa = &pairs_[slot->ecdsa - 1];
  if (slot->rsa != 0) choice.rsa = &pairs_[slot->rsa - 1];
  return choice;
}

}  // namespace edgemux::core
