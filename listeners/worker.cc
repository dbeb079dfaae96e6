#include "listeners/worker.h"

#include <pthread.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "core/base/log.h"
#include "listeners/exchange.h"
#include "routing/table/binds.h"

namespace edgemux::listeners {

namespace {

constexpr std::uint64_t kTickMs = 1000;
constexpr unsigned kSweepTicks = 30;
constexpr std::size_t kRefreshed = 1'000;  // pools in a tick
constexpr unsigned kEvictTicks = 3600;
constexpr std::uint64_t kWindowRounds = 3;       // within tcp.user_timeout
constexpr std::uint64_t kShortestRoundMs = 100;  // however short that is
constexpr std::uint64_t kShortestWindowWaitMs = 2 * core::TimerWheel::kTick;
constexpr std::size_t kWindowPart = 256;  // clients that are looked at in one turn, where they are not too many

}  // namespace

Worker::Worker(unsigned index, Shared& shared)
    : index_(index),
      shared_(shared),
      metrics_(shared.metrics.worker(index)),
      memory_(std::make_unique<char[]>(kInspectSize)),
      buffer_(memory_.get(), kBufferSize),
      relay_scratch_{blocks_, pipes_, buffer_},
      upstream_context_{loop_, blocks_, http_scratch_, metrics_, buffer_, index},
      pools_(upstream_context_),
      mirrors_(loop_, pools_, metrics_),
      tick_([](void* self) { static_cast<Worker*>(self)->tick(); }, this),
      window_tick_([](void* self) { static_cast<Worker*>(self)->look_at_windows(); }, this) {
  (void)getrandom(random_.data(), sizeof random_, 0);
  token_seed_ = random();
}

Worker::~Worker() {
  close_all();
  // Sessions point into listeners and pools; both are still here.
}

core::Result<void> Worker::start() {
  core::TlsWorker::Settings settings;
  settings.served_alpn = {"h2", "http/1.1"};
  settings.ticket_keys = shared_.ticket_keys;
  auto tls = core::TlsWorker::create(std::move(settings));
  if (!tls) return tl::unexpected(tls.error());
  tls_ = std::move(*tls);
  upstream_context_.tls = tls_.get();
  upstream_context_.most_idle = shared_.most_idle;
  upstream_context_.on_shortage = [this] { relieve(1); };
  tick();
  thread_ = std::thread([this] {
    pthread_setname_np(pthread_self(), ("worker-" + std::to_string(index_)).c_str());
    loop_.run();
  });
  return {};
}

void Worker::stop_and_join() {
  if (!thread_.joinable()) return;
  loop_.post([this] { close_all(); });
  loop_.stop();
  thread_.join();
}

void Worker::tick() {
  metrics_.heartbeat.set(loop_.now());
  ++ticks_;
  pools_.refresh(kRefreshed);
  if (ticks_ % kSweepTicks == 0) {
    pools_.sweep();
    release_unused_listeners();
  }
  if (ticks_ % kEvictTicks == 0) tls_->evict_unused();
  loop_.timers().arm(tick_, loop_.now() + kTickMs);
}

routing::SnapshotPtr Worker::adopt(routing::SnapshotPtr snapshot, const std::vector<WorkerSocket>& sockets) {
  routing::SnapshotPtr before = std::move(snapshot_);
  snapshot_ = std::move(snapshot);
  upstream_context_.connect_timeout = snapshot_->timeouts.connect;
  upstream_context_.response_timeout = snapshot_->timeouts.response;
  counts_sources_ =
      snapshot_->limits.connections_per_source != 0 || snapshot_->limits.new_connections_per_second_per_source != 0;
  const auto& all = draining_ ? std::vector<WorkerSocket>{} : sockets;
  // First those that go: a socket may move from one listener to another.
  for (auto& listener : listeners_) {
    const bool stays = std::any_of(snapshot_->listeners.begin(), snapshot_->listeners.end(),
                                   [&](const auto& table) { return table->spec.name == listener->name(); });
    if (stays || listener->removed()) continue;
    listener->remove(all);
    drain_sessions(*listener);
  }
  keep_only(all);
  for (const auto& table : snapshot_->listeners) {
    auto found = std::find_if(listeners_.begin(), listeners_.end(),
                              [&](const auto& listener) { return listener->name() == table->spec.name; });
    if (found == listeners_.end()) {
      listeners_.push_back(std::make_unique<Listener>(*this, table));
      found = listeners_.end() - 1;
    }
    // Connections of the other protocol finish what they do.
    if ((*found)->spec().protocol != table->spec.protocol) drain_sessions(**found);
    (*found)->update(table, all);
  }
  watch_windows();
  pools_.close_gone();
  return before;
}

void Worker::watch_windows() {
  std::uint64_t period = window_period_;
  for (const auto& table : snapshot_->listeners) {
    const auto timeout = static_cast<std::uint64_t>(table->spec.tcp_user_timeout.count());
    if (timeout == 0) continue;
    const std::uint64_t wanted = std::max(timeout / kWindowRounds, kShortestRoundMs);
    // Never longer again: sockets keep what their listener had when they came.
    period = period == 0 ? wanted : std::min(period, wanted);
  }
  if (period == window_period_) return;
  window_period_ = period;
  window_next_ = nullptr;
  loop_.timers().arm(window_tick_, loop_.now() + period);
}

void Worker::look_at_windows() {
  if (window_next_ == nullptr) {
    window_next_ = sessions_;
    const std::size_t clients = session_count();
    const std::size_t parts = std::clamp<std::size_t>(clients / kWindowPart, 1, window_period_ / kShortestWindowWaitMs);
    window_part_ = clients / parts + 1;
    window_wait_ = window_period_ / parts;
  }
  for (std::size_t i = 0; i < window_part_ && window_next_ != nullptr; ++i) {
    const Session& session = *window_next_;
    window_next_ = session.next_;
    session.socket().spare_closed_window(static_cast<unsigned>(session.listener().spec().tcp_user_timeout.count()));
  }
  loop_.timers().arm(window_tick_, loop_.now() + window_wait_);
}

void Worker::keep_only(const std::vector<WorkerSocket>& sockets) {
  for (auto& listener : listeners_) listener->keep_only(sockets);
}

void Worker::relieve(std::size_t count) {
  if (pools_.give_away(count) == 0) shared_.ask_for_descriptors();
}

void Worker::accept_by_address(int fd, const core::SocketAddress& client) {
  sockaddr_storage storage{};
  socklen_t size = sizeof storage;
  getsockname(fd, reinterpret_cast<sockaddr*>(&storage), &size);
  const auto local = core::SocketAddress::from(reinterpret_cast<const sockaddr*>(&storage), size);
  Listener* wide = nullptr;
  for (const auto& listener : listeners_) {
    if (listener->removed()) continue;
    for (const routing::Bind& bind : listener->spec().binds) {
      if (bind.address == local) return listener->accept(fd, client);
      if (bind.address.port() == local.port() && routing::covers(bind, {local, false, {}})) wide = listener.get();
    }
  }
  wide != nullptr ? wide->accept(fd, client) : static_cast<void>(close(fd));
}

void Worker::drain_sessions(const Listener& listener) {
  for (Session* session = sessions_; session != nullptr;) {
    Session* next = session->next_;
    if (&session->listener() == &listener) session->drain();
    session = next;
  }
}

void Worker::release_unused_listeners() {
  std::erase_if(listeners_, [](const auto& listener) { return listener->removed() && listener->sessions == 0; });
  const auto drain = static_cast<std::uint64_t>(snapshot_->timeouts.drain.count());
  for (auto& listener : listeners_) {
    if (listener->removed() && loop_.now() - listener->removed_at() > drain) listener->forget_table();
  }
}

void Worker::drain() {
  draining_ = true;
  for (auto& listener : listeners_) listener->stop_accepting();
  for (Session* session = sessions_; session != nullptr;) {
    Session* next = session->next_;
    session->drain();
    session = next;
  }
  pools_.close_idle();
}

void Worker::close_all() {
  for (auto& listener : listeners_) listener->stop_accepting();
  while (sessions_ != nullptr) sessions_->close(CloseReason::drain_timeout);
}

void Worker::add(std::unique_ptr<Session> session) {
  Session* added = session.release();
  added->next_ = sessions_;
  if (sessions_ != nullptr) sessions_->previous_ = added;
  sessions_ = added;
  session_count_.store(session_count_.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
}

void Worker::remove(Session& session) {
  if (window_next_ == &session) window_next_ = session.next_;
  if (session.previous_ != nullptr) {
    session.previous_->next_ = session.next_;
  } else {
    sessions_ = session.next_;
  }
  if (session.next_ != nullptr) session.next_->previous_ = session.previous_;
  session_count_.store(session_count_.load(std::memory_order_relaxed) - 1, std::memory_order_relaxed);
  loop_.retire(std::unique_ptr<core::Retirable>(&session));
}

std::unique_ptr<Exchange> Worker::take_exchange() {
  if (exchanges_.empty()) return std::make_unique<Exchange>(*this);
  auto exchange = std::move(exchanges_.back());
  exchanges_.pop_back();
  return exchange;
}

void Worker::give_exchange(std::unique_ptr<Exchange> exchange) {
  if (exchange == nullptr) return;
  exchange->reset();
  if (exchanges_.size() < kKeptExchanges) {
    exchanges_.push_back(std::move(exchange));
  } else {
    loop_.retire(std::move(exchange));
  }
}

bool Worker::may_read_token(const core::SocketAddress& client) {
  const std::uint64_t second = loop_.now() / 1000;
  if (second != token_second_) {
    token_second_ = second;
    token_reads_ = 0;
    source_token_reads_ = {};
  }
  // Who asks too often is told so alone: others, those who validate among them, go on being answered.
  std::uint64_t bucket = token_seed_;
  for (const char byte : client.bytes().substr(0, client.is_v4() ? 4 : 8))
    bucket = (bucket ^ static_cast<unsigned char>(byte)) * 0x100000001b3U;
  bucket = (bucket ^ bucket >> 33U) * 0xff51afd7ed558ccdU;  // the last byte counts in every bit
  std::uint8_t& reads = source_token_reads_[(bucket >> 32U) % source_token_reads_.size()];
  if (reads >= kTokenReadsPerSource || token_reads_ >= kTokenReadsPerSecond) return false;
  ++reads;
  ++token_reads_;
  return true;
}

std::uint64_t Worker::random() {
  // xorshift128+, seeded from the kernel.
  std::uint64_t a = random_[0];
  const std::uint64_t b = random_[1];
  random_[0] = b;
  a ^= a << 23;
  a ^= a >> 17;
  a ^= b ^ (b >> 26);
  random_[1] = a;
  return a + b;
}

void Worker::make_request_id(char* out) {
  for (int half = 0; half < 2; ++half) {
    std::uint64_t value = random();
    // Eight nibbles at a time: spread them to one a byte, then to their letters without a branch or a table.
    for (int word = 0; word < 2; ++word) {
      std::uint64_t spread = value & 0xffffffff;
      value >>= 32;
      spread = (spread | (spread << 16)) & 0x0000ffff0000ffff;
      spread = (spread | (spread << 8)) & 0x00ff00ff00ff00ff;
      spread = (spread | (spread << 4)) & 0x0f0f0f0f0f0f0f0f;
      const std::uint64_t above_nine = ((spread + 0x0606060606060606) >> 4) & 0x0101010101010101;
      spread += 0x3030303030303030 + above_nine * ('a' - '0' - 10);
      std::memcpy(out, &spread, sizeof spread);
      out += sizeof spread;
    }
  }
}

}  // namespace edgemux::listeners
