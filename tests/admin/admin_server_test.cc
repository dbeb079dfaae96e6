#include "admin/admin_server.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <filesystem>
#include <fstream>
#include <future>
#include <string>
#include <thread>

namespace edgemux::admin {
namespace {

using testing::AllOf;
using testing::EndsWith;
using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

// The server on a loop of its own; the test is the client.
class AdminServerTest : public testing::Test {
 protected:
  template <class Work>
  auto on_loop(Work work) {
    std::promise<decltype(work())> done;
    loop_.post([&] {
      if constexpr (std::is_void_v<decltype(work())>) {
        work();
        done.set_value();
      } else {
        done.set_value(work());
      }
    });
    return done.get_future().get();
  }

  void make_server(std::uint64_t deadline_ms) {
    AdminSources sources;
    sources.metrics = [this] { return metrics_; };
    sources.unhealthy = [this] { return unhealthy_; };
    sources.not_ready = [this] { return not_ready_; };
    sources.status = [] { return std::string("{\"a\":1}\n"); };
    sources.explain = [](const Asked& asked, bool text) -> core::Result<std::string> {
      if (asked.url.empty()) return core::fail("no URL");
      return (text ? "text of " : "json of ") + asked.url;
    };
    server_ = std::make_unique<AdminServer>(loop_, std::move(sources), deadline_ms);
  }
  void restart(std::uint64_t deadline_ms) {
    on_loop([this, deadline_ms] { make_server(deadline_ms); });
  }

  AdminServerTest() {
    std::string name = std::filesystem::temp_directory_path() / "edgemux-admin-XXXXXX";
    folder_ = ::mkdtemp(name.data());
    make_server(AdminServer::kDeadlineMs);
    thread_ = std::thread([this] { loop_.run(); });
  }
  ~AdminServerTest() override {
    on_loop([this] { server_.reset(); });
    loop_.stop();
    thread_.join();
    std::filesystem::remove_all(folder_);
  }

  std::string listen(const std::string& bind, const std::string& probes = "127.0.0.1:0") {
    return on_loop([&] {
      const auto done = server_->listen({bind, probes});
      return done ? std::string() : done.error().message;
    });
  }

  int tcp() {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(on_loop([this] { return server_->probes_port(); }));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return connected(AF_INET, reinterpret_cast<sockaddr*>(&address), sizeof address);
  }
  static int local(const std::string& path) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    path.copy(address.sun_path, sizeof address.sun_path - 1);
    return connected(AF_UNIX, reinterpret_cast<sockaddr*>(&address), sizeof address);
  }
  static int connected(int family, const sockaddr* address, socklen_t size) {
    const int fd = ::socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (::connect(fd, address, size) == 0) return fd;
    ::close(fd);
    return -1;
  }
  // Sends, then reads to the end.
  static std::string talk(int fd, std::string_view request) {
    if (fd < 0) return "(no connection)";
    EXPECT_EQ(static_cast<ssize_t>(request.size()), ::send(fd, request.data(), request.size(), MSG_NOSIGNAL));
    return rest(fd);
  }
  static std::string rest(int fd) {
    std::string all;
    std::array<char, 4096> buffer;
    for (;;) {
      const auto got = ::recv(fd, buffer.data(), buffer.size(), 0);
      if (got <= 0) {
        if (got < 0) all += "(reset)";
        break;
      }
      all.append(buffer.data(), static_cast<std::size_t>(got));
    }
    ::close(fd);
    return all;
  }
  static std::string get(int fd, const std::string& path) {
    return talk(fd, "GET " + path + " HTTP/1.1\r\nHost: a\r\n\r\n");
  }
  [[nodiscard]] std::string socket_path() const { return folder_ / "admin.sock"; }

