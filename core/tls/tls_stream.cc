#include "core/tls/tls_stream.h"

#include <fmt/core.h>

#include <algorithm>
#include <cerrno>
#include <system_error>

#include "core/tls/callbacks.h"
#include "core/tls/client_context.h"
#include "core/tls/client_hello.h"
#include "core/tls/context.h"
#include "core/tls/library.h"
#include "core/tls/openssl.h"
#include "core/tls/records.h"
#include "core/tls/tls_buffers.h"

namespace edgemux::core {
namespace {

// Walks over the pieces of a write, a record's worth at a time.
class PieceCursor {
 public:
  explicit PieceCursor(std::span<const iovec> pieces) : pieces_(pieces) { skip_empty(); }
  [[nodiscard]] bool done() const { return pieces_.empty(); }

  // The next at most `most` bytes in one piece: where they lie, or gathered in `scratch` (which holds `most`).
  std::string_view next(char* scratch, std::size_t most) {
    const std::string_view here = rest();
    if (here.size() >= most || pieces_.size() == 1) {
      advance(std::min(most, here.size()));
      return here.substr(0, most);
    }
    std::size_t filled = 0;
    while (filled < most && !done()) {
      const std::string_view part = rest().substr(0, most - filled);
      std::copy(part.begin(), part.end(), scratch + filled);
      filled += part.size();
      advance(part.size());
    }
    return {scratch, filled};
  }

 private:
  [[nodiscard]] std::string_view rest() const {
    return std::string_view(static_cast<const char*>(pieces_.front().iov_base), pieces_.front().iov_len)
        .substr(offset_);
  }
  void advance(std::size_t count) {
    offset_ += count;
    if (offset_ == pieces_.front().iov_len) {
      offset_ = 0;
      pieces_ = pieces_.subspan(1);
      skip_empty();
    }
  }
  void skip_empty() {
    while (!pieces_.empty() && pieces_.front().iov_len == 0) pieces_ = pieces_.subspan(1);
  }

  std::span<const iovec> pieces_;
  std::size_t offset_ = 0;
};

// The library is at work for this stream.
class Turn {
 public:
  Turn(TlsBuffers& buffers, TlsStream* stream) : buffers_(buffers), before_(buffers.active) { buffers.active = stream; }
  // What a stream that gave up has sealed and not sent is nobody's: the next one would send it.
  ~Turn() {
    buffers_.active = before_;
    if (before_ == nullptr) buffers_.sealed = 0;
  }
  Turn(const Turn&) = delete;
  Turn& operator=(const Turn&) = delete;

