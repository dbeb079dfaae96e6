#pragma once
// Probe: one active check of one endpoint. Connects, speaking for itself in a PROXY header where the upstream wants
// one; for tls and wherever the upstream has TLS, shakes hands; for http, asks and judges status and body. All of it
// within HealthCheck::timeout.
//
// Use: construct, start(), get exactly one call of `done`, never from inside start(): an empty text when the check
// passed, else why not. `done` may destroy the probe. Destroying it cancels.

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "core/http/chunked.h"
#include "core/http/message.h"
#include "core/io/event_loop.h"
#include "core/io/tcp_stream.h"
#include "core/proxy_protocol/proxy_header.h"
#include "core/tls/client_policy.h"
#include "core/tls/context.h"
#include "routing/table/upstream.h"

namespace edgemux::routing {

class Probe final : private core::StreamObserver {
 public:
  static constexpr std::size_t kMaxHead = 16 * 1024;
  static constexpr std::size_t kMaxBody = 64 * 1024;  // where a text is looked for; more is not read

  struct Target {
    core::SocketAddress address;
    std::string text;  // the endpoint, as in Endpoint::text
    std::shared_ptr<const HealthCheck> check;
    core::TlsClientPolicyPtr tls;  // null = plain
    core::ProxyVersion proxy_protocol = core::ProxyVersion::off;
    std::optional<core::SocketAddress> source{};  // where it connects from
  };
  using Done = std::function<void(const std::string& problem)>;

  // `tls` may be null where the target has none.
  Probe(core::EventLoop& loop, core::TlsWorker* tls, Target target, Done done);
  ~Probe();
  Probe(const Probe&) = delete;
  Probe& operator=(const Probe&) = delete;

  void start();

 private:
  enum class Stage : std::uint8_t { connecting, securing, asking, head, body, over };
  void on_ready(core::Stream& stream) override;
  void connected();
  // False: the PROXY header did not go out; the check is over.
  bool introduce();
  void secure();
  void ask();
  void send();
  void read();
  // False: the check is over.
  bool take(std::size_t from);
  bool take_body(std::string_view bytes);
  void judge_body(bool complete);
  void finish(std::string problem);
  void timed_out();
  // The endpoint as it was written: "name:80".
  [[nodiscard]] std::string_view written() const;

  core::EventLoop& loop_;
  core::TlsWorker* tls_worker_;
  Target target_;
  Done done_;
  std::unique_ptr<core::Stream> stream_;
  core::TcpStream* tcp_ = nullptr;
  core::TlsStream* tls_ = nullptr;
  std::string request_;
  std::string received_;  // the head, until it is whole
  std::string body_;
  core::BodyReader body_reader_;
  std::string problem_;
  core::Timer deadline_;
  core::Deferred later_;
  Stage stage_ = Stage::connecting;
};

}  // namespace edgemux::routing
