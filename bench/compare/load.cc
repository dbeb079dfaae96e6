// compare_load: the client of ./dev compare. A number of connections, each with one request at a time, and what they
// cost in time. It talks with the caller so that work and CPU time can be set against each other exactly:
//
//   connects, asks for 128 bytes on every connection, warms up, lets every request end    -> prints "ready"
//   a line on standard input                                                    -> asks for --seconds or --requests,
//                                                                                  lets every request end, prints JSON
//   the end of standard input                                                   -> closes everything, exit 0
//
// Between "ready" and the JSON line the proxy did exactly `requests` requests. --close: a new connection for each,
// which the server is to close first. --rate: so many requests are due per second, and latency counts from when a
// request was due, not from when it could be sent; the p99 of each twentieth of a second is looked at, too. --origin:
// it serves the origin as well, which nobody else does then, and never waits, so that neither of the two ends falls
// asleep. --tls: TLS 1.3, AES-128-GCM, X25519, no resumption. --hello: only the ClientHello is sent, in front of plain
// HTTP, for tunnels to compare_origin. A request fails if its answer is not a 200 of --expect bytes.
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/prctl.h>

#include <algorithm>
#include <array>
#include <deque>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "bench/compare/options.h"
#include "bench/compare/origin.h"
#include "bench/compare/socket.h"

namespace edgemux::compare {
namespace {

constexpr std::uint64_t kSecond = 1'000'000'000;
constexpr std::uint64_t kPatience = 20 * kSecond;  // for requests to end
constexpr int kOpeningAtOnce = 32;
constexpr std::size_t kErrorsAtMost = 50;  // then nothing more is asked
constexpr std::size_t kFirstBody = 128;    // what is asked for once on every connection
constexpr std::size_t kHeadAtMost = 8 * 1024;
constexpr double kWindow = 0.05;  // seconds; see p99_of_windows()

std::uint64_t now_ns() {
  timespec time{};
  clock_gettime(CLOCK_MONOTONIC, &time);
  return static_cast<std::uint64_t>(time.tv_sec) * kSecond + static_cast<std::uint64_t>(time.tv_nsec);
}

enum class Stage { closed, connecting, handshaking, idle, head, body, ending };

struct Connection {
  int fd = -1;
  SSL* ssl = nullptr;
  Stage stage = Stage::closed;
  std::uint64_t due = 0;  // when the request was, or was to be, made
  std::size_t body = 0;   // still to come
  bool counted = false;   // among those that have answered once
  std::string in;
};

// What a read found.
enum class Got { data, nothing, end };

class Load {
 public:
  explicit Load(const Options& options)
      : options_(options), address_(loopback(options.port)), epoll_(epoll_create1(EPOLL_CLOEXEC)) {
    const std::string end =
        " HTTP/1.1\r\nHost: " + options.host + "\r\n" + (options.close ? "Connection: close\r\n" : "") + "\r\n";
    request_ = "GET " + options.path + end;
    first_request_ = "GET /" + std::to_string(kFirstBody) + end;
    if (options.tls || options.hello) make_context();
    if (options.hello) hello_ = client_hello();
    if (!options.origin.empty()) origin_ = std::make_unique<Origin>(options.origin);
    prctl(PR_SET_TIMERSLACK, 1);  // waits end when a request is due, not up to 50 us later
    connections_.resize(static_cast<std::size_t>(options.clients));
  }

  int run() {
    open_all();
    if (options_.warmup > 0) ask_for(options_.warmup, 0, 0);
    if (errors_ == 0) {
      std::puts("ready");
      std::fflush(stdout);
      wait_for_line();
      requests_ = 0;
      bytes_ = 0;
      latencies_.clear();
      latencies_.reserve(1'000'000);
      if (options_.seconds > 0 || options_.requests > 0) ask_for(options_.seconds, options_.requests, options_.rate);
    }
    report();
    while (wait_for_line()) {
    }
    for (Connection& c : connections_) close_down(c);
    return 0;
  }

 private:
  // -- phases

