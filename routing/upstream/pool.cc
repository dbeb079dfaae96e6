#include "routing/upstream/pool.h"

#include <algorithm>

namespace edgemux::routing {

UpstreamPool::UpstreamPool(UpstreamContext& context, UpstreamPtr upstream)
    : context_(context), upstream_(std::move(upstream)), next_(context.offset) {}

UpstreamPool::~UpstreamPool() {
  while (!all_.empty()) all_.back()->close();
}

void UpstreamPool::refresh() {
  const std::uint64_t version = upstream_->state->version();
  if (version == version_) return;
  version_ = version;
  endpoints_ = upstream_->state->endpoints();
  for (const auto& connection : all_) connection->slot_ = slot_of(*connection);
  // Idle connections to endpoints that are gone are of no use; busy ones find out when they are released.
  const auto idle = idle_;
  for (auto* connection : idle) {
    if (connection->slot_ == kNoSlot) connection->close();
  }
}

UpstreamPool::Pick UpstreamPool::pick() {
  refresh();
  return {endpoints_, next_++};
}

std::size_t UpstreamPool::slot_of(const UpstreamConnection& connection) const {
  if (connection.endpoint_ == nullptr) return kNoSlot;
  const auto& endpoints = endpoints_->endpoints;
  const auto found = std::find_if(endpoints.begin(), endpoints.end(),
                                  [&](const Endpoint& e) { return e.address == connection.endpoint_->address; });
  return found == endpoints.end() ? kNoSlot : static_cast<std::size_t>(found - endpoints.begin());
}

UpstreamConnection* UpstreamPool::take_idle(std::size_t turn) {
  if (idle_.empty() || endpoints_->endpoints.empty()) return nullptr;
  const std::size_t slot = turn % endpoints_->endpoints.size();
  const auto found = std::find_if(idle_.rbegin(), idle_.rend(), [&](const auto* idle) { return idle->slot_ == slot; });
  if (found == idle_.rend()) return nullptr;
  UpstreamConnection* connection = *found;
  idle_.erase(std::next(found).base());
  context_.metrics.upstream_idle.sub();
  context_.metrics.upstream_reuses.add();
  return connection;
}

bool UpstreamPool::lease() {
  if (upstream_->max_connections == 0) return true;
  auto& count = upstream_->state->connections;
  for (;;) {
    if (count.fetch_add(1, std::memory_order_relaxed) < upstream_->max_connections) return true;
    count.fetch_sub(1, std::memory_order_relaxed);
    if (idle_.empty()) return false;
    idle_.front()->close();
  }
}

void UpstreamPool::end_lease() {
  if (upstream_->max_connections != 0) upstream_->state->connections.fetch_sub(1, std::memory_order_relaxed);
}

bool UpstreamPool::take_place() {
  used_ = true;
  if (!lease()) return false;
  ++tunnels_;
  return true;
}

void UpstreamPool::give_place() {
  --tunnels_;
  end_lease();
}

UpstreamConnection* UpstreamPool::acquire(UpstreamConnection::Observer& observer, bool fresh) {
  used_ = true;
  Pick choice = pick();
  if (!fresh) {
    if (UpstreamConnection* connection = take_idle(choice.first); connection != nullptr) {
      connection->lend(observer);
      return connection;
    }
  }
  if (!lease()) return nullptr;
  auto made = std::make_unique<UpstreamConnection>(*this, context_, std::move(choice.endpoints), choice.first,
                                                   upstream_->connect_timeout);
  UpstreamConnection* connection = made.get();
  connection->leased_ = upstream_->max_connections != 0;
  connection->index_ = all_.size();
  all_.push_back(std::move(made));
  connection->lend(observer);
  connection->connector_->start();
  return connection;
}

void UpstreamPool::release(UpstreamConnection& connection) {
  const Keepalive& keep = upstream_->keepalive;
  const std::uint64_t now = context_.loop.now();
  const std::uint64_t age = now - connection.connected_at_;
  const auto max_age = static_cast<std::uint64_t>(keep.max_age.count());
  const bool worn =
      (max_age != 0 && age >= max_age) || (keep.max_requests != 0 && connection.requests_ >= keep.max_requests);
  // At the limit the place is worth more than the connection: another worker may be waiting for it.
  const bool scarce =
      connection.leased_ && upstream_->state->connections.load(std::memory_order_relaxed) >= upstream_->max_connections;
  if (connection.state_ != UpstreamConnection::State::busy || !connection.codec_.reusable() ||
      !connection.output_.empty() || connection.write_failed_ || !connection.stash_.empty() || worn || scarce ||
      idle_.size() >= keep.connections || connection.slot_ == kNoSlot) {
    connection.close();
    return;
  }
  std::uint64_t until = now + static_cast<std::uint64_t>(keep.idle.count());
  if (max_age != 0) until = std::min(until, connection.connected_at_ + max_age);
  connection.park(until);
  idle_.push_back(&connection);
  context_.metrics.upstream_idle.add();
}

void UpstreamPool::forget_idle(UpstreamConnection& connection) {
  const auto place = std::find(idle_.begin(), idle_.end(), &connection);
  if (place == idle_.end()) return;
  idle_.erase(place);
  context_.metrics.upstream_idle.sub();
}

void UpstreamPool::remove(UpstreamConnection& connection) {
  if (connection.leased_) end_lease();
  const std::size_t index = connection.index_;
  std::unique_ptr<UpstreamConnection> gone = std::move(all_[index]);
  if (index + 1 != all_.size()) {
    all_[index] = std::move(all_.back());
    all_[index]->index_ = index;
  }
  all_.pop_back();
  context_.loop.retire(std::move(gone));
}

void UpstreamPool::close_idle() {
  while (!idle_.empty()) idle_.back()->close();
}

bool UpstreamPool::unused() {
  const bool used = used_;
  used_ = false;
  return all_.empty() && tunnels_ == 0 && !used;
}

UpstreamPool& UpstreamPools::of(const UpstreamPtr& upstream) {
  if (upstream->id >= pools_.size()) pools_.resize(upstream->id + 1);
  auto& pool = pools_[upstream->id];
  if (pool == nullptr || pool->upstream().identity != upstream->identity) {
    pool = std::make_unique<UpstreamPool>(context_, upstream);
  }
  return *pool;
}

void UpstreamPools::sweep() {
  for (auto& pool : pools_) {
    if (pool != nullptr && pool->unused()) pool.reset();
  }
}

void UpstreamPools::close_idle() {
  for (auto& pool : pools_) {
    if (pool != nullptr) pool->close_idle();
  }
}

}  // namespace edgemux::routing
