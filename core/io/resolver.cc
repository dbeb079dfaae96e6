#include "core/io/resolver.h"

#include <ares.h>
#include <netdb.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstddef>
#include <deque>
#include <mutex>
#include <optional>
#include <unordered_map>
#include <utility>

#include "core/base/address_set.h"
#include "core/io/timer_wheel.h"

namespace edgemux::core {

// One call of resolve(). Owned by the channel; c-ares holds a pointer to it until it has reported the end, cancelled or
// not.
struct Resolver::Lookup {
  Channel* channel;
  Callback callback;
  Query* query = nullptr;      // null = cancelled
  Servers* servers = nullptr;  // who is asked
  std::optional<Result<Answer>> outcome{};
};

namespace {

Error error_of(int status) {
  const bool permanent = status == ARES_ENOTFOUND || status == ARES_ENODATA || status == ARES_EBADNAME;
  std::string message = status == ARES_ENODATA ? "the name has no address" : ares_strerror(status);
  return Error{Side::upstream, !permanent, std::move(message)};
}

Result<Resolver::Answer> answer_of(const ares_addrinfo& info) {
  Resolver::Answer answer;
  AddressSet known;
  int ttl = INT32_MAX;
  for (const int family : {AF_INET, AF_INET6}) {
    for (const auto* node = info.nodes; node != nullptr; node = node->ai_next) {
      if (node->ai_family != family) continue;
      ttl = std::min(ttl, node->ai_ttl);
      auto address = SocketAddress::from(node->ai_addr, node->ai_addrlen);
      if (!address.valid()) continue;
      address.set_port(0);
      if (known.insert(address)) answer.addresses.push_back(address);
    }
  }
  if (answer.addresses.empty()) return tl::unexpected<Error>(error_of(ARES_ENODATA));
  for (const auto* alias = info.cnames; alias != nullptr; alias = alias->next) ttl = std::min(ttl, alias->ttl);
  answer.ttl = std::chrono::seconds(std::max(ttl, 0));
  return answer;
}

Result<Resolver::Answer> services_of(const ares_srv_reply* list) {
  constexpr std::size_t kMost = 1024;
  Resolver::Answer answer;
  for (const auto* one = list; one != nullptr && answer.services.size() < kMost; one = one->next) {
    const std::string_view host = one->host;
    if (host.empty() || host == "." || one->port == 0) continue;  // RFC 2782: decidedly not available
    answer.services.push_back({std::string(host), one->port, one->priority, one->weight});
  }
  if (answer.services.empty()) return fail("the service is declared absent", Side::upstream, false);
  return answer;
}

// What tells one version of resolv.conf from the next.
struct FileVersion {
  timespec changed{};
  ino_t inode = 0;
  off_t size = 0;

  static FileVersion of(const std::string& path) {
    struct stat status {};
    if (stat(path.c_str(), &status) != 0) return {};
    return {status.st_mtim, status.st_ino, status.st_size};
  }
  bool operator==(const FileVersion& other) const {
    return changed.tv_sec == other.changed.tv_sec && changed.tv_nsec == other.changed.tv_nsec && inode == other.inode &&
           size == other.size;
  }
};

}  // namespace

// What one version of resolv.conf says: a c-ares channel, its sockets and its timer.
class Resolver::Servers {
 public:
  Servers(EventLoop& loop, Options& options)
      : loop_(loop), timer_(on_timer, this), version_(FileVersion::of(options.resolv_conf)) {
    ares_options how{};
    how.timeout = static_cast<int>(options.timeout.count());
    how.tries = options.tries;
    how.sock_state_cb = on_socket;
    how.sock_state_cb_data = this;
    how.socket_receive_buffer_size = 1 << 20;  // the answers to a burst of questions
    std::string lookups = options.hosts_file ? "fb" : "b";
    how.lookups = lookups.data();
    how.resolvconf_path = options.resolv_conf.data();
    const int mask = ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES | ARES_OPT_SOCK_STATE_CB | ARES_OPT_LOOKUPS |
                     ARES_OPT_RESOLVCONF | ARES_OPT_SOCK_RCVBUF;
    init_status_ = ares_init_options(&channel_, &how, mask);
    if (init_status_ != ARES_SUCCESS) {
      channel_ = nullptr;
      return;
    }
    if (options.servers.empty()) return;
    init_status_ = ares_set_servers_ports_csv(channel_, options.servers.c_str());
    if (init_status_ != ARES_SUCCESS) close();
  }
  ~Servers() { close(); }
  Servers(const Servers&) = delete;
  Servers& operator=(const Servers&) = delete;