  void open_all() {
    opening_ = true;
    while (answered_ < connections_.size() && errors_ == 0) {
      while (next_to_open_ < connections_.size() && next_to_open_ - answered_ < kOpeningAtOnce) {
        begin(connections_[next_to_open_++], now_ns());
      }
      if (!turn(5 * kSecond)) fail("no answer while connecting");
    }
    opening_ = false;
  }

  // Asks for some seconds or for a number of requests, whichever is given, and waits until all of them have ended.
  void ask_for(double seconds, std::size_t requests, double rate) {
    started_ = now_ns();
    stop_at_ = requests > 0 ? ~std::uint64_t{0} : started_ + static_cast<std::uint64_t>(seconds * 1e9);
    left_ = requests > 0 ? requests : ~std::size_t{0};
    interval_ = rate > 0 ? static_cast<double>(kSecond) / rate : 0;
    next_due_ = static_cast<double>(started_);
    asking_ = true;
    busy_ = 0;
    free_.clear();
    for (Connection& c : connections_) {
      if (interval_ > 0) {
        free_.push_back(&c);
      } else {
        ask_again(c);
      }
    }
    std::uint64_t stopped = 0;
    while (asking_ || busy_ > 0) {
      if (interval_ > 0) send_due();
      turn(kSecond / 10);
      const std::uint64_t now = now_ns();
      if (asking_ && (now >= stop_at_ || left_ == 0)) asking_ = false;
      if (asking_) continue;
      if (stopped == 0) stopped = now;
      if (now > stopped + kPatience) {
        fail("a request did not end");
        break;
      }
      if (errors_ >= kErrorsAtMost) break;
    }
    elapsed_ = now_ns() - started_;
  }

  void send_due() {
    if (errors_ >= kErrorsAtMost || left_ == 0) asking_ = false;
    if (!asking_) return;
    const std::uint64_t now = now_ns();
    while (next_due_ <= static_cast<double>(now) && !free_.empty() && left_ > 0) {
      --left_;
      Connection& c = *free_.front();
      free_.pop_front();
      ++busy_;
      begin(c, static_cast<std::uint64_t>(next_due_));
      next_due_ += interval_;
    }
    if (free_.empty() && next_due_ < static_cast<double>(now))
      backlog_ = std::max(backlog_, static_cast<double>(now) - next_due_);
  }

  // Until the next request is due; where no connection is free, one that gets free comes back to send_due().
  [[nodiscard]] std::uint64_t until_due() const {
    if (interval_ <= 0 || !asking_ || free_.empty()) return ~std::uint64_t{0};
    const auto due = static_cast<std::uint64_t>(next_due_);
    const std::uint64_t now = now_ns();
    return due > now ? due - now : 0;
  }

  // One round of events; false if none came in that time.
  bool turn(std::uint64_t patience_ns) {
    const std::uint64_t most = std::min(patience_ns, until_due());
    const std::uint64_t end = origin_ != nullptr ? now_ns() + most : 0;
    std::array<epoll_event, 128> events;
    int count = 0;
    do {
      if (origin_ != nullptr) origin_->turn(0);
      const std::uint64_t rest = origin_ != nullptr ? 0 : most;
      const timespec wait{static_cast<time_t>(rest / kSecond), static_cast<long>(rest % kSecond)};
      count = epoll_pwait2(epoll_, events.data(), static_cast<int>(events.size()), &wait, nullptr);
    } while (count == 0 && now_ns() < end);
    for (int i = 0; i < count; ++i) {
      const auto& event = events[static_cast<std::size_t>(i)];
      on_event(*static_cast<Connection*>(event.data.ptr), event.events);
    }
    return count > 0;
  }

  // -- one connection

  void ask_again(Connection& c) {
    if (!asking_ || left_ == 0 || errors_ >= kErrorsAtMost) {
      if (left_ == 0 || errors_ >= kErrorsAtMost) asking_ = false;
      return;
    }
    --left_;
    ++busy_;
    begin(c, now_ns());
  }

