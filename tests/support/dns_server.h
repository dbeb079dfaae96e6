#pragma once
// DnsServer: a name server on loopback for tests, over UDP and TCP at one port, with answers made by hand. A thread
// serves; the zone may be changed at any time. Nothing is cached, nothing is configured from outside.

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <cstring>
#include <map>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

namespace edgemux::tests {

class DnsServer {
 public:
  enum class Mode : std::uint8_t {
    answer,
    unknown,       // NXDOMAIN
    server_error,  // SERVFAIL
    silent,
    truncated,    // TC over UDP, the whole answer over TCP
    noise_first,  // a packet of rubbish and one with a wrong id before the answer
    cut,          // only the first `cut` bytes of the answer
    rotating,     // the IPv4 addresses start one further with every answer
  };
  struct Record {
    std::vector<std::string> v4{};
    std::vector<std::string> v6{};
    std::uint32_t ttl = 300;
    Mode mode = Mode::answer;
    std::string alias{};  // not empty: the name is a CNAME of this one, with `alias_ttl`
    std::uint32_t alias_ttl = 300;
    std::size_t cut = 0;
    struct Service {
      std::string target;
      std::uint16_t port = 0;
      std::uint16_t priority = 0;
      std::uint16_t weight = 0;
    };
    std::vector<Service> services{};
    std::optional<Mode> mode_v6{};  // of questions for IPv6, where it differs
  };
  static constexpr std::uint16_t kA = 1;
  static constexpr std::uint16_t kCname = 5;
  static constexpr std::uint16_t kAaaa = 28;
  static constexpr std::uint16_t kSrv = 33;

  DnsServer() {
    for (int tries = 0; tries < 100 && !open(); ++tries) {
    }
    stop_ = eventfd(0, EFD_CLOEXEC);
    if (port_ == 0 || stop_ < 0) throw std::runtime_error("no port for the name server");
    thread_ = std::thread([this] { serve(); });
  }
  ~DnsServer() {
    const std::uint64_t one = 1;
    if (write(stop_, &one, sizeof one) == static_cast<ssize_t>(sizeof one)) thread_.join();
    for (const int fd : {udp_, tcp_, stop_}) close(fd);
  }
  DnsServer(const DnsServer&) = delete;
  DnsServer& operator=(const DnsServer&) = delete;

  [[nodiscard]] std::string address() const { return "127.0.0.1:" + std::to_string(port_); }

  // Names without a record are unknown.
  void set(const std::string& name, Record record) {
    const std::lock_guard lock(mutex_);
    zone_[name] = std::move(record);
  }

  [[nodiscard]] std::size_t queries(const std::string& name, std::uint16_t type = kA) {
    const std::lock_guard lock(mutex_);
    return queries_[{name, type}];
  }
  [[nodiscard]] std::size_t all_queries() {
    const std::lock_guard lock(mutex_);
    std::size_t sum = 0;
    for (const auto& [key, count] : queries_) sum += count;
    return sum;
  }
  [[nodiscard]] std::size_t tcp_queries() {
    const std::lock_guard lock(mutex_);
    return tcp_queries_;
  }
  // Until the name has been asked for at all; false after twenty seconds.
  [[nodiscard]] bool wait_for_first(const std::string& name) {
    std::unique_lock lock(mutex_);
    return arrived_.wait_for(lock, std::chrono::seconds(20), [&] { return queries_[{name, kA}] > 0; });
  }
  // Until `more` further questions for the name's IPv4 addresses (or of another type) have come; false after twenty
  // seconds.
  [[nodiscard]] bool wait_for_queries(const std::string& name, std::size_t more, std::uint16_t type = kA) {
    std::unique_lock lock(mutex_);
    const std::size_t goal = queries_[{name, type}] + more;
    return arrived_.wait_for(lock, std::chrono::seconds(20), [&] { return queries_[{name, type}] >= goal; });
  }

