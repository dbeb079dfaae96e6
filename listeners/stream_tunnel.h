#pragma once
// StreamTunnel: an upgraded stream of a connection that carries others beside it (WebSocket over HTTP/2, RFC 8441). One
// stream of the codec looks like a connection of its own (CodecStream), so that Tunnel does the rest.
//
// Made and owned by the session, which passes on what its codec says of the stream, and takes the tunnel apart when it
// is told stream_tunnel_done().

#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "core/http/codec.h"
#include "core/io/event_loop.h"
#include "core/io/retirable.h"
#include "core/io/stream.h"
#include "listeners/tunnel.h"
#include "listeners/upgraded_request.h"
#include "routing/upstream/stream.h"

namespace edgemux::listeners {

class HttpSession;

// What the client sends is kept until it is read; the stream's window bounds it.
class CodecStream final : public core::Stream {
 public:
  CodecStream(HttpSession& session, core::StreamId id);

  // ---- from the session. The tunnel goes on from the loop: the session may be in the middle of what it has received,
  // in a buffer that the tunnel would read into.
  void received(std::span<const char> data, bool end);
  void was_reset();
  void may_write() { again_.request(); }
  // Both halves have ended, and the number may be another stream's from now on.
  void is_over() { over_ = finished_ = true; }

  [[nodiscard]] bool over() const { return over_ || reset_; }

  void set_observer(core::StreamObserver* observer) override { observer_ = observer; }
  core::IoResult read(std::span<char> buffer) override;
  [[nodiscard]] bool readable() const override { return !input_.empty() || ended_ || reset_; }
  [[nodiscard]] bool broken() const override { return reset_; }
  core::IoResult write(std::span<const iovec> pieces) override;
  // What waits for the stream's window: a hundred tunnels that nobody reads shall hold little each.
  [[nodiscard]] std::size_t unsent() const override;
  void shutdown_write() override;
  void abort() override;

 private:
  static constexpr std::size_t kKept = 4096;  // of room for bytes, by a tunnel that is at rest

  HttpSession& session_;
  core::StreamId id_;
  core::StreamObserver* observer_ = nullptr;
  std::string input_;
  std::size_t taken_ = 0;  // of it
  bool ended_ = false;     // the client's half
  bool reset_ = false;
  bool finished_ = false;  // our half
  bool over_ = false;
  core::Deferred again_;
};

class StreamTunnel final : public core::Retirable, private Tunnel::Observer {
 public:
  StreamTunnel(HttpSession& session, core::StreamId id, routing::UpstreamStream::Upgraded upstream,
               UpgradedRequest request);

  [[nodiscard]] core::StreamId id() const { return id_; }
  [[nodiscard]] CodecStream& client() { return client_; }
  // The number is this tunnel's still.
  [[nodiscard]] bool has_stream() const { return !client_.over(); }
  [[nodiscard]] const routing::UpstreamPlace& place() const { return place_; }
  [[nodiscard]] const UpgradedRequest& request() const { return request_; }
  [[nodiscard]] Tunnel& tunnel() { return tunnel_; }
  [[nodiscard]] std::uint64_t began_us() const { return began_us_; }
  // The connection is closing: the upstream's side ends with it.
  void cut() {
    tunnel_.stop();
    upstream_->abort();
  }

 private:
  void on_tunnel_closed(CloseReason reason, const char* detail) override;
  [[nodiscard]] core::ListenerMetrics& tunnel_metrics() const override;
  [[nodiscard]] std::size_t tunnel_read_limit() const override;

  HttpSession& session_;
  core::StreamId id_;
  std::uint64_t began_us_;
  CodecStream client_;
  std::unique_ptr<core::Stream> upstream_;
  routing::UpstreamPlace place_;
  UpgradedRequest request_;
  Tunnel tunnel_;
};

}  // namespace edgemux::listeners