  void begin(Connection& c, std::uint64_t due) {
    c.due = due;
    if (c.stage == Stage::idle) return send_request(c);
    c.fd = new_socket();
    c.stage = Stage::connecting;
    epoll_event event{};
    event.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | static_cast<std::uint32_t>(EPOLLET);
    event.data.ptr = &c;
    if (connect(c.fd, reinterpret_cast<const sockaddr*>(&address_), sizeof address_) != 0 && errno != EINPROGRESS) {
      return broken(c, std::string("connect: ") + std::strerror(errno));
    }
    epoll_ctl(epoll_, EPOLL_CTL_ADD, c.fd, &event);
  }

  void on_event(Connection& c, std::uint32_t events) {
    if (c.stage == Stage::connecting) {
      if ((events & EPOLLERR) != 0) {
        int error = 0;
        socklen_t size = sizeof error;
        getsockopt(c.fd, SOL_SOCKET, SO_ERROR, &error, &size);
        return broken(c, std::string("connect: ") + std::strerror(error));
      }
      if (!options_.tls) return send_request(c);
      c.ssl = SSL_new(context_.get());
      SSL_set_fd(c.ssl, c.fd);
      SSL_set_tlsext_host_name(c.ssl, options_.host.c_str());
      SSL_set_connect_state(c.ssl);
      c.stage = Stage::handshaking;
    }
    if (c.stage == Stage::handshaking) {
      const int done = SSL_do_handshake(c.ssl);
      if (done != 1) {
        if (SSL_get_error(c.ssl, done) == SSL_ERROR_WANT_READ) return;
        return broken(c, "TLS handshake failed");
      }
      if (session_.empty()) {
        session_ = std::string(SSL_get_version(c.ssl)) + " " + SSL_get_cipher_name(c.ssl) + " " +
                   OBJ_nid2sn(static_cast<int>(SSL_get_negotiated_group(c.ssl)));
      }
      send_request(c);
    }
    read_some(c, (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0);
  }

  void send_request(Connection& c) {
    c.in.clear();
    const bool first = c.stage != Stage::idle;
    c.stage = Stage::head;
    const std::string& request = opening_ ? first_request_ : request_;
    if (c.ssl != nullptr) {
      if (SSL_write(c.ssl, request.data(), static_cast<int>(request.size())) <= 0) broken(c, "cannot send");
      return;
    }
    const std::string& what = first && options_.hello ? (hello_and_request_ = hello_ + request) : request;
    if (send(c.fd, what.data(), what.size(), MSG_NOSIGNAL) != static_cast<ssize_t>(what.size()))
      broken(c, "cannot send");
  }

  // Reads into the buffer; a body that is not encrypted is dropped in the kernel, uncopied.
  Got read_into(Connection& c, std::size_t& size) {
    if (c.ssl == nullptr) {
      const bool drop = c.stage == Stage::body;
      const std::size_t room = drop ? c.body : buffer_.size();
      const ssize_t got = recv(c.fd, drop ? nullptr : buffer_.data(), room, drop ? MSG_TRUNC : 0);
      if (got <= 0) return got < 0 && errno == EAGAIN ? Got::nothing : Got::end;
      size = static_cast<std::size_t>(got);
      return Got::data;
    }
    const int got = SSL_read(c.ssl, buffer_.data(), static_cast<int>(buffer_.size()));
    if (got <= 0) {
      const bool wants = SSL_get_error(c.ssl, got) == SSL_ERROR_WANT_READ;
      ERR_clear_error();
      return wants ? Got::nothing : Got::end;
    }
    size = static_cast<std::size_t>(got);
    return Got::data;
  }

  // Until nothing is left. A short read of plain bytes found all there is, unless `ends`: then the end is behind it.
  void read_some(Connection& c, bool ends) {
    bool drained = false;
    while (c.stage != Stage::closed && !drained) {
      std::size_t size = 0;
      const bool whole = c.stage != Stage::body;
      switch (read_into(c, size)) {
        case Got::nothing:
          return;
        case Got::end:
          if (c.stage == Stage::ending) return ended(c);
          if (c.stage == Stage::idle) return lost_idle(c);
          return broken(c, "closed before the answer was complete");
        case Got::data:
          drained = c.ssl == nullptr && whole && size < buffer_.size() && !ends;
          if (c.stage == Stage::idle || c.stage == Stage::ending) return broken(c, "bytes that nobody asked for");
          if (c.stage == Stage::head) {
            take_head(c, size);
          } else if (size > c.body) {
            return broken(c, "more bytes than Content-Length says");
          } else {
            c.body -= size;
          }
          if (c.stage == Stage::body && c.body == 0) answered(c);
      }
    }
  }

  // Goes on to the body once the head is complete and good; what came behind the head belongs to the body.
  void take_head(Connection& c, std::size_t size) {
    std::string_view text(buffer_.data(), size);
    if (!c.in.empty() || text.find("\r\n\r\n") == std::string_view::npos) {
      c.in.append(text);
      text = c.in;
    }
    const std::size_t end = text.find("\r\n\r\n");
    if (end == std::string_view::npos) {
      if (text.size() > kHeadAtMost) broken(c, "a head too long");
      return;
    }
    if (!text.starts_with("HTTP/1.1 200"))
      return broken(c, "answer: " + std::string(text.substr(0, text.find("\r\n"))));
    const std::size_t length = content_length(text.substr(0, end + 2));
    const std::size_t behind = text.size() - end - 4;
    if (length != (opening_ ? kFirstBody : options_.expect)) return broken(c, "a body that is not as long as expected");
    if (behind > length) return broken(c, "more bytes than Content-Length says");
    c.stage = Stage::body;
    c.body = length - behind;
  }

  static std::size_t content_length(std::string_view head) {
    constexpr std::string_view kName = "\ncontent-length:";
    const auto same = [](char a, char b) { return (a >= 'A' && a <= 'Z' ? a + ('a' - 'A') : a) == b; };
    const auto at = std::search(head.begin(), head.end(), kName.begin(), kName.end(), same);
    if (at == head.end()) return ~std::size_t{0};
    return std::strtoull(std::string(at + kName.size(), std::min(at + kName.size() + 20, head.end())).c_str(), nullptr,
                         10);
  }

  void answered(Connection& c) {
    const std::uint64_t now = now_ns();
    if (!opening_) {
      ++requests_;
      bytes_ += options_.expect;
      latencies_.push_back(static_cast<std::uint32_t>(std::min<std::uint64_t>(now - c.due, ~std::uint32_t{0})));
    }
    if (options_.close) {
      c.stage = Stage::ending;
      return;  // the caller reads on, to the end
    }
    c.stage = Stage::idle;
    over(c);
  }

  void ended(Connection& c) {
    close_down(c);
    over(c);
  }

  // A request, and with --close its connection, is over.
  void over(Connection& c) {
    if (opening_) {
      if (!c.counted) ++answered_;
      c.counted = true;
      return;
    }
    if (busy_ > 0) --busy_;
    if (interval_ > 0) {
      free_.push_back(&c);
      send_due();
    } else {
      ask_again(c);
    }
  }

  void lost_idle(Connection& c) {
    ++reconnects_;
    close_down(c);
  }

  void broken(Connection& c, const std::string& why) {
    fail(why);
    close_down(c);
    if (!opening_) over(c);
  }

  void fail(const std::string& why) {
    if (errors_++ == 0) error_ = why;
  }

  void close_down(Connection& c) {
    if (c.ssl != nullptr) SSL_free(c.ssl);
    c.ssl = nullptr;
    if (c.fd >= 0) close(c.fd);
    c.fd = -1;
    c.stage = Stage::closed;
  }

  // -- TLS

  void make_context() {
    context_.reset(SSL_CTX_new(TLS_client_method()));
    SSL_CTX_set_min_proto_version(context_.get(), TLS1_3_VERSION);
    SSL_CTX_set_ciphersuites(context_.get(), "TLS_AES_128_GCM_SHA256");
    SSL_CTX_set1_groups_list(context_.get(), "X25519");
    SSL_CTX_set_mode(context_.get(), SSL_MODE_RELEASE_BUFFERS);
    constexpr std::array<unsigned char, 9> kAlpn{8, 'h', 't', 't', 'p', '/', '1', '.', '1'};
    SSL_CTX_set_alpn_protos(context_.get(), kAlpn.data(), kAlpn.size());
  }

  std::string client_hello() {
    SSL* ssl = SSL_new(context_.get());
    BIO* out = BIO_new(BIO_s_mem());
    SSL_set_bio(ssl, BIO_new(BIO_s_mem()), out);
    SSL_set_tlsext_host_name(ssl, options_.host.c_str());
    SSL_set_connect_state(ssl);
    SSL_do_handshake(ssl);
    char* data = nullptr;
    const long size = BIO_get_mem_data(out, &data);
    std::string hello(data, static_cast<std::size_t>(size));
    SSL_free(ssl);
    return hello;
  }

  // -- the caller

  static bool wait_for_line() {
    std::array<char, 16> line;
    return std::fgets(line.data(), line.size(), stdin) != nullptr;
  }

  // In us; the order of what is given changes.
  static double percentile(double part, std::span<std::uint32_t> latencies) {
    if (latencies.empty()) return 0;
    const auto at =
        std::min(latencies.size() - 1, static_cast<std::size_t>(part * static_cast<double>(latencies.size())));
    std::nth_element(latencies.begin(), latencies.begin() + static_cast<std::ptrdiff_t>(at), latencies.end());
    return static_cast<double>(latencies[at]) / 1000;
  }

  // The median of the windows' p99. As many requests are due in each, so they are told apart by number.
  double p99_of_windows() {
    const auto size = static_cast<std::size_t>(options_.rate * kWindow);
    std::vector<std::uint32_t> all;
    for (std::span<std::uint32_t> rest(latencies_); size > 0 && rest.size() >= size; rest = rest.subspan(size)) {
      all.push_back(static_cast<std::uint32_t>(percentile(0.99, rest.first(size)) * 1000));
    }
    return percentile(0.5, all);
  }

  void report() {
    const double p99_of_windows = this->p99_of_windows();  // first: it goes by their order
    std::string error = error_;
    std::replace_if(
        error.begin(), error.end(), [](char c) { return c == '"' || c == '\\' || c < ' '; }, ' ');
    std::printf(
        "{\"requests\": %zu, \"errors\": %zu, \"error\": \"%s\", \"seconds\": %.6f, \"bytes\": %zu, \"p50_us\": %.1f, "
        "\"p99_us\": %.1f, \"p99_of_windows_us\": %.1f, \"reconnects\": %zu, \"backlog_us\": %.1f, \"tls\": \"%s\"}\n",
        requests_, errors_, error.c_str(), static_cast<double>(elapsed_) / 1e9, bytes_, percentile(0.50, latencies_),
        percentile(0.99, latencies_), p99_of_windows, reconnects_, backlog_ / 1000, session_.c_str());
    std::fflush(stdout);
  }

  struct FreeContext {
    void operator()(SSL_CTX* context) const { SSL_CTX_free(context); }
  };

  Options options_;
  sockaddr_in address_;
  int epoll_;
  std::unique_ptr<Origin> origin_;
  std::unique_ptr<SSL_CTX, FreeContext> context_;
  std::string request_;
  std::string first_request_;
  std::string hello_;
  std::string hello_and_request_;
  std::string session_;
  std::vector<Connection> connections_;
  std::array<char, 64 * 1024> buffer_{};

  bool opening_ = false;
  bool asking_ = false;
  std::size_t next_to_open_ = 0;
  std::size_t answered_ = 0;
  std::size_t busy_ = 0;
  std::size_t left_ = 0;
  std::uint64_t started_ = 0;
  std::uint64_t stop_at_ = 0;
  std::uint64_t elapsed_ = 0;
  double interval_ = 0;  // with --rate
  double next_due_ = 0;
  double backlog_ = 0;  // the longest that a request was due and no connection was free
  std::deque<Connection*> free_;

  std::size_t requests_ = 0;
  std::size_t bytes_ = 0;
  std::size_t errors_ = 0;
  std::size_t reconnects_ = 0;
  std::string error_;
  std::vector<std::uint32_t> latencies_;  // ns
};

}  // namespace
}  // namespace edgemux::compare

int main(int argc, char** argv) {
  std::signal(SIGPIPE, SIG_IGN);
  edgemux::compare::Load load(edgemux::compare::parse_options(argc, argv));
  return load.run();
}