 private:
  using Bytes = std::string;

  bool open() {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    auto* any = reinterpret_cast<sockaddr*>(&address);
    tcp_ = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    udp_ = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    // A burst of questions must not be lost.
    const int room = 1 << 20;
    setsockopt(udp_, SOL_SOCKET, SO_RCVBUF, &room, sizeof room);
    if (bind(tcp_, any, size) == 0 && listen(tcp_, 64) == 0 && getsockname(tcp_, any, &size) == 0 &&
        bind(udp_, any, size) == 0) {
      port_ = ntohs(address.sin_port);
      return true;
    }
    close(tcp_);
    close(udp_);
    return false;
  }

  void serve() {
    std::array<pollfd, 3> fds{{{udp_, POLLIN, 0}, {tcp_, POLLIN, 0}, {stop_, POLLIN, 0}}};
    while (poll(fds.data(), fds.size(), -1) >= 0 && fds[2].revents == 0) {
      if (fds[0].revents != 0) serve_udp();
      if (fds[1].revents != 0) serve_tcp();
    }
  }

  void serve_udp() {
    std::array<char, 4096> buffer;
    sockaddr_in client{};
    socklen_t size = sizeof client;
    const ssize_t length = recvfrom(udp_, buffer.data(), buffer.size(), 0, reinterpret_cast<sockaddr*>(&client), &size);
    if (length <= 0) return;
    for (const Bytes& packet : replies({buffer.data(), static_cast<std::size_t>(length)}, false)) {
      sendto(udp_, packet.data(), packet.size(), 0, reinterpret_cast<sockaddr*>(&client), size);
    }
  }

  // c-ares may ask several questions over one connection; it closes when it has its answers.
  void serve_tcp() {
    const int fd = accept4(tcp_, nullptr, nullptr, SOCK_CLOEXEC);
    std::string head(2, '\0');
    while (read_all(fd, head)) {
      std::string query(static_cast<std::size_t>(byte(head, 0) << 8 | byte(head, 1)), '\0');
      if (!read_all(fd, query)) break;
      for (const Bytes& packet : replies(query, true)) {
        Bytes framed;
        put16(framed, static_cast<std::uint16_t>(packet.size()));
        framed += packet;
        send(fd, framed.data(), framed.size(), MSG_NOSIGNAL);
      }
    }
    close(fd);
  }

  static bool read_all(int fd, std::string& into) {
    return recv(fd, into.data(), into.size(), MSG_WAITALL) == static_cast<ssize_t>(into.size());
  }

  static unsigned byte(std::string_view text, std::size_t at) { return static_cast<unsigned char>(text.at(at)); }
  static void put16(Bytes& out, std::uint16_t value) {
    out += static_cast<char>(value >> 8);
    out += static_cast<char>(value & 0xff);
  }
  static void put32(Bytes& out, std::uint32_t value) {
    put16(out, static_cast<std::uint16_t>(value >> 16));
    put16(out, static_cast<std::uint16_t>(value & 0xffff));
  }
  static void put_name(Bytes& out, std::string_view name) {
    while (!name.empty()) {
      const auto label = name.substr(0, name.find('.'));
      out += static_cast<char>(label.size());
      out += label;
      name.remove_prefix(std::min(name.size(), label.size() + 1));
    }
    out += '\0';
  }
  static void put_record(Bytes& out, std::string_view name, std::uint16_t type, std::uint32_t ttl, const Bytes& data) {
    put_name(out, name);
    put16(out, type);
    put16(out, 1);
    put32(out, ttl);
    put16(out, static_cast<std::uint16_t>(data.size()));
    out += data;
  }
  static Bytes packed(int family, const std::string& address) {
    Bytes out(family == AF_INET ? 4 : 16, '\0');
    if (inet_pton(family, address.c_str(), out.data()) != 1) throw std::invalid_argument(address);
    return out;
  }

