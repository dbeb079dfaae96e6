#pragma once
// Probe: one active check of one endpoint. Connects, speaking for itself in a PROXY header where the upstream wants
// one; for tls and wherever the upstream has TLS, shakes hands; for http, asks, in the version that requests are sent
// in, and judges status and body. All of it within HealthCheck::timeout.
//
// Use: construct, start(), get exactly one call of `done`, never from inside start(): an empty text when the check
// passed, else why not. `done` may destroy the probe. Destroying it cancels.

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "core/http/http1_client.h"
#include "core/http/http2_client.h"
#include "core/io/event_loop.h"
#include "core/io/output.h"
#include "core/io/tcp_stream.h"
#include "core/proxy_protocol/proxy_header.h"
#include "core/tls/client_policy.h"
#include "core/tls/context.h"
#include "routing/table/upstream.h"

namespace edgemux::routing {

// What the probes of one thread share. Everything outlives them; `tls` may be null where no target has TLS.
struct ProbeContext {
  core::EventLoop& loop;
  core::BlockPool& blocks;
  core::HttpScratch& http;
  core::TlsWorker* tls;
};

class Probe final : private core::StreamObserver, private core::ClientCodec::Observer {
 public:
  static constexpr std::size_t kMaxBody = 64 * 1024;  // where a text is looked for; more is not read

  struct Target {
    core::SocketAddress address;
    std::string text;  // the endpoint, as in Endpoint::text
    std::shared_ptr<const HealthCheck> check;
    core::TlsClientPolicyPtr tls;  // null = plain
    HttpVersion version = HttpVersion::http1;
    core::ProxyVersion proxy_protocol = core::ProxyVersion::off;
    std::optional<core::SocketAddress> source{};  // where it connects from
    std::string host{};                           // as in Endpoint::host: whose certificate it must have
  };
  // Not `made`: there was no descriptor or memory of our own for it, which says nothing of the endpoint.
  using Done = std::function<void(const std::string& problem, bool made)>;

  Probe(const ProbeContext& context, Target target, Done done);
  ~Probe();
  Probe(const Probe&) = delete;
  Probe& operator=(const Probe&) = delete;

  void start();

 private:
  enum class Stage : std::uint8_t { connecting, securing, asking, over };
  void on_ready(core::Stream& stream) override;
  void on_response(core::StreamId stream, core::ResponseHead& head, bool end) override;
  void on_response_body(core::StreamId stream, std::span<const char> data, bool end) override;
  void on_response_trailers(core::StreamId stream, core::FieldList& fields) override;
  void on_stream_writable(core::StreamId) override {}
  void on_response_reset(core::StreamId stream, bool unprocessed, const char* reason) override;
  void on_bad_response(core::StreamId stream, const char* reason) override;
  void on_capacity() override {}
  void connected();
  // False: the PROXY header did not go out; the check is over.
  bool introduce();
  void secure();
  void ask();
  void flush();
  void read();
  void judge_body();
  void finish(std::string problem);
  void timed_out();
  // The endpoint as it was written: "name:80".
  [[nodiscard]] std::string_view written() const;

  ProbeContext context_;
  Target target_;
  Done done_;
  std::unique_ptr<core::Stream> stream_;
  core::TcpStream* tcp_ = nullptr;
  core::TlsStream* tls_ = nullptr;
  core::Output output_;
  std::optional<core::Http1Client> http1_;
  std::unique_ptr<core::Http2Client> http2_;
  core::ClientCodec* codec_ = nullptr;  // null before it asks
  std::string received_;                // an incomplete head
  std::string body_;
  std::string problem_;
  core::Timer deadline_;
  core::Deferred later_;
  Stage stage_ = Stage::connecting;
  bool answered_ = false;  // the head has come
  bool made_ = true;
};

}  // namespace edgemux::routing
