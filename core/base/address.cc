#include "core/base/address.h"

#include <arpa/inet.h>

#include <charconv>
#include <cstring>
#include <deque>
#include <mutex>

namespace edgemux::core {
namespace {

// The paths of Unix sockets, by number.
struct UnixPaths {
  std::mutex mutex;
  std::deque<std::string> paths;  // never moves what it holds
};

UnixPaths& unix_paths() {
  static UnixPaths paths;
  return paths;
}

}  // namespace

SocketAddress SocketAddress::unix_socket(std::string_view path) {
  UnixPaths& known = unix_paths();
  std::uint32_t number = 0;
  {
    const std::lock_guard lock(known.mutex);
    while (number < known.paths.size() && known.paths[number] != path) ++number;
    if (number == known.paths.size()) known.paths.emplace_back(path);
  }
  SocketAddress out;
  out.v6_.sin6_family = AF_UNIX;
  std::memcpy(&out.v6_.sin6_addr, &number, sizeof number);
  return out;
}

std::string_view SocketAddress::unix_path() const {
  std::uint32_t number = 0;
  std::memcpy(&number, &v6_.sin6_addr, sizeof number);
  UnixPaths& known = unix_paths();
  const std::lock_guard lock(known.mutex);
  return known.paths[number];
}

SocketAddress SocketAddress::from(const sockaddr* address, socklen_t length) {
  SocketAddress out;
  if (address->sa_family == AF_INET && length >= sizeof(sockaddr_in)) {
    std::memcpy(&out.v4_, address, sizeof(sockaddr_in));
  } else if (address->sa_family == AF_INET6 && length >= sizeof(sockaddr_in6)) {
    std::memcpy(&out.v6_, address, sizeof(sockaddr_in6));
    if (IN6_IS_ADDR_V4MAPPED(&out.v6_.sin6_addr)) {
      sockaddr_in v4{};
      v4.sin_family = AF_INET;
      v4.sin_port = out.v6_.sin6_port;
      std::memcpy(&v4.sin_addr, &out.v6_.sin6_addr.s6_addr[12], 4);
      out.v6_ = {};
      out.v4_ = v4;
    }
  }
  return out;
}

std::optional<SocketAddress> SocketAddress::parse_ip(std::string_view text, std::uint16_t port) {
  char buffer[INET6_ADDRSTRLEN + 1];
  if (text.empty() || text.size() >= sizeof buffer) return std::nullopt;
  std::memcpy(buffer, text.data(), text.size());
  buffer[text.size()] = '\0';
  sockaddr_in v4{};
  if (inet_pton(AF_INET, buffer, &v4.sin_addr) == 1) {
    v4.sin_family = AF_INET;
    v4.sin_port = htons(port);
    return from(reinterpret_cast<const sockaddr*>(&v4), sizeof v4);
  }
  sockaddr_in6 v6{};
  if (inet_pton(AF_INET6, buffer, &v6.sin6_addr) == 1) {
    v6.sin6_family = AF_INET6;
    v6.sin6_port = htons(port);
    return from(reinterpret_cast<const sockaddr*>(&v6), sizeof v6);
  }
  return std::nullopt;
}

std::uint16_t SocketAddress::port() const { return ntohs(is_v4() ? v4_.sin_port : v6_.sin6_port); }

void SocketAddress::set_port(std::uint16_t port) { (is_v4() ? v4_.sin_port : v6_.sin6_port) = htons(port); }

std::string_view SocketAddress::bytes() const {
  if (is_v4()) return {reinterpret_cast<const char*>(&v4_.sin_addr), 4};
  return {reinterpret_cast<const char*>(&v6_.sin6_addr), 16};
}

std::size_t SocketAddress::write_ip(char* out) const {
  if (!is_v4() && !is_v6()) {
    out[0] = '-';
    return 1;
  }
  if (is_v4()) {
    const auto* b = reinterpret_cast<const unsigned char*>(&v4_.sin_addr);
    char* p = out;
    for (int i = 0; i < 4; ++i) {
      if (i != 0) *p++ = '.';
      p = std::to_chars(p, p + 3, b[i]).ptr;
    }
    return static_cast<std::size_t>(p - out);
  }
  if (inet_ntop(AF_INET6, &v6_.sin6_addr, out, INET6_ADDRSTRLEN) == nullptr) return 0;
  return std::strlen(out);
}

std::string SocketAddress::ip() const {
  char buffer[INET6_ADDRSTRLEN];
  return {buffer, write_ip(buffer)};
}

std::string SocketAddress::to_string() const {
  if (!valid()) return "-";
  if (is_unix()) return "unix:" + std::string(unix_path());
  return is_v4() ? ip() + ":" + std::to_string(port()) : "[" + ip() + "]:" + std::to_string(port());
}

Result<Network> Network::parse(std::string_view text) {
  const auto slash = text.find('/');
  const auto address = SocketAddress::parse_ip(text.substr(0, slash), 0);
  if (!address) return fail("'" + std::string(text) + "' is not a network; write it like 10.0.0.0/8 or 2001:db8::/32");
  const bool mapped = text.find(':') != std::string_view::npos && address->is_v4();
  const unsigned bits = address->is_v4() ? 32 : 128;
  unsigned prefix = bits;
  if (slash != std::string_view::npos) {
    const auto digits = text.substr(slash + 1);
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), prefix);
    if (error != std::errc{} || end != digits.data() + digits.size() || prefix > bits || mapped) {
      return fail("the prefix length of '" + std::string(text) + "' must be 0 to " + std::to_string(bits));
    }
  }
  Network network;
  network.base_ = *address;
  network.prefix_ = static_cast<std::uint8_t>(prefix);
  // Host bits set is nearly always a slip (10.0.0.1/8), so it is refused with the network that was probably meant.
  std::string base(address->bytes());
  for (unsigned bit = prefix; bit < bits; ++bit) {
    base[bit / 8] = static_cast<char>(base[bit / 8] & ~(0x80 >> (bit % 8)));
  }
  if (base != address->bytes()) {
    SocketAddress meant;
    if (bits == 32) {
      sockaddr_in v4{};
      v4.sin_family = AF_INET;
      std::memcpy(&v4.sin_addr, base.data(), 4);
      meant = SocketAddress::from(reinterpret_cast<const sockaddr*>(&v4), sizeof v4);
    } else {
      sockaddr_in6 v6{};
      v6.sin6_family = AF_INET6;
      std::memcpy(&v6.sin6_addr, base.data(), 16);
      meant = SocketAddress::from(reinterpret_cast<const sockaddr*>(&v6), sizeof v6);
    }
    return fail("'" + std::string(text) + "' has bits set beyond its prefix; did you mean " + meant.ip() + "/" +
                std::to_string(prefix) + "?");
  }
  return network;
}

