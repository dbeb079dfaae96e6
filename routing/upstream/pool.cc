#include "routing/upstream/pool.h"

#include <fmt/core.h>

#include <algorithm>
#include <iterator>
#include <utility>

#include "core/base/log.h"
#include "routing/upstream/outlier.h"

namespace edgemux::routing {

namespace {

constexpr std::uint64_t kPatience = 8;  // who waits elsewhere for that part of timeouts.pending longer goes first

}  // namespace

UpstreamPool::UpstreamPool(UpstreamContext& context, UpstreamPtr upstream)
    : context_(context),
      upstream_(std::move(upstream)),
      balancer_(context.offset),
      by_load_(upstream_->balance.kind == Balance::least_connections || upstream_->balance.kind == Balance::random_two),
      serve_(
          context.loop, [](void* self) { static_cast<UpstreamPool*>(self)->serve_waiting(); }, this),
      self_(std::make_shared<UpstreamPool*>(this)) {
  // A limit may come later, and this pool's idle connections count against it then.
  upstream_->state->runtime().places.join(*this);
}

UpstreamPool::~UpstreamPool() {
  upstream_->state->runtime().places.leave(*this);
  while (!waiting_.empty()) {
    const Waiting& first = waiting_.front();
    first.stream != nullptr ? first.stream->release() : first.tunnel->leave();
  }
  while (!all_.empty()) all_.back()->close();
}

void UpstreamPool::refresh() {
  const std::uint64_t version = upstream_->state->version();
  const std::uint64_t now = context_.loop.now();
  if (version == version_ && !balancer_.due(now)) return;
  version_ = version;
  balancer_.rebuild(upstream_->state->endpoints(), upstream_->balance, now);
  if (endpoints_ == balancer_.rotation()) return;
  endpoints_ = balancer_.rotation();
  sort_anew();
}

void UpstreamPool::sort_anew() {
  slots_.assign(endpoints_->endpoints.size(), {});
  for (const auto& connection : all_) connection->slot_ = slot_of(*connection);
  for (auto* one = room_.first(); one != nullptr; one = room_.after(*one)) {
    if (one->slot_ != kNoSlot) slots_[one->slot_].add(*one);
  }
  // Idle connections to endpoints that are gone are of no use; busy ones find out when they are given back.
  for (auto* one = room_.first(); one != nullptr;) {
    UpstreamConnection& connection = *one;
    one = room_.after(connection);
    if (connection.slot_ != kNoSlot) continue;
    unlist(connection);
    if (connection.idle()) connection.close();
  }
}

std::uint64_t UpstreamPool::source_of(const Wish& wish) const {
  const bool asked = upstream_->balance.kind == Balance::source_hash && wish.client != nullptr;
  return asked ? source_hash(*wish.client) : 0;
}

UpstreamPool::Pick UpstreamPool::pick(std::uint64_t source, const EndpointState* avoid) {
  refresh();
  return {endpoints_, balancer_.pick(source, avoid)};
}

void UpstreamPool::charge(const Endpoint& endpoint) const {
  if (by_load_) endpoint.state->active.fetch_add(1, std::memory_order_relaxed);
}

void UpstreamPool::discharge(const Endpoint& endpoint) const {
  if (by_load_) endpoint.state->active.fetch_sub(1, std::memory_order_relaxed);
}

void UpstreamPool::failed(const Endpoint& endpoint) {
  const auto set = upstream_->state->endpoints();
  const milliseconds out = note_failure(*endpoint.state, upstream_->state->runtime(), upstream_->outlier,
                                        set->endpoints.size(), context_.loop.now());
  if (out.count() == 0) return;
  const std::string text =
      fmt::format("{}: {} is ejected for {} ms: {} failures in a row", upstream_->title(), endpoint.text, out.count(),
                  endpoint.state->failures.load(std::memory_order_relaxed));
  if (upstream_->tenant == nullptr) return core::log_line(core::LogLevel::warn, text);
  core::log_limited(core::LogLevel::warn, {"ejected", upstream_->identity}, "{}", text);
}

void UpstreamPool::succeeded(const Endpoint& endpoint) const {
  if (upstream_->outlier.consecutive_failures != 0) note_success(*endpoint.state);
}

std::size_t UpstreamPool::slot_of(const UpstreamConnection& connection) const {
  if (connection.endpoint_ == nullptr) return kNoSlot;
  const auto& endpoints = endpoints_->endpoints;
  const auto found = std::find_if(endpoints.begin(), endpoints.end(),
                                  [&](const Endpoint& e) { return e.state == connection.endpoint_->state; });
  return found == endpoints.end() ? kNoSlot : static_cast<std::size_t>(found - endpoints.begin());
}

bool UpstreamPool::suits(const UpstreamConnection& connection, const UpstreamStream& stream) {
  return connection.lendable() && !(stream.needs_http1_ && connection.codec_->multiplexed());
}

UpstreamConnection* UpstreamPool::find_room(std::size_t turn, const UpstreamStream& stream) {
  if (turn >= slots_.size()) return nullptr;
  const auto& slot = slots_[turn];
  for (UpstreamConnection* one = slot.last(); one != nullptr;) {
    UpstreamConnection& connection = *one;
    one = slot.before(connection);
    if (!suits(connection, stream)) continue;
    if (!worn(connection)) return &connection;
    unlist(connection);  // its streams may go on for long
  }
  return nullptr;
}

bool UpstreamPool::worn(const UpstreamConnection& connection) const {
  return connection.codec_->multiplexed() && !connection.idle() && !worth_keeping(connection);
}

void UpstreamPool::list(UpstreamConnection& connection) {
  if (connection.listed_) return;
  connection.listed_ = true;
  room_.add(connection);
  slots_[connection.slot_].add(connection);
}

void UpstreamPool::unlist(UpstreamConnection& connection) {
  if (!connection.listed_) return;
  connection.listed_ = false;
  room_.take(connection);
  if (connection.slot_ != kNoSlot) slots_[connection.slot_].take(connection);
}

bool UpstreamPool::lease() {
  auto& count = upstream_->state->runtime().connections;
  if (upstream_->max_connections == 0) {  // counted to be shown
    count.fetch_add(1, std::memory_order_relaxed);
    return true;
  }
  for (;;) {
    if (count.fetch_add(1) < upstream_->max_connections) return true;
    count.fetch_sub(1);
    if (!close_oldest_idle()) return false;
  }
}

void UpstreamPool::end_lease() {
  UpstreamRuntime& runtime = upstream_->state->runtime();
  runtime.connections.fetch_sub(1);
  if (runtime.pending.load() != 0) runtime.places.place_freed();
}

bool UpstreamPool::lease_request(UpstreamStream& stream) {
  if (upstream_->max_requests == 0) return true;
  auto& count = upstream_->state->runtime().requests;
  if (count.fetch_add(1, std::memory_order_relaxed) >= upstream_->max_requests) {
    count.fetch_sub(1, std::memory_order_relaxed);
    return false;
  }
  stream.counted_ = true;
  return true;
}

void UpstreamPool::end_request(UpstreamStream& stream) {
  if (std::exchange(stream.counted_, false)) {
    upstream_->state->runtime().requests.fetch_sub(1, std::memory_order_relaxed);
  }
}

bool UpstreamPool::take_place() {
  used_ = true;
  // Nobody overtakes those that wait.
  if (!waiting_.empty() || others_first() || !lease()) return false;
  ++tunnels_;
  return true;
}

bool UpstreamPool::wait_for_place(PlaceTurn& turn) {
  if (!may_wait()) {
    (void)overflow(upstream_->max_pending == 0 ? "limits.connections is reached" : "limits.pending is reached");
    return false;
  }
  turn.begin(*this);
  queue({nullptr, &turn});
  return true;
}

void UpstreamPool::give_place() {
  --tunnels_;
  end_lease();
}

UpstreamPool::Acquired UpstreamPool::acquire(UpstreamStream& stream, const Wish& wish) {
  used_ = true;
  if (!upstream_->transport.refused.empty()) return Acquired::refused;
  if (!lease_request(stream)) return overflow("limits.requests is reached");
  stream.source_ = source_of(wish);
  stream.avoid_ = wish.avoid;
  stream.needs_http1_ = wish.upgrade && tls_decides();
  // Nobody overtakes those that wait.
  if (!waiting_.empty()) return wait_for_place(stream);
  const bool last = others_first();
  Pick choice = pick(stream.source_, stream.avoid_);
  if (!wish.fresh) {
    if (UpstreamConnection* connection = find_room(choice.first, stream); may_lend(connection, last)) {
      lend(*connection, stream);
      return Acquired::ready;
    }
  }
  if (const std::size_t first = first_choice(*choice.endpoints, choice.first, context_.loop.now());
      first != choice.first) {
    choice.first = first;
    if (UpstreamConnection* connection = wish.fresh ? nullptr : find_room(first, stream); may_lend(connection, last)) {
      lend(*connection, stream);
      return Acquired::ready;
    }
  }
  if (UpstreamConnection* connection = find_in_the_making(choice, stream); connection != nullptr) {
    connection->expect(stream);
    return Acquired::waiting;
  }
  if (last || !lease()) {
    UpstreamConnection* const shared = stream.needs_http1_ ? nullptr : find_any(true);
    if (shared == nullptr) return wait_for_place(stream);
    lend(*shared, stream);
    return Acquired::ready;
  }
  connect(stream, std::move(choice));
  return Acquired::waiting;
}

bool UpstreamPool::may_lend(const UpstreamConnection* connection, bool others_first) {
  return connection != nullptr && (!others_first || connection->codec_->multiplexed());
}

void UpstreamPool::lend(UpstreamConnection& connection, UpstreamStream& stream) {
  unpark(connection);
  context_.metrics.upstream_reuses.add();
  connection.attach(stream);
  if (!connection.codec_->multiplexed()) unlist(connection);
}

void UpstreamPool::connect(UpstreamStream& stream, Pick choice) {
  auto made = std::make_unique<UpstreamConnection>(*this, context_, std::move(choice.endpoints), choice.first,
                                                   stream.needs_http1_);
  UpstreamConnection* connection = made.get();
  connection->index_ = all_.size();
  all_.push_back(std::move(made));
  connection->expect(stream);
  connection->connector_->start();
}

// ---- waiting for a place ----

UpstreamPool::Acquired UpstreamPool::wait_for_place(UpstreamStream& stream) {
  if (!may_wait()) {
    end_request(stream);
    return overflow(upstream_->max_pending == 0 ? "limits.connections is reached" : "limits.pending is reached");
  }
  stream.begin_waiting(*this);
  queue({&stream, nullptr});
  return Acquired::waiting;
}

bool UpstreamPool::may_wait() {
  UpstreamRuntime& runtime = upstream_->state->runtime();
  const bool room = runtime.pending.fetch_add(1) < upstream_->max_pending;
  // Where others only keep connections for later, a short wait is no waiting: they are asked for one.
  if (runtime.places.ask_for_place(*this) || room) return true;
  runtime.pending.fetch_sub(1);
  return false;
}

void UpstreamPool::queue(Waiting one) {
  one.since = context_.loop.now();
  waiting_.push_back(one);
  waits_since.store(waiting_.front().since);
  // A place that was given up before others could see us waiting is found now.
  serve_.request();
}

UpstreamConnection* UpstreamPool::find_in_the_making(const Pick& choice, const UpstreamStream& stream) const {
  if (!may_share() || (tls_decides() && stream.needs_http1_)) return nullptr;
  if (choice.first >= choice.endpoints->endpoints.size()) return nullptr;
  const core::SocketAddress& address = choice.endpoints->endpoints[choice.first].address;
  for (const auto& connection : all_) {
    if (!connection->in_the_making() || connection->http1_only_ || connection->waiting_.size() >= kMostWaiting)
      continue;
    // It may go on to others of the endpoints that it knows: those have to be today's.
    if (connection->endpoints_ != choice.endpoints && connection->state_ != UpstreamConnection::State::open) continue;
    if (const Endpoint* aim = connection->aim(); aim != nullptr && aim->address == address) return connection.get();
  }
  return nullptr;
}

void UpstreamPool::move_on(UpstreamStream& stream) {
  auto& others = stream.connection_->waiting_;
  others.erase(std::find(others.begin(), others.end(), &stream));
  Pick choice = pick(stream.source_, stream.avoid_);
  if (UpstreamConnection* connection = find_in_the_making(choice, stream); connection != nullptr) {
    return connection->expect(stream);
  }
  if (lease()) return connect(stream, std::move(choice));
  stream.connection_ = nullptr;
  stream.state_ = UpstreamStream::State::none;
  if (wait_for_place(stream) == Acquired::waiting) return;
  stream.observer_.on_upstream_failed({UpstreamFailure::Kind::limit, limit_reason_});
}

void UpstreamPool::stop_waiting(const UpstreamStream& stream) {
  took_from_queue(std::erase_if(waiting_, [&stream](const Waiting& one) { return one.stream == &stream; }));
  upstream_->state->runtime().places.place_freed();  // others may have let it go first
}

void UpstreamPool::stop_waiting(const PlaceTurn& turn) {
  took_from_queue(std::erase_if(waiting_, [&turn](const Waiting& one) { return one.tunnel == &turn; }));
  upstream_->state->runtime().places.place_freed();
}

void UpstreamPool::take_first() {
  waiting_.pop_front();
  took_from_queue(1);
}

void UpstreamPool::took_from_queue(std::size_t count) {
  waits_since.store(waiting_.empty() ? PlaceBoard::kNever : waiting_.front().since);
  upstream_->state->runtime().pending.fetch_sub(static_cast<std::uint32_t>(count));
}

bool UpstreamPool::others_first() const {
  if (upstream_->max_connections == 0) return false;
  UpstreamRuntime& runtime = upstream_->state->runtime();
  if (runtime.pending.load() == 0) return false;
  const std::uint64_t mine = waiting_.empty() ? context_.loop.now() : waiting_.front().since;
  const auto patience = static_cast<std::uint64_t>(upstream_->pending_timeout.count()) / kPatience;
  return patience < mine && runtime.places.anyone_waits_since_before(mine - patience, *this);
}

void UpstreamPool::give_way() {
  if (close_oldest_idle()) return;  // which tells the others
  upstream_->state->runtime().places.place_freed();
}

std::string UpstreamPool::waited_in_vain() {
  upstream_->state->runtime().overflows.fetch_add(1, std::memory_order_relaxed);
  return "limits.connections is reached, and no connection became free within " +
         std::to_string(upstream_->pending_timeout.count()) + " ms";
}

void UpstreamPool::serve_waiting() {
  const bool told = std::exchange(told_, false);
  while (!waiting_.empty()) {
    const Waiting first = waiting_.front();
    const bool last = others_first();
    if (first.tunnel != nullptr) {
      if (last) return give_way();
      if (!lease()) return ask_again(told);
      take_first();
      ++tunnels_;
      first.tunnel->got_place();
      continue;
    }
    refresh();
    const std::size_t turn = balancer_.pick(first.stream->source_, first.stream->avoid_);
    UpstreamConnection* connection = find_room(turn, *first.stream);
    if (!may_lend(connection, last)) {
      if (!last && lease()) {
        take_first();
        connect(*first.stream, {endpoints_, turn});
        continue;
      }
      // At the limit any connection will do, and over a shared one an Upgrade is ignored: all the others wait behind
      // it.
      connection = find_any(last);
      if (connection == nullptr) return last ? give_way() : ask_again(told);
    }
    take_first();
    lend(*connection, *first.stream);
    first.stream->observer_.on_upstream_ready();
  }
  pass_on_places();
}

UpstreamConnection* UpstreamPool::find_any(bool others_first) {
  for (UpstreamConnection* one = room_.last(); one != nullptr;) {
    UpstreamConnection& connection = *one;
    one = room_.before(connection);
    if (!connection.lendable() || !may_lend(&connection, others_first)) continue;
    if (!worn(connection)) return &connection;
    unlist(connection);
  }
  if (!may_share()) return nullptr;
  for (const auto& one : all_) {
    if (one->lendable() && one->codec_->multiplexed() && lasts(*one)) return one.get();
  }
  return nullptr;
}

void UpstreamPool::ask_again(bool told) {
  if (told) (void)upstream_->state->runtime().places.ask_for_place(*this);
}

void UpstreamPool::pass_on_places() {
  if (upstream_->max_connections == 0) return;
  if (upstream_->state->runtime().pending.load() != 0) give_way();
}

bool UpstreamPool::close_oldest_idle() {
  UpstreamConnection* one = room_.first();
  while (one != nullptr && !one->idle()) one = room_.after(*one);
  if (one != nullptr) one->close();
  return one != nullptr;
}

void UpstreamPool::post(void (*act)(UpstreamPool& pool)) {
  context_.loop.post([weak = std::weak_ptr<UpstreamPool*>(self_), act] {
    if (const auto self = weak.lock()) act(**self);
  });
}

void UpstreamPool::on_place_freed() {
  post([](UpstreamPool& pool) {
    pool.told_ = true;
    pool.serve_.request();
  });
}

void UpstreamPool::on_asked_for_place() {
  post([](UpstreamPool& pool) { (void)pool.close_oldest_idle(); });
}

UpstreamPool::Acquired UpstreamPool::overflow(const char* reason) {
  limit_reason_ = reason;
  upstream_->state->runtime().overflows.fetch_add(1, std::memory_order_relaxed);
  return Acquired::limit;
}

void UpstreamPool::unpark(UpstreamConnection& connection) {
  if (!std::exchange(connection.parked_, false)) return;
  context_.metrics.upstream_idle.sub();
  idle.fetch_sub(1, std::memory_order_relaxed);
}

bool UpstreamPool::may_share() const {
  const UpstreamTransport& transport = upstream_->transport;
  return (transport.version == HttpVersion::http2 || tls_decides()) &&
         transport.proxy_protocol == core::ProxyVersion::off;
}

bool UpstreamPool::used_up(const UpstreamConnection& connection) const {
  return upstream_->keepalive.max_requests != 0 && connection.requests_ >= upstream_->keepalive.max_requests;
}

bool UpstreamPool::lasts(const UpstreamConnection& connection) const {
  if (upstream_->state->gone()) return false;
  // It belongs to the client that its header named.
  if (upstream_->transport.proxy_protocol != core::ProxyVersion::off) return false;
  return !connection.write_failed_ && !connection.mute_ && connection.slot_ != kNoSlot;
}

bool UpstreamPool::worth_keeping(const UpstreamConnection& connection) const {
  const auto max_age = static_cast<std::uint64_t>(upstream_->keepalive.max_age.count());
  const bool old = max_age != 0 && context_.loop.now() - connection.connected_at_ >= max_age;
  return !old && !used_up(connection) && lasts(connection);
}

void UpstreamPool::take_back(UpstreamConnection& connection) {
  const bool worth = worth_keeping(connection);
  if (!connection.idle()) {
    // Shared with other streams.
    if (worth && connection.has_room()) {
      list(connection);
    } else {
      unlist(connection);
    }
    if (!waiting_.empty() && connection.lendable()) serve_.request();
    return;
  }
  const Keepalive& keep = upstream_->keepalive;
  // Another worker waits for the place.
  const bool scarce = upstream_->max_connections != 0 &&
                      (waiting_.empty() ? upstream_->state->runtime().pending.load() != 0 : others_first());
  const bool multiplexed = connection.codec_->multiplexed();
  const bool left_over = !multiplexed && (!connection.output_.empty() || !connection.stash_.empty());
  if (!worth || scarce || left_over || !connection.codec_->reusable() ||
      room_.size() - (connection.listed_ ? 1 : 0) >= keep.connections || (!multiplexed && connection.says_more())) {
    connection.close();
    return;
  }
  std::uint64_t until = context_.loop.now() + static_cast<std::uint64_t>(keep.idle.count());
  if (keep.max_age.count() != 0) {
    until = std::min(until, connection.connected_at_ + static_cast<std::uint64_t>(keep.max_age.count()));
  }
  connection.park(until);
  list(connection);
  if (!std::exchange(connection.parked_, true)) {
    context_.metrics.upstream_idle.add();
    idle.fetch_add(1, std::memory_order_relaxed);
    if (context_.metrics.upstream_idle.read() > context_.most_idle) (void)context_.pools->give_away(1);
  }
  if (!waiting_.empty()) serve_.request();
}

void UpstreamPool::remove(UpstreamConnection& connection) {
  end_lease();
  unpark(connection);
  unlist(connection);
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
  while (close_oldest_idle()) {
  }
}

bool UpstreamPool::unused() {
  const bool used = used_;
  used_ = false;
  return all_.empty() && waiting_.empty() && tunnels_ == 0 && !used;
}

UpstreamPool& UpstreamPools::of(const UpstreamPtr& upstream) {
  if (upstream->id >= pools_.size()) pools_.resize(upstream->id + 1);
  auto& pool = pools_[upstream->id];
  if (pool == nullptr || pool->upstream().identity != upstream->identity) {
    pool = std::make_unique<UpstreamPool>(context_, upstream);
  }
  return *pool;
}

void UpstreamPools::refresh(std::size_t most) {
  for (std::size_t n = std::min(most, pools_.size()); n > 0; --n) {
    const auto& pool = pools_[refreshed_++ % pools_.size()];
    if (pool != nullptr) pool->refresh();
  }
}

void UpstreamPools::sweep() {
  for (auto& pool : pools_) {
    if (pool == nullptr) continue;
    pool->refresh();
    if (pool->unused()) pool.reset();
  }
}

void UpstreamPools::close_gone() {
  for (auto& pool : pools_) {
    if (pool != nullptr && pool->upstream().state->gone()) pool->close_idle();
  }
}

std::size_t UpstreamPools::give_away(std::size_t most) {
  std::size_t gone = 0;
  std::size_t without = 0;  // pools in a row
  while (gone < most && without < pools_.size() && context_.metrics.upstream_idle.read() > 0) {
    const auto& pool = pools_[turn_++ % pools_.size()];
    const bool closed = pool != nullptr && pool->close_oldest_idle();
    gone += closed ? 1 : 0;
    without = closed ? 0 : without + 1;
  }
  return gone;
}

void UpstreamPools::close_idle() {
  for (auto& pool : pools_) {
    if (pool != nullptr) pool->close_idle();
  }
}

}  // namespace edgemux::routing
