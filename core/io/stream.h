#pragma once
// Stream: one ordered byte connection, and the contract that every layer above is written against.
//
// Streams are pulled, not pushed. The loop says that something became possible (StreamObserver::on_ready); the owner
// then reads and writes until it is told `again`. Readiness is edge-triggered: after on_ready the owner must either go
// on until `again`, or remember that it stopped (readable() stays true) and come back by itself; no second call is made
// for the same readiness. That makes pausing free: to stop reading, do not read.
//
// Ownership: whoever holds the Stream owns the connection. Destroying it closes it at once and cancels everything; no
// call reaches the observer afterwards. The observer outlives the stream or is replaced before it goes.
// A stream calls its observer as its last statement. The observer gets rid of the stream through EventLoop::retire,
// never by destroying it while the loop is handing out events.
//
// Implementations: TcpStream (core/io), TlsStream (core/tls), and the in-memory stream of the tests.

#include <sys/uio.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "core/io/retirable.h"

namespace edgemux::core {

enum class IoStatus : std::uint8_t {
  ok,     // `bytes` were moved, at least one
  again,  // nothing could be moved now; on_ready will say when
  eof,    // the peer ended its half (read only)
  error,  // the connection is broken; `error` says why (errno). Only close is left.
};

struct IoResult {
  IoStatus status = IoStatus::again;
  std::size_t bytes = 0;
  int error = 0;
};

class Stream;

class StreamObserver {
 public:
  // Reading, writing or both became possible, or the peer closed or reset: read() and write() tell which.
  virtual void on_ready(Stream& stream) = 0;

 protected:
  ~StreamObserver() = default;
};

class Stream : public Retirable {
 public:
  Stream() = default;
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;
  virtual void set_observer(StreamObserver* observer) = 0;

  // Reads at most buffer.size() bytes. `eof` is repeated on every later call.
  virtual IoResult read(std::span<char> buffer) = 0;

  // True while a read may yield something without waiting for on_ready.
  [[nodiscard]] virtual bool readable() const = 0;

  // Everything that the peer sent has been read: the next read() says `eof`. False as long as that is not known.
  [[nodiscard]] virtual bool ended() const { return false; }

  // The connection was reset or failed, whatever read() would still say. For owners that do not read at the moment.
  [[nodiscard]] virtual bool broken() const = 0;

  // Takes as many leading bytes of the pieces as it can now; the caller keeps the rest and offers it again after
  // on_ready. `ok` with fewer bytes than offered means that the next call would be `again`. A TLS stream may take bytes
  // whose ciphertext still waits inside (at most some 64 KiB); unsent() says how much.
  virtual IoResult write(std::span<const iovec> pieces) = 0;

  // Bytes taken by write() that the kernel has not taken yet. Zero for TCP.
  [[nodiscard]] virtual std::size_t unsent() const = 0;

  // A hint before a write: shutdown_write(), or the end of the stream, follows as soon as all is written. The last
  // bytes may wait for it and leave together with the FIN.
  virtual void end_follows() {}

  // Ends our half once everything taken by write() is sent: FIN, for TLS close_notify before it. Reading goes on.
  // Idempotent.
  virtual void shutdown_write() = 0;

  // Has a silent peer probed after so many seconds and thereafter, by TCP: one that is gone breaks the connection. Not
  // of streams that share a connection.
  virtual void keep_alive(int /*seconds*/) {}

  // Closes with a reset (RST) instead of a FIN: the peer must not take what it got for the whole. Then destroy.
  virtual void abort() = 0;
};

}  // namespace edgemux::core