  // Null: nobody can be asked, because of init_status().
  [[nodiscard]] ares_channel channel() const { return channel_; }
  [[nodiscard]] int init_status() const { return init_status_; }
  [[nodiscard]] const FileVersion& version() const { return version_; }

  // After a question.
  void rearm() {
    timeval left{};
    if (ares_timeout(channel_, nullptr, &left) == nullptr) {
      timer_.cancel();
      return;
    }
    const auto milliseconds =
        static_cast<std::uint64_t>(left.tv_sec) * 1000 + static_cast<std::uint64_t>(left.tv_usec + 999) / 1000;
    loop_.timers().arm(timer_, loop_.now() + milliseconds);
  }

  std::size_t under_way = 0;  // lookups that c-ares holds

 private:
  void close() {
    if (channel_ == nullptr) return;
    ares_destroy(channel_);
    channel_ = nullptr;
    sockets_.clear();
  }

  static void on_socket(void* argument, int fd, int readable, int writable) {
    auto& servers = *static_cast<Servers*>(argument);
    if (readable == 0 && writable == 0) {
      servers.sockets_.erase(fd);
      return;
    }
    auto& watch = servers.sockets_[fd];
    if (watch == nullptr) {
      watch = std::make_unique<DescriptorWatch>(servers.loop_, fd,
                                                [&servers, fd](std::uint32_t ready) { servers.process(fd, ready); });
    }
    watch->update((readable != 0 ? kReadable : 0U) | (writable != 0 ? kWritable : 0U));
  }

  static void on_timer(void* argument) { static_cast<Servers*>(argument)->process(ARES_SOCKET_BAD, 0); }

  void process(int fd, std::uint32_t ready) {
    ares_process_fd(channel_, (ready & kReadable) != 0 ? fd : ARES_SOCKET_BAD,
                    (ready & kWritable) != 0 ? fd : ARES_SOCKET_BAD);
    rearm();
  }

  EventLoop& loop_;
  Timer timer_;
  FileVersion version_;
  ares_channel channel_ = nullptr;
  int init_status_ = ARES_SUCCESS;
  std::unordered_map<int, std::unique_ptr<DescriptorWatch>> sockets_;
};

// c-ares is never entered from inside one of its own calls: what it reports is collected, and delivered from the loop.
class Resolver::Channel final : public Watcher {
 public:
  Channel(EventLoop& loop, Options options) : loop_(loop), options_(std::move(options)) {
    static std::once_flag once;
    std::call_once(once, [] { ares_library_init(ARES_LIB_INIT_ALL); });
    servers_ = std::make_unique<Servers>(loop_, options_);
  }

  ~Channel() {
    closing_ = true;
    servers_.reset();
    former_.clear();
    loop_.forget(*this);
    for (auto& [lookup, owner] : lookups_) {
      if (lookup->query != nullptr) lookup->query->lookup_ = nullptr;
    }
  }

  Lookup* start_service(const std::string& name, Callback callback) {
    Lookup* lookup = add(std::move(callback));
    if (!find_servers(*lookup)) return lookup;
    constexpr int kInternet = 1;
    constexpr int kSrv = 33;
    ares_search(servers_->channel(), name.c_str(), kInternet, kSrv, on_service, lookup);
    servers_->rearm();
    return lookup;
  }

  Lookup* start(const std::string& name, Callback callback, Family family) {
    Lookup* lookup = add(std::move(callback));
    if (const auto address = SocketAddress::parse_ip(name, 0)) {
      finish(*lookup, Answer{{*address}, std::chrono::seconds(0)});
      return lookup;
    }
    if (!find_servers(*lookup)) return lookup;
    ares_addrinfo_hints hints{};
    hints.ai_family = family == Family::any ? AF_UNSPEC : family == Family::v4 ? AF_INET : AF_INET6;
    hints.ai_socktype = SOCK_STREAM;
    hints.ai_flags = ARES_AI_NOSORT;
    ares_getaddrinfo(servers_->channel(), name.c_str(), nullptr, &hints, on_result, lookup);
    servers_->rearm();
    return lookup;
  }

