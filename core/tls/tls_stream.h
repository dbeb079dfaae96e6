#pragma once
// TlsStream: a Stream that speaks TLS over another Stream. Made by TlsWorker; first driven through its handshake, then
// used like any Stream.
//
// Order of calls: set_observer, then handshake() at once and again on every on_ready until it says `done` or `failed`.
// After `done` the owner must read until `again`: the client's first request often comes with the end of the handshake.
// After `failed` the alert is already on its way; call shutdown_write() or abort(), then destroy.
//
// Memory: an idle stream owns no buffer. Ciphertext is received into and sent from buffers that all streams of a worker
// share; only what cannot be finished now is copied into memory of the stream's own: received bytes that the owner has
// not asked for when another stream needs the buffer, and sealed bytes that the kernel did not take. On the server's
// side of TLS 1.3 the library's object goes with the end of the handshake, and Records does what is left to do.
//
// One receive from the inner stream per read() that yields data; one send per write() or handshake(), however many
// records it makes. A write() takes at most 64 KiB; 16 KiB while the peer is slow. All pieces together that fit into a
// record share one.
//
// End of data: read() says `eof` after close_notify, and after a FIN without it; then truncated() is true (RFC
// 8446 6.1): for a message that ends with the connection that matters. Writing goes on after `eof` (half-close).
//
// Refused: renegotiation, and more than kMaxControlRecords records without application data in a row (key updates):
// read() says `error` with EPROTO and failure() why.
//
// Threads: everything on the worker's thread. The TlsWorker outlives its streams.

#include <memory>
#include <string>
#include <string_view>

#include "core/io/stream.h"
#include "core/tls/certificate_store.h"
#include "core/tls/leftover.h"
#include "core/tls/policy.h"

struct ssl_st;

namespace edgemux::core {

class Records;
class TlsWorker;
struct TlsBuffers;
struct TrafficSecrets;

enum class HandshakeStatus : std::uint8_t { done, again, failed };

class TlsStream final : public Stream, private StreamObserver {
 public:
  static constexpr std::size_t kMaxHandshakeInput = 192 * 1024;  // bytes a peer may send before `done`
  static constexpr std::size_t kMaxQuietInput = 64 * 1024;
  static constexpr std::size_t kMaxUnsent = 256 * 1024;
  static constexpr unsigned kMaxControlRecords = 32;

  ~TlsStream() override;

  // Goes on with the handshake as far as it can.
  HandshakeStatus handshake();

  // After `done`. The texts live as long as the stream.
  [[nodiscard]] std::string_view alpn() const { return alpn_; }        // "http/1.1"; empty = none agreed on
  [[nodiscard]] std::string_view version() const { return version_; }  // "TLSv1.3"
  [[nodiscard]] std::string_view cipher() const { return cipher_; }    // "TLS_AES_128_GCM_SHA256"
  [[nodiscard]] bool resumed() const { return resumed_; }
  [[nodiscard]] bool has_client_certificate() const { return peer_certificate_; }

  // Why the handshake or a later read or write failed, for the log: "no shared cipher", "client sent alert: unknown
  // ca", "client closed during the handshake". Empty = nothing failed.
  [[nodiscard]] const std::string& failure() const { return failure_; }
  // The peer ended without close_notify. Known once read() said `eof`.
  [[nodiscard]] bool truncated() const { return end_ == End::truncated; }

  [[nodiscard]] Stream& inner() const { return *inner_; }

  void set_observer(StreamObserver* observer) override { observer_ = observer; }
  IoResult read(std::span<char> buffer) override;
  [[nodiscard]] bool readable() const override;
  [[nodiscard]] bool broken() const override { return broken_ || inner_->broken(); }
  IoResult write(std::span<const iovec> pieces) override;
  [[nodiscard]] std::size_t unsent() const override { return tail_.size(); }
  void end_follows() override { inner_->end_follows(); }
  void shutdown_write() override;
  void keep_alive(int seconds) override { inner_->keep_alive(seconds); }
  void abort() override;