 private:
  TlsBuffers& buffers_;
  TlsStream* before_;
};

constexpr std::string_view kCloseNotify("\x01\x00", 2);  // a warning, RFC 8446 6.1

std::string errno_text(int number) { return std::generic_category().message(number); }

}  // namespace

void TlsStream::SslFree::operator()(ssl_st* ssl) const { SSL_free(ssl); }

TlsStream::TlsStream(TlsWorker& worker, std::unique_ptr<Stream> inner, ssl_st* ssl, std::unique_ptr<Pending> pending)
    : buffers_(*worker.buffers_), inner_(std::move(inner)), ssl_(ssl), pending_(std::move(pending)) {
  inner_->set_observer(this);
}

TlsStream::~TlsStream() {
  if (buffers_.owner == this) buffers_.owner = nullptr;
  // The library takes a session that was not shut down for a broken one and never resumes it again. Many servers close
  // without a word, and so may we.
  if (client_ && !broken_ && !pending_) SSL_set_shutdown(ssl_.get(), SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
}

// ---- ciphertext in

bool TlsStream::has_input() const {
  return !stash_.empty() || (buffers_.owner == this && buffers_.begin < buffers_.end);
}

// Another stream needs the shared buffer. What is in it came before what is in the stash.
void TlsStream::save_input() {
  Leftover later = std::move(stash_);
  stash_ = {};
  stash_.append({buffers_.input.get() + buffers_.begin, buffers_.end - buffers_.begin});
  stash_.append(later.view());
}

void TlsStream::put_back(std::span<const char> received) {
  if (received.size() > TlsBuffers::kInput) {
    stash_.append({received.data(), received.size()});
    return;
  }
  if (buffers_.owner != nullptr) buffers_.owner->save_input();
  buffers_.owner = this;
  buffers_.begin = 0;
  buffers_.end = received.size();
  std::copy(received.begin(), received.end(), buffers_.input.get());
}

// From the inner stream into `room`; the shared buffer then ends there.
bool TlsStream::receive_into(std::span<char> room) {
  if (!may_receive_ || inner_eof_ || inner_error_ != 0) return false;
  if (quiet_input_ > (pending_ ? kMaxHandshakeInput : kMaxQuietInput)) return false;
  const IoResult got = inner_->read(room);
  switch (got.status) {
    case IoStatus::ok:
      buffers_.end = static_cast<std::size_t>(room.data() - buffers_.input.get()) + got.bytes;
      quiet_input_ += got.bytes;
      return true;
    case IoStatus::eof:
      inner_eof_ = true;
      return false;
    case IoStatus::error:
      inner_error_ = got.error != 0 ? got.error : EIO;
      return false;
    case IoStatus::again:
      return false;
  }
  return false;
}

// Fills the shared buffer, which then is ours.
bool TlsStream::receive() {
  if (buffers_.owner != nullptr && buffers_.owner != this) buffers_.owner->save_input();
  buffers_.owner = nullptr;
  if (!receive_into({buffers_.input.get(), TlsBuffers::kInput})) return false;
  buffers_.owner = this;
  buffers_.begin = 0;
  return true;
}

std::size_t TlsStream::pull(char* to, std::size_t size) {
  if (!stash_.empty()) {
    const std::string_view part = stash_.view().substr(0, size);
    const std::size_t taken = part.size();
    std::copy(part.begin(), part.end(), to);
    stash_.consume(taken);
    return taken;
  }
  if (!has_input() && !receive()) {
    starved_ = true;
    return 0;
  }
  const std::size_t taken = std::min(size, buffers_.end - buffers_.begin);
  std::copy_n(buffers_.input.get() + buffers_.begin, taken, to);
  buffers_.begin += taken;
  return taken;
}

// ---- ciphertext out

void TlsStream::push(const char* from, std::size_t size) {
  if (TlsBuffers::kOutput - buffers_.sealed < size) flush();
  if (TlsBuffers::kOutput < size) {
    keep({from, size});
    return;
  }
  std::copy_n(from, size, buffers_.output.get() + buffers_.sealed);
  buffers_.sealed += size;
}

// Sends what this call has sealed.
void TlsStream::flush() {
  if (buffers_.sealed == 0) return;
  std::string_view sealed(buffers_.output.get(), buffers_.sealed);
  buffers_.sealed = 0;
  if (tail_.empty() && lost() == 0) {
    const iovec piece{const_cast<char*>(sealed.data()), sealed.size()};
    const IoResult sent = inner_->write({&piece, 1});
    if (sent.status == IoStatus::ok) sealed.remove_prefix(sent.bytes);
    if (sent.status == IoStatus::error) sent_error_ = sent.error != 0 ? sent.error : EIO;
    slow_ = !sealed.empty();
  }
  keep(sealed);
}

void TlsStream::keep(std::string_view sealed) {
  if (lost() != 0) {
    tail_.clear();
    return;
  }
  tail_.append(sealed);
  if (tail_.size() > kMaxUnsent) give_up("the peer does not read what it asks for");
}

void TlsStream::flush_tail() {
  while (!tail_.empty() && lost() == 0) {
    const iovec piece{const_cast<char*>(tail_.view().data()), tail_.size()};
    const IoResult sent = inner_->write({&piece, 1});
    if (sent.status == IoStatus::ok) tail_.consume(sent.bytes);
    if (sent.status == IoStatus::error) sent_error_ = sent.error != 0 ? sent.error : EIO;
    if (sent.status != IoStatus::ok) break;
  }
  if (lost() != 0) tail_.clear();
}

void TlsStream::finish_closing() {
  if (half_ != Half::closing || !tail_.empty()) return;
  half_ = Half::closed;
  inner_->shutdown_write();
}

void TlsStream::on_ready(Stream& /*inner*/) {
  flush_tail();
  finish_closing();
  if (observer_ != nullptr) observer_->on_ready(*this);
}

// ---- handshake

HandshakeStatus TlsStream::handshake() {
  if (broken_) return HandshakeStatus::failed;
  if (!pending_) return HandshakeStatus::done;
  if (!client_ && pending_->ecdsa == nullptr && pending_->rsa == nullptr) {
    push(kAlertUnrecognizedName.data(), kAlertUnrecognizedName.size());
    return fail_handshake(pending_->server_name.empty() ? "no server name"
                                                        : "no certificate for " + pending_->server_name);
  }
  may_receive_ = true;
  starved_ = false;
  ERR_clear_error();
  const Turn turn(buffers_, this);
  const int result = client_ ? SSL_do_handshake(ssl_.get()) : handshake_for_secrets();
  if (broken_) return HandshakeStatus::failed;  // push() gave up
  if (result == 1) {
    flush();
    if (lost() != 0) return fail_handshake("connection lost during the handshake: " + errno_text(lost()));
    finish_handshake();
    return HandshakeStatus::done;
  }
  const int why = SSL_get_error(ssl_.get(), result);
  const std::string peer = client_ ? "server" : "client";
  if (why == SSL_ERROR_ZERO_RETURN) return fail_handshake(peer + " closed during the handshake");
  if (why != SSL_ERROR_WANT_READ) return fail_handshake(pending_->note.empty() ? explain() : pending_->note);
  flush();
  if (lost() != 0) return fail_handshake("connection lost during the handshake: " + errno_text(lost()));
  if (inner_eof_) return fail_handshake(peer + " closed during the handshake");
  if (quiet_input_ > kMaxHandshakeInput) return fail_handshake("the handshake is too long");
  return HandshakeStatus::again;
}

int TlsStream::handshake_for_secrets() {
  SSL* const ssl = ssl_.get();
  const auto& context = *static_cast<TlsWorker::Context*>(SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl)));
  KeySchedule& schedule = context.worker->library_->schedule;
  schedule.deliver_to(&pending_->secrets);
  const int result = SSL_do_handshake(ssl);
  schedule.deliver_to(nullptr);
  return result;
}

