#include "cli/admin_client.h"

#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "config/files.h"
#include "config/source_file.h"

namespace edgemux::cli {

namespace {

constexpr std::size_t kMaxAnswer = std::size_t{256} << 20U;
constexpr time_t kDeadlineSeconds = 10;  // of one send or receive

struct Closer {
  int fd;
  ~Closer() {
    if (fd >= 0) ::close(fd);
  }
};

std::string why(const std::string& path, int error) {
  std::string text = "nobody answers at the admin socket " + path + ": " + std::strerror(error);
  if (error == ENOENT || error == ECONNREFUSED) text += "; is edgemux running with this configuration?";
  if (error == EACCES) text += "; only the user that edgemux runs as, and root, may ask";
  return text;
}

}  // namespace

core::Result<std::string> admin_socket_of(const std::string& config) {
  std::error_code error;
  const auto here = std::filesystem::current_path(error).string();
  const auto path = config::resolve_path(here + "/.", config);
  std::ifstream in(path, std::ios::binary);
  if (!in || std::filesystem::is_directory(path, error)) return core::fail("cannot read " + config);
  auto bytes =
      std::make_shared<const std::string>(std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>());
  const auto parsed = config::parse_file(bytes, path, std::make_shared<const std::string>(config), true);
  if (!parsed->settings) return core::fail(config + " is no YAML; `edgemux check` says where");
  constexpr std::string_view kUnix = "unix:";
  const std::string& bind = parsed->settings->admin.bind;
  if (!bind.starts_with(kUnix)) return core::fail(config + " names no admin socket; set admin.bind to unix:/path");
  return bind.substr(kUnix.size());
}

core::Result<AdminAnswer> ask_admin(const std::string& path, const std::string& target) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) return core::fail("the path " + path + " is too long for a socket");
  path.copy(address.sun_path, path.size());
  const Closer socket{::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)};
  const timeval deadline{kDeadlineSeconds, 0};
  (void)::setsockopt(socket.fd, SOL_SOCKET, SO_RCVTIMEO, &deadline, sizeof deadline);
  (void)::setsockopt(socket.fd, SOL_SOCKET, SO_SNDTIMEO, &deadline, sizeof deadline);
  if (socket.fd < 0 || ::connect(socket.fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    return core::fail(why(path, errno));
  }
  const std::string request = "GET " + target + " HTTP/1.1\r\nHost: admin\r\n\r\n";
  for (std::size_t sent = 0; sent < request.size();) {
    const auto done = ::send(socket.fd, request.data() + sent, request.size() - sent, MSG_NOSIGNAL);
    if (done < 0 && errno == EINTR) continue;
    if (done < 0) break;  // it may have answered that this is too long
    sent += static_cast<std::size_t>(done);
  }
  std::string all;
  std::array<char, 65536> buffer;
  for (;;) {
    const auto got = ::recv(socket.fd, buffer.data(), buffer.size(), 0);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0 && all.empty()) return core::fail(why(path, errno));
    if (got <= 0) break;
    all.append(buffer.data(), static_cast<std::size_t>(got));
    if (all.size() > kMaxAnswer) return core::fail("the answer at " + path + " has no end");
  }
  // "HTTP/1.1 200 ..."; the connection ends with the answer.
  AdminAnswer answer;
  const auto head = all.find("\r\n\r\n");
  if (head == std::string::npos || all.size() < 12 ||
      std::from_chars(all.data() + 9, all.data() + 12, answer.status).ec != std::errc{}) {
    return core::fail("what answers at " + path + " is not edgemux");
  }
  answer.body = all.substr(head + 4);
  return answer;
}

}  // namespace edgemux::cli