 private:
  friend class TlsWorker;
  friend struct TlsBio;
  friend struct TlsCallbacks;
  friend struct TlsClientCallbacks;
  struct ClientSide;
  struct SslFree {
    void operator()(ssl_st* ssl) const;
  };
  // What only the handshake needs; gone when it is done.
  struct Pending {
    CertifiedKeyPtr ecdsa;
    CertifiedKeyPtr rsa;
    std::string server_name;
    std::string note;                     // a reason of our own that beats the library's
    std::shared_ptr<const void> context;  // what the callbacks use; the worker may evict it meanwhile
    std::unique_ptr<TrafficSecrets> secrets;
    bool begun = false;
  };
  enum class End : std::uint8_t { open, close_notify, truncated };
  enum class Half : std::uint8_t { open, closing, closed };  // ours; closing = waits for the tail

  TlsStream(TlsWorker& worker, std::unique_ptr<Stream> inner, ssl_st* ssl, std::unique_ptr<Pending> pending);
  void on_ready(Stream& inner) override;

  // Ciphertext in: from the stash, else the shared buffer, else the inner stream.
  void put_back(std::span<const char> received);
  [[nodiscard]] bool has_input() const;
  void save_input();
  std::size_t pull(char* to, std::size_t size);
  bool receive();
  bool receive_into(std::span<char> room);
  // The same for records of our own: a whole one, header and all, or nothing.
  std::span<char> next_record();
  bool receive_more();
  [[nodiscard]] bool has_record() const;
  std::size_t take_opened(std::span<char> buffer);
  std::size_t open_records(std::span<char> buffer);
  std::size_t library_read(std::span<char> buffer);
  void on_alert(std::string_view alert);
  void on_handshake_message(std::string_view message);
  bool count_control_record();

  // Ciphertext out: collected in the shared buffer, then sent at once; what is not taken becomes the tail.
  void push(const char* from, std::size_t size);
  void flush();
  // Seals one record into the shared buffer. False: given up.
  bool seal(std::string_view plain);
  void seal_control(std::uint8_t type, std::string_view plain);
  void refuse_record(std::uint8_t alert, std::string reason);
  bool update_write_keys(char answer_wanted);
  void flush_tail();
  void keep(std::string_view sealed);
  void finish_closing();

  void finish_handshake();
  int handshake_for_secrets();  // what SSL_do_handshake() returned
  void take_over_records();
  HandshakeStatus fail_handshake(std::string reason);
  [[nodiscard]] std::string explain() const;
  void give_up(std::string reason);
  [[nodiscard]] IoResult error() const;
  IoResult tell_end();
  // errno of the inner stream, once it failed either way; 0 = it stands.
  [[nodiscard]] int lost() const { return inner_error_ != 0 ? inner_error_ : sent_error_; }

  TlsBuffers& buffers_;
  std::unique_ptr<Stream> inner_;
  std::unique_ptr<ssl_st, SslFree> ssl_;  // null once records_ has taken over
  std::unique_ptr<Records> records_;
  StreamObserver* observer_ = nullptr;
  std::unique_ptr<Pending> pending_;
  std::unique_ptr<ClientSide> client_;  // null: we are the server
  Leftover stash_;   // received, not yet given to the library, after another stream took the shared buffer
  Leftover tail_;    // sealed, not yet taken by the inner stream
  Leftover opened_;  // of a record that was larger than the owner's buffer
  std::string failure_;
  std::string_view alpn_;  // of the worker's or own_alpn_; these three are known when the handshake is done
  const char* version_ = "";
  const char* cipher_ = "";
  std::unique_ptr<const std::string> own_alpn_;  // a protocol that no codec serves
  std::size_t quiet_input_ = 0;                  // bytes received since the last application data
  unsigned control_records_ = 0;
  int inner_error_ = 0;  // errno of the inner stream, once reading failed
  int sent_error_ = 0;   // the same of writing: what the peer sent before it went, an alert too, can still be read
  End end_ = End::open;
  Half half_ = Half::open;
  bool inner_eof_ = false;
  bool end_told_ = false;  // read() has said `eof`: the end may have come with the last data
  bool peer_certificate_ = false;
  bool resumed_ = false;
  bool may_receive_ = false;  // pull() may go to the inner stream
  bool starved_ = false;      // pull() had nothing to give
  bool slow_ = false;         // the peer did not take the last flight at once
  bool broken_ = false;       // no more TLS on this connection
};

}  // namespace edgemux::core