void TlsStream::finish_handshake() {
  SSL* const ssl = ssl_.get();
  peer_certificate_ = SSL_get0_peer_certificate(ssl) != nullptr;
  resumed_ = SSL_session_reused(ssl) == 1;
  version_ = SSL_get_version(ssl);
  cipher_ = SSL_CIPHER_get_name(SSL_get_current_cipher(ssl));
  const unsigned char* name = nullptr;
  unsigned size = 0;
  SSL_get0_alpn_selected(ssl, &name, &size);
  alpn_ = {reinterpret_cast<const char*>(name), size};
  if (!client_) take_over_records();
  pending_.reset();
  quiet_input_ = 0;
}

HandshakeStatus TlsStream::fail_handshake(std::string reason) {
  flush();
  give_up(std::move(reason));
  return HandshakeStatus::failed;
}

void TlsStream::give_up(std::string reason) {
  ERR_clear_error();
  broken_ = true;
  if (failure_.empty()) failure_ = std::move(reason);
}

// The library's first error about TLS in words; what its ciphers said before that is detail.
std::string TlsStream::explain() const {
  const char* peer = client_ ? "server" : "client";
  unsigned long code = ERR_peek_error();
  while (code != 0 && ERR_GET_LIB(code) != ERR_LIB_SSL) {
    ERR_get_error();
    code = ERR_peek_error();
  }
  const int reason = ERR_GET_REASON(code);
  if (code == 0) return "TLS failed inside the library";
  // OpenSSL 3.0 has no text for this one.
  if (reason == SSL_AD_REASON_OFFSET + SSL_AD_CERTIFICATE_REQUIRED)
    return fmt::format("{} sent alert: certificate required", peer);
  if (reason > SSL_AD_REASON_OFFSET) {
    return fmt::format("{} sent alert: {}", peer, SSL_alert_desc_string_long(reason - SSL_AD_REASON_OFFSET));
  }
  if (reason == SSL_R_CERTIFICATE_VERIFY_FAILED) {
    return fmt::format("{} certificate: {}", peer, X509_verify_cert_error_string(SSL_get_verify_result(ssl_.get())));
  }
  return take_library_error();
}

// ---- data

IoResult TlsStream::error() const { return {IoStatus::error, 0, lost() != 0 ? lost() : EPROTO}; }