  std::filesystem::path folder_;
  std::string metrics_ = "edgemux_up 1\n";
  std::string unhealthy_;
  std::string not_ready_;
  core::EventLoop loop_;
  std::unique_ptr<AdminServer> server_;
  std::thread thread_;
};

TEST_F(AdminServerTest, AnswersProbes) {
  ASSERT_EQ("", listen(""));
  auto answer = get(tcp(), "/healthz");
  EXPECT_THAT(answer, StartsWith("HTTP/1.1 200 OK\r\n"));
  EXPECT_THAT(answer, HasSubstr("content-length: 3\r\n"));
  EXPECT_THAT(answer, EndsWith("\r\n\r\nok\n"));
  EXPECT_THAT(get(tcp(), "/readyz?verbose"), EndsWith("\r\n\r\nready\n"));
  answer = get(tcp(), "/metrics");
  EXPECT_THAT(answer, HasSubstr("content-type: text/plain; version=0.0.4"));
  EXPECT_THAT(answer, EndsWith("\r\n\r\nedgemux_up 1\n"));
}

TEST_F(AdminServerTest, TellsWhyItIsNotWell) {
  ASSERT_EQ("", listen(""));
  on_loop([this] {
    unhealthy_ = "worker 1 gave no sign of life for 12 s";
    not_ready_ = "draining";
  });
  EXPECT_THAT(get(tcp(), "/healthz"), StartsWith("HTTP/1.1 503 "));
  EXPECT_THAT(get(tcp(), "/healthz"), EndsWith("worker 1 gave no sign of life for 12 s\n"));
  EXPECT_THAT(get(tcp(), "/readyz"), StartsWith("HTTP/1.1 503 "));
  EXPECT_THAT(get(tcp(), "/readyz"), EndsWith("draining\n"));
}

TEST_F(AdminServerTest, TellsTheStatusOnTheUnixSocketOnly) {
  ASSERT_EQ("", listen("unix:" + socket_path()));
  EXPECT_THAT(get(local(socket_path()), "/status"), EndsWith("\r\n\r\n{\"a\":1}\n"));
  EXPECT_THAT(get(local(socket_path()), "/healthz"), StartsWith("HTTP/1.1 200 "));
  EXPECT_THAT(get(tcp(), "/status"), StartsWith("HTTP/1.1 404 "));
  EXPECT_THAT(get(tcp(), "/nothing"), StartsWith("HTTP/1.1 404 "));
}

TEST_F(AdminServerTest, ExplainsOnTheUnixSocketOnly) {
  ASSERT_EQ("", listen("unix:" + socket_path()));
  EXPECT_THAT(get(local(socket_path()), "/explain?url=https%3A%2F%2Fa%2F%3Fb"),
              AllOf(HasSubstr("content-type: application/json\r\n"), EndsWith("\r\n\r\njson of https://a/?b")));
  EXPECT_THAT(get(local(socket_path()), "/explain?format=text&url=x"), EndsWith("\r\n\r\ntext of x"));
  EXPECT_THAT(get(local(socket_path()), "/explain"), AllOf(StartsWith("HTTP/1.1 400 "), EndsWith("\r\n\r\nno URL\n")));
  EXPECT_THAT(get(local(socket_path()), "/explain?colour=red"),
              AllOf(StartsWith("HTTP/1.1 400 "), EndsWith("unknown parameter 'colour'\n")));
  EXPECT_THAT(get(tcp(), "/explain?url=x"), StartsWith("HTTP/1.1 404 "));
}

TEST_F(AdminServerTest, AnswersHeadWithoutABodyAndNothingButGetAndHead) {
  ASSERT_EQ("", listen(""));
  const auto head = talk(tcp(), "HEAD /healthz HTTP/1.1\r\nHost: a\r\n\r\n");
  EXPECT_THAT(head, HasSubstr("content-length: 3\r\n"));
  EXPECT_THAT(head, EndsWith("\r\n\r\n"));
  // The body is still under way when the answer is: it must not end in a reset.
  const auto post = talk(tcp(), "POST /healthz HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello");
  EXPECT_THAT(post, StartsWith("HTTP/1.1 405 "));
  EXPECT_THAT(post, HasSubstr("allow: GET, HEAD\r\n"));
  EXPECT_THAT(post, Not(HasSubstr("(reset)")));
}

TEST_F(AdminServerTest, TakesARequestByteByByte) {
  ASSERT_EQ("", listen(""));
  const int fd = tcp();
  const std::string request = "GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n";
  for (const char c : request) ASSERT_EQ(1, ::send(fd, &c, 1, MSG_NOSIGNAL));
  EXPECT_THAT(rest(fd), StartsWith("HTTP/1.1 200 "));
}

TEST_F(AdminServerTest, RefusesBadAndEndlessRequests) {
  ASSERT_EQ("", listen(""));
  EXPECT_THAT(talk(tcp(), "GET / HTTP/1.1\n\n"), StartsWith("HTTP/1.1 400 "));
  EXPECT_THAT(talk(tcp(), "GET / HTTP/1.1\r\n\r\n"), StartsWith("HTTP/1.1 400 "));  // no Host
  const auto endless = talk(tcp(), "GET / HTTP/1.1\r\nHost: a\r\nX: " + std::string(9000, 'x'));
  EXPECT_THAT(endless, StartsWith("HTTP/1.1 431 "));
  EXPECT_THAT(endless, Not(HasSubstr("(reset)")));
}

TEST_F(AdminServerTest, SendsALargeAnswerToASlowReader) {
  restart(60'000);  // a slow reader, not a stuck one
  on_loop([this] { metrics_ = std::string(20'000'000, 'm'); });
  ASSERT_EQ("", listen(""));
  const auto answer = get(tcp(), "/metrics");
  EXPECT_THAT(answer.substr(0, 200), HasSubstr("content-length: 20000000\r\n"));
  EXPECT_EQ(20'000'000U, answer.size() - answer.find("\r\n\r\n") - 4);
}

TEST_F(AdminServerTest, ClosesTheOldestThatSaysNothingWhereThereAreTooMany) {
  restart(60'000);
  ASSERT_EQ("", listen(""));
  std::vector<int> held;
  for (int i = 0; i < 64; ++i) {
    held.push_back(tcp());
    while (on_loop([this] { return server_->connections(); }) <= static_cast<std::size_t>(i)) std::this_thread::yield();
  }
  const int late = tcp();
  EXPECT_EQ("", rest(held[0]));
  EXPECT_EQ(64U, on_loop([this] { return server_->connections(); }));
  EXPECT_THAT(get(late, "/healthz"), StartsWith("HTTP/1.1 200 "));
  EXPECT_THAT(get(held[2], "/healthz"), StartsWith("HTTP/1.1 200 "));
  ::close(held[1]);
  for (std::size_t i = 3; i < held.size(); ++i) ::close(held[i]);
}

TEST_F(AdminServerTest, GivesUpOnASilentClient) {
  restart(50);
  ASSERT_EQ("", listen(""));
  const int silent = tcp();
  EXPECT_EQ("", talk(tcp(), "GET /healthz HTT"));
  EXPECT_EQ("", rest(silent));
  EXPECT_EQ(0U, on_loop([this] { return server_->connections(); }));
}

// One that takes the answer and never closes, and one that never takes it.
TEST_F(AdminServerTest, GivesUpOnAClientThatStays) {
  restart(50);
  on_loop([this] { metrics_ = std::string(50'000'000, 'm'); });
  ASSERT_EQ("", listen(""));
  const int stays = tcp();
  const int never_reads = tcp();
  const std::string request = "GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n";
  const std::string large = "GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n";
  ASSERT_EQ(static_cast<ssize_t>(request.size()), ::send(stays, request.data(), request.size(), MSG_NOSIGNAL));
  ASSERT_EQ(static_cast<ssize_t>(large.size()), ::send(never_reads, large.data(), large.size(), MSG_NOSIGNAL));
  // Both have begun to be answered.
  for (const int fd : {stays, never_reads}) {
    pollfd answered{fd, POLLIN, 0};
    ASSERT_EQ(1, ::poll(&answered, 1, 10'000));
  }
  while (on_loop([this] { return server_->connections(); }) > 0) std::this_thread::yield();
  ::close(stays);
  ::close(never_reads);
}

TEST_F(AdminServerTest, MakesItsSocketForItsUserOnlyAndRemovesIt) {
  ASSERT_EQ("", listen("unix:" + socket_path()));
  struct stat info {};
  ASSERT_EQ(0, ::stat(socket_path().c_str(), &info));
  EXPECT_TRUE(S_ISSOCK(info.st_mode));
  EXPECT_EQ(0600U, info.st_mode & 0777U);
  ASSERT_EQ("", listen(""));
  EXPECT_FALSE(std::filesystem::exists(socket_path()));
}

TEST_F(AdminServerTest, ReplacesTheSocketOfADeadProcess) {
  const int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  socket_path().copy(address.sun_path, sizeof address.sun_path - 1);
  ASSERT_EQ(0, ::bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof address));
  ASSERT_EQ(0, ::listen(fd, 1));
  EXPECT_THAT(listen("unix:" + socket_path()),
              EndsWith("is in use by another process; stop it or choose another path"));
  ::close(fd);
  EXPECT_EQ("", listen("unix:" + socket_path()));
  EXPECT_THAT(get(local(socket_path()), "/healthz"), StartsWith("HTTP/1.1 200 "));
}

TEST_F(AdminServerTest, LeavesAFileAloneThatIsNoSocket) {
  std::ofstream(socket_path()) << "precious";
  EXPECT_THAT(listen("unix:" + socket_path()), HasSubstr("there is a file that is no socket"));
  EXPECT_TRUE(std::filesystem::exists(socket_path()));
}

TEST_F(AdminServerTest, RefusesWhatItCannotListenOn) {
  EXPECT_THAT(listen("127.0.0.1:9901"), HasSubstr("needs a token and is not supported yet; write unix:/path"));
  EXPECT_THAT(listen("unix:/proc/no/such/folder/a"), HasSubstr("RuntimeDirectory=edgemux"));
  EXPECT_THAT(listen("unix:/" + std::string(200, 'x')), HasSubstr("1 to 107 bytes"));
  EXPECT_THAT(listen("", "localhost:1"), HasSubstr("'localhost' is no IP address"));
  EXPECT_THAT(listen("", "127.0.0.1"), StartsWith("admin.probes: "));
  // A port that somebody has.
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  ASSERT_EQ(0, ::bind(fd, reinterpret_cast<sockaddr*>(&address), size));
  ASSERT_EQ(0, ::listen(fd, 1));
  ASSERT_EQ(0, ::getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size));
  EXPECT_THAT(listen("", "127.0.0.1:" + std::to_string(ntohs(address.sin_port))), HasSubstr("the port is in use"));
  ::close(fd);
}

TEST_F(AdminServerTest, KeepsWhatItHasWhenAChangeFails) {
  ASSERT_EQ("", listen("unix:" + socket_path()));
  const auto port = on_loop([this] { return server_->probes_port(); });
  EXPECT_NE("", listen("unix:" + std::string(folder_ / "b.sock"), "nonsense"));
  EXPECT_EQ(port, on_loop([this] { return server_->probes_port(); }));
  EXPECT_THAT(get(local(socket_path()), "/healthz"), StartsWith("HTTP/1.1 200 "));
  EXPECT_THAT(get(tcp(), "/healthz"), StartsWith("HTTP/1.1 200 "));
  EXPECT_FALSE(std::filesystem::exists(folder_ / "b.sock"));
  // Equal text: the same socket goes on; the other moves.
  ASSERT_EQ("", listen("unix:" + std::string(folder_ / "b.sock")));
  EXPECT_EQ(port, on_loop([this] { return server_->probes_port(); }));
  EXPECT_THAT(get(local(folder_ / "b.sock"), "/healthz"), StartsWith("HTTP/1.1 200 "));
  EXPECT_FALSE(std::filesystem::exists(socket_path()));
}

}  // namespace
}  // namespace edgemux::admin