bool Network::contains(const SocketAddress& address) const {
  if (address.is_v4() != base_.is_v4() || !address.valid() || address.is_unix()) return false;
  const auto a = address.bytes();
  const auto b = base_.bytes();
  const std::size_t whole = prefix_ / 8U;
  if (std::memcmp(a.data(), b.data(), whole) != 0) return false;
  const unsigned rest = prefix_ % 8U;
  if (rest == 0) return true;
  const auto mask = static_cast<unsigned char>(0xff << (8 - rest));
  return (static_cast<unsigned char>(a[whole]) & mask) == (static_cast<unsigned char>(b[whole]) & mask);
}

std::string Network::to_string() const { return base_.ip() + "/" + std::to_string(prefix_); }

Result<HostPort> parse_host_port(std::string_view text, bool allow_empty_host) {
  const std::string quoted = "'" + std::string(text) + "'";
  std::string_view host;
  std::string_view port;
  if (!text.empty() && text.front() == '[') {
    const auto close = text.find(']');
    if (close == std::string_view::npos) return fail(quoted + " lacks the closing ']'");
    host = text.substr(1, close - 1);
    if (!SocketAddress::parse_ip(host, 0) || host.find(':') == std::string_view::npos) {
      return fail(quoted + ": only an IPv6 address stands in brackets");
    }
    if (close + 1 >= text.size() || text[close + 1] != ':') return fail(quoted + " has no port; write [address]:port");
    port = text.substr(close + 2);
  } else {
    const auto colon = text.rfind(':');
    if (colon == std::string_view::npos) return fail(quoted + " has no port; write host:port");
    host = text.substr(0, colon);
    port = text.substr(colon + 1);
    if (host.find(':') != std::string_view::npos) {
      return fail(quoted + ": write an IPv6 address in brackets, like [2001:db8::1]:443");
    }
  }
  if (host.empty() && !allow_empty_host) return fail(quoted + " has no host; write host:port");
  unsigned number = 0;
  const auto [end, error] = std::from_chars(port.data(), port.data() + port.size(), number);
  if (error != std::errc{} || end != port.data() + port.size() || number == 0 || number > 65535) {
    return fail(quoted + ": the port must be a number from 1 to 65535");
  }
  return HostPort{std::string(host), static_cast<std::uint16_t>(number)};
}

}  // namespace edgemux::core