  void on_io(std::uint32_t) override {
    Lookup* lookup = finished_.front();
    finished_.pop_front();
    if (!finished_.empty()) loop_.wake(*this);
    std::erase_if(former_, [](const auto& servers) { return servers->under_way == 0; });
    const auto node = lookups_.extract(lookup);
    if (lookup->query == nullptr) return;
    lookup->query->lookup_ = nullptr;
    lookup->callback(std::move(*lookup->outcome));
  }

 private:
  // A gateway runs for years; its name servers change. There are always questions under way where some names are
  // silent, so the old servers stay for theirs: never more of them than questions.
  void reopen_if_changed() {
    if (servers_->version() == FileVersion::of(options_.resolv_conf)) return;
    if (servers_->under_way > 0) former_.push_back(std::move(servers_));
    servers_ = std::make_unique<Servers>(loop_, options_);
  }

  // False: there are none, and the lookup is over.
  bool find_servers(Lookup& lookup) {
    reopen_if_changed();
    if (servers_->channel() == nullptr) {
      finish(lookup, tl::unexpected<Error>(error_of(servers_->init_status())));
      return false;
    }
    lookup.servers = servers_.get();
    ++servers_->under_way;
    return true;
  }

  Lookup* add(Callback callback) {
    auto owner = std::make_unique<Lookup>(Lookup{this, std::move(callback)});
    Lookup* lookup = owner.get();
    lookups_.emplace(lookup, std::move(owner));
    return lookup;
  }

  void finish(Lookup& lookup, Result<Answer> outcome) {
    lookup.outcome = std::move(outcome);
    finished_.push_back(&lookup);
    loop_.wake(*this);
  }

  static void on_result(void* argument, int status, int /*timeouts*/, ares_addrinfo* info) {
    auto& lookup = *static_cast<Lookup*>(argument);
    auto& channel = *lookup.channel;
    --lookup.servers->under_way;
    if (!channel.closing_) {
      channel.finish(lookup, status == ARES_SUCCESS && info != nullptr ? answer_of(*info)
                                                                       : tl::unexpected<Error>(error_of(status)));
    }
    if (info != nullptr) ares_freeaddrinfo(info);
  }

  static void on_service(void* argument, int status, int /*timeouts*/, unsigned char* bytes, int length) {
    auto& lookup = *static_cast<Lookup*>(argument);
    auto& channel = *lookup.channel;
    --lookup.servers->under_way;
    if (channel.closing_) return;
    ares_srv_reply* list = nullptr;
    if (status == ARES_SUCCESS) status = ares_parse_srv_reply(bytes, length, &list);
    if (status == ARES_SUCCESS) {
      channel.finish(lookup, services_of(list));
    } else if (status == ARES_ENODATA) {
      channel.finish(lookup, core::fail("the name has no SRV record", Side::upstream, false));
    } else {
      channel.finish(lookup, tl::unexpected<Error>(error_of(status)));
    }
    if (list != nullptr) ares_free_data(list);
  }

  EventLoop& loop_;
  Options options_;
  bool closing_ = false;
  std::unordered_map<Lookup*, std::unique_ptr<Lookup>> lookups_;
  std::deque<Lookup*> finished_;
  std::unique_ptr<Servers> servers_;
  std::vector<std::unique_ptr<Servers>> former_;  // some question to them is under way
};

Resolver::Query::Query(Lookup* lookup) : lookup_(lookup) { lookup->query = this; }

Resolver::Query::Query(Query&& other) noexcept : lookup_(std::exchange(other.lookup_, nullptr)) {
  if (lookup_ != nullptr) lookup_->query = this;
}

Resolver::Query& Resolver::Query::operator=(Query&& other) noexcept {
  if (this == &other) return *this;
  cancel();
  lookup_ = std::exchange(other.lookup_, nullptr);
  if (lookup_ != nullptr) lookup_->query = this;
  return *this;
}

void Resolver::Query::cancel() {
  if (lookup_ == nullptr) return;
  lookup_->query = nullptr;
  lookup_->callback = nullptr;
  lookup_ = nullptr;
}

Resolver::Resolver(EventLoop& loop) : Resolver(loop, Options{}) {}
Resolver::Resolver(EventLoop& loop, Options options) : channel_(std::make_unique<Channel>(loop, std::move(options))) {}
Resolver::~Resolver() = default;

Resolver::Query Resolver::resolve(const std::string& name, Callback callback, Family family) {
  return Query(channel_->start(name, std::move(callback), family));
}

Resolver::Query Resolver::resolve_service(const std::string& name, Callback callback) {
  return Query(channel_->start_service(name, std::move(callback)));
}

}  // namespace edgemux::core