  std::vector<Bytes> replies(std::string_view query, bool tcp) {
    if (query.size() < 17) return {};
    std::size_t at = 12;
    std::string name;
    while (at < query.size() && byte(query, at) != 0) {
      const std::size_t length = byte(query, at);
      if (at + 1 + length >= query.size()) return {};
      name += (name.empty() ? "" : ".") + std::string(query.substr(at + 1, length));
      at += 1 + length;
    }
    if (at + 5 > query.size()) return {};
    const auto type = static_cast<std::uint16_t>(byte(query, at + 1) << 8 | byte(query, at + 2));
    const std::string_view question = query.substr(12, at + 5 - 12);

    const std::lock_guard lock(mutex_);
    if (tcp) ++tcp_queries_;
    const std::size_t round = queries_[{name, type}]++;
    arrived_.notify_all();
    const auto found = zone_.find(name);
    Record record = found == zone_.end() ? Record{.mode = Mode::unknown} : found->second;
    if (type == kAaaa && record.mode_v6.has_value()) record.mode = *record.mode_v6;
    return packets(query.substr(0, 2), question, name, type, record, round, tcp);
  }

  static std::vector<Bytes> packets(std::string_view id, std::string_view question, const std::string& name,
                                    std::uint16_t type, const Record& record, std::size_t round, bool tcp) {
    if (record.mode == Mode::silent) return {};
    Bytes answers;
    std::uint16_t count = 0;
    std::uint16_t flags = 0x8180;
    const bool only_flags = record.mode == Mode::truncated && !tcp;
    if (only_flags) flags |= 0x0200;
    if (record.mode == Mode::unknown) flags |= 3;
    if (record.mode == Mode::server_error) flags |= 2;
    if ((flags & 0xf) == 0 && !only_flags) {
      std::string owner = name;
      if (!record.alias.empty()) {
        Bytes target;
        put_name(target, record.alias);
        put_record(answers, owner, kCname, record.alias_ttl, target);
        owner = record.alias;
        ++count;
      }
      auto addresses = type == kA ? record.v4 : type == kAaaa ? record.v6 : std::vector<std::string>{};
      if (record.mode == Mode::rotating && !addresses.empty()) {
        std::rotate(addresses.begin(), addresses.begin() + static_cast<std::ptrdiff_t>(round % addresses.size()),
                    addresses.end());
      }
      for (const auto& address : addresses) {
        put_record(answers, owner, type, record.ttl, packed(type == kA ? AF_INET : AF_INET6, address));
        ++count;
      }
    }
    if ((flags & 0xf) == 0 && !only_flags && type == kSrv) {
      for (const auto& service : record.services) {
        Bytes data;
        put16(data, service.priority);
        put16(data, service.weight);
        put16(data, service.port);
        put_name(data, service.target);
        put_record(answers, name, kSrv, record.ttl, data);
        ++count;
      }
    }
    Bytes packet(id);
    put16(packet, flags);
    put16(packet, 1);
    put16(packet, count);
    put32(packet, 0);
    packet += question;
    packet += answers;
    if (record.mode == Mode::cut) return {packet.substr(0, record.cut)};
    if (record.mode != Mode::noise_first) return {packet};
    Bytes strange = packet;
    strange[0] = static_cast<char>(strange[0] ^ 0x55);
    strange.back() = static_cast<char>(strange.back() ^ 0x55);
    return {Bytes("\x01\x02\x03"), Bytes(40, '\xff'), strange, packet};
  }

  int udp_ = -1;
  int tcp_ = -1;
  int stop_ = -1;
  std::uint16_t port_ = 0;
  std::mutex mutex_;
  std::condition_variable arrived_;
  std::map<std::string, Record> zone_;
  std::map<std::pair<std::string, std::uint16_t>, std::size_t> queries_;
  std::size_t tcp_queries_ = 0;
  std::thread thread_;
};

}  // namespace edgemux::tests