bool TlsStream::readable() const {
  if (end_ != End::open) return !end_told_;
  if (broken_ || lost() != 0 || inner_eof_ || inner_->readable()) return true;
  return records_ ? !opened_.empty() || has_record() : has_input() || SSL_pending(ssl_.get()) > 0;
}

// Counts a record without application data. False: it was one too many.
bool TlsStream::count_control_record() {
  if (++control_records_ > kMaxControlRecords) give_up("too many control records");
  return !broken_;
}

std::size_t TlsStream::library_read(std::span<char> buffer) {
  std::size_t total = 0;
  while (total < buffer.size()) {
    std::size_t got = 0;
    starved_ = false;
    ERR_clear_error();
    if (SSL_read_ex(ssl_.get(), buffer.data() + total, buffer.size() - total, &got) == 1) {
      total += got;
      control_records_ = 0;
      quiet_input_ = 0;
      may_receive_ = false;  // one receive per call: the rest is for the next one
      if (SSL_pending(ssl_.get()) == 0 && !has_input()) break;
      continue;
    }
    const int why = SSL_get_error(ssl_.get(), 0);
    if (why == SSL_ERROR_WANT_READ && starved_) break;
    if (why == SSL_ERROR_WANT_READ) {
      if (count_control_record()) continue;
    } else if (why == SSL_ERROR_ZERO_RETURN) {
      end_ = End::close_notify;
    } else {
      give_up(explain());
    }
    break;
  }
  return total;
}

IoResult TlsStream::tell_end() {
  end_told_ = true;
  return {IoStatus::eof, 0, 0};
}

IoResult TlsStream::read(std::span<char> buffer) {
  if (end_ != End::open) return tell_end();
  if (broken_ || pending_) return error();
  may_receive_ = true;
  const Turn turn(buffers_, this);
  const std::size_t total = records_ ? open_records(buffer) : library_read(buffer);
  if (total == 0 && end_ == End::open && quiet_input_ > kMaxQuietInput) give_up("too much without application data");
  flush();  // answers to control records, alerts
  if (total > 0) return {IoStatus::ok, total, 0};
  if (end_ != End::open) return tell_end();
  if (broken_ || lost() != 0) return error();
  if (inner_eof_) {
    end_ = End::truncated;
    return tell_end();
  }
  return {IoStatus::again, 0, 0};
}

bool TlsStream::seal(std::string_view plain) {
  if (records_) {
    if (records_->write_keys_are_old() && !update_write_keys(0)) return false;
    seal_control(static_cast<std::uint8_t>(Records::Type::data), plain);
    return !broken_;
  }
  std::size_t wrote = 0;
  ERR_clear_error();
  if (SSL_write_ex(ssl_.get(), plain.data(), plain.size(), &wrote) == 1) return true;
  flush();
  give_up(explain());
  return false;
}

IoResult TlsStream::write(std::span<const iovec> pieces) {
  if (half_ != Half::open) return {IoStatus::error, 0, EPIPE};
  flush_tail();
  if (broken_ || pending_ || lost() != 0) return error();
  std::size_t taken = 0;
  const Turn turn(buffers_, this);
  PieceCursor cursor(pieces);
  while (!cursor.done() && tail_.empty()) {
    const std::size_t batch = slow_ ? TlsBuffers::kRecord : TlsBuffers::kBatch;
    for (std::size_t sealed = 0; sealed < batch && !cursor.done();) {
      const std::string_view record = cursor.next(buffers_.plain.get(), TlsBuffers::kRecord);
      if (!seal(record)) return error();
      sealed += record.size();
      taken += record.size();
    }
    flush();
    if (broken_ || lost() != 0) return error();
  }
  return {taken > 0 || pieces.empty() ? IoStatus::ok : IoStatus::again, taken, 0};
}

void TlsStream::shutdown_write() {
  if (half_ != Half::open) return;
  half_ = Half::closing;
  if (!pending_ && !broken_ && lost() == 0) {
    const Turn turn(buffers_, this);
    if (records_) {
      seal_control(static_cast<std::uint8_t>(Records::Type::alert), kCloseNotify);
    } else {
      ERR_clear_error();
      SSL_shutdown(ssl_.get());
    }
    flush();
  }
  finish_closing();
}

void TlsStream::abort() { inner_->abort(); }

}  // namespace edgemux::core
