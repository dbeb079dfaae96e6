#include "routing/table/claims.h"

#include <algorithm>

#include "routing/table/host_table.h"

namespace edgemux::routing {
namespace {

std::size_t labels_of(std::string_view suffix) {
  return static_cast<std::size_t>(std::count(suffix.begin(), suffix.end(), '.'));
}

}  // namespace

ClaimTable::ClaimTable(std::vector<Claim> claims, std::vector<std::pair<std::size_t, std::size_t>>* again)
    : claims_(std::move(claims)) {
  index_.reserve(claims_.size());
  for (std::size_t i = 0; i < claims_.size(); ++i) {
    const std::string_view key = host_key(claims_[i].host);
    const auto [at, fresh] = index_.try_emplace(key, static_cast<std::uint32_t>(i));
    if (!fresh && again != nullptr) again->emplace_back(i, at->second);
    if (key.size() != claims_[i].host.size()) wildcard_labels_.set(labels_of(key));
  }
}

const Claim* ClaimTable::find(std::string_view host) const {
  if (index_.empty()) return nullptr;
  const std::string_view name = host_key(host);
  if (const auto at = index_.find(name); at != index_.end()) return &claims_[at->second];
  std::size_t labels = labels_of(name) + (name.size() == host.size() ? 1 : 0);  // of the name as a whole
  for (std::size_t dot = name.find('.', 1); dot != std::string_view::npos; dot = name.find('.', dot + 1)) {
    --labels;
    if (labels >= wildcard_labels_.size() || !wildcard_labels_.test(labels)) continue;
    if (const auto at = index_.find(name.substr(dot)); at != index_.end()) return &claims_[at->second];
  }
  return nullptr;
}

}  // namespace edgemux::routing
