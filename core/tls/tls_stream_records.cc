// TlsStream with records of our own: the server's side of TLS 1.3 behind its handshake.

#include <fmt/core.h>

#include <algorithm>

#include "core/tls/client_context.h"
#include "core/tls/context.h"
#include "core/tls/library.h"
#include "core/tls/openssl.h"
#include "core/tls/records.h"
#include "core/tls/tls_buffers.h"
#include "core/tls/tls_stream.h"

namespace edgemux::core {
namespace {

constexpr unsigned char kKeyUpdate = 24;  // RFC 8446 4.6.3
constexpr std::size_t kKeyUpdateSize = 5;

std::size_t record_size(const char* header) {
  const auto byte = [header](std::size_t i) { return static_cast<std::size_t>(static_cast<unsigned char>(header[i])); };
  return Records::kHeader + (byte(3) << 8U) + byte(4);
}

}  // namespace

// Everything that the library still knows is then either here or of no use; what it has received beyond the
// handshake's last record would be lost with it.
void TlsStream::take_over_records() {
  SSL* const ssl = ssl_.get();
  TlsWorker& worker = *static_cast<TlsWorker::Context*>(SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl)))->worker;
  if (SSL_version(ssl) != TLS1_3_VERSION || SSL_has_pending(ssl) != 0 || !pending_->secrets) return;
  const auto* suite = worker.library_->ciphers.find(SSL_CIPHER_get_protocol_id(SSL_get_current_cipher(ssl)));
  if (suite == nullptr) return;
  records_ = Records::create(*suite, *pending_->secrets, worker.settings_.rekey_after);
  if (!records_) {
    ERR_clear_error();
    return;
  }
  const auto& served = worker.settings_.served_alpn;
  const auto same = std::find(served.begin(), served.end(), alpn_);
  if (same == served.end() && !alpn_.empty()) own_alpn_ = std::make_unique<const std::string>(alpn_);
  alpn_ = same != served.end() ? std::string_view(*same) : own_alpn_ ? *own_alpn_ : std::string_view();
  // The library takes a session that was not shut down for a broken one.
  SSL_set_shutdown(ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
  ssl_.reset();
}

// ---- ciphertext in

// The shared buffer becomes ours, begins with what we have, and grows by what waits or what the inner stream has.
bool TlsStream::receive_more() {
  if (buffers_.owner != this) {
    if (buffers_.owner != nullptr) buffers_.owner->save_input();
    buffers_.owner = this;
    buffers_.begin = buffers_.end = 0;
  } else if (buffers_.begin > 0) {
    char* const input = buffers_.input.get();
    std::copy(input + buffers_.begin, input + buffers_.end, input);
    buffers_.end -= buffers_.begin;
    buffers_.begin = 0;
  }
  const std::span<char> room(buffers_.input.get() + buffers_.end, TlsBuffers::kInput - buffers_.end);
  if (stash_.empty()) return receive_into(room);
  const std::string_view part = stash_.view().substr(0, room.size());
  std::copy(part.begin(), part.end(), room.begin());
  buffers_.end += part.size();
  stash_.consume(part.size());
  return true;
}

bool TlsStream::has_record() const {
  std::string_view input = stash_.view();
  if (buffers_.owner == this && buffers_.begin < buffers_.end) {
    if (!input.empty()) return true;  // the next read puts them together
    input = {buffers_.input.get() + buffers_.begin, buffers_.end - buffers_.begin};
  }
  return input.size() >= Records::kHeader && input.size() >= record_size(input.data());
}

std::span<char> TlsStream::next_record() {
  for (;;) {
    if (buffers_.owner == this && buffers_.end - buffers_.begin >= Records::kHeader) {
      char* const record = buffers_.input.get() + buffers_.begin;
      const std::size_t size = record_size(record);
      if (record[0] != static_cast<char>(Records::Type::data)) {
        refuse_record(SSL_AD_UNEXPECTED_MESSAGE, "not a record of application data");
        return {};
      }
      if (size > Records::kLargest) {
        refuse_record(SSL_AD_RECORD_OVERFLOW, "a record too long");
        return {};
      }
      if (buffers_.end - buffers_.begin >= size) {
        buffers_.begin += size;
        return {record, size};
      }
    }
    if (!receive_more()) return {};
  }
}

std::size_t TlsStream::take_opened(std::span<char> buffer) {
  const std::string_view part = opened_.view().substr(0, buffer.size());
  const std::size_t taken = part.size();
  std::copy(part.begin(), part.end(), buffer.begin());
  opened_.consume(taken);
  return taken;
}

std::size_t TlsStream::open_records(std::span<char> buffer) {
  std::size_t total = take_opened(buffer);
  may_receive_ = total == 0;
  while (total < buffer.size() && !broken_ && end_ == End::open) {
    const std::span<char> record = next_record();
    if (record.empty()) break;
    const std::span<char> room = buffer.subspan(total);
    const bool fits = record.size() <= room.size() + Records::kHeader + Records::kTag;
    char* const out = fits ? room.data() : record.data() + Records::kHeader;
    const Records::Opened opened = records_->open(record, out);
    const std::string_view plain(out, opened.size);
    switch (opened.type) {
      case Records::Type::none:
        refuse_record(opened.alert, opened.reason);
        break;
      case Records::Type::alert:
        on_alert(plain);
        break;
      case Records::Type::handshake:
        on_handshake_message(plain);
        break;
      case Records::Type::data: {
        if (plain.empty()) {
          (void)count_control_record();
          break;
        }
        control_records_ = 0;
        quiet_input_ = 0;
        may_receive_ = false;  // one receive per call: the rest is for the next one
        const std::size_t taken = std::min(plain.size(), room.size());
        if (!fits) {
          std::copy_n(plain.begin(), taken, room.begin());
          opened_.append(plain.substr(taken));
        }
        total += taken;
        break;
      }
    }
  }
  return total;
}

// RFC 8446 6.
void TlsStream::on_alert(std::string_view alert) {
  if (alert.size() != 2) return refuse_record(SSL_AD_DECODE_ERROR, "an alert that is none");
  const auto description = static_cast<unsigned char>(alert[1]);
  if (description == SSL_AD_CLOSE_NOTIFY) {
    end_ = End::close_notify;
  } else if (description == SSL_AD_USER_CANCELLED) {
    (void)count_control_record();
  } else {
    give_up(fmt::format("client sent alert: {}", SSL_alert_desc_string_long(description)));
  }
}

// The one that may come from a client is a KeyUpdate, and it ends its record (RFC 8446 4.6.3 and 5.1).
void TlsStream::on_handshake_message(std::string_view message) {
  if (message.size() != kKeyUpdateSize || message[0] != kKeyUpdate || message[1] != 0 || message[2] != 0 ||
      message[3] != 1) {
    return refuse_record(SSL_AD_UNEXPECTED_MESSAGE, "a handshake message after the handshake");
  }
  if (message[4] != 0 && message[4] != 1) return refuse_record(SSL_AD_ILLEGAL_PARAMETER, "a KeyUpdate that is none");
  if (!count_control_record()) return;
  if (!records_->next_read_keys()) return give_up("TLS failed inside the library");
  if (message[4] == 1 && half_ == Half::open) update_write_keys(0);
}

// ---- ciphertext out

void TlsStream::seal_control(std::uint8_t type, std::string_view plain) {
  if (TlsBuffers::kOutput - buffers_.sealed < plain.size() + Records::kOverhead) flush();
  const std::size_t size =
      records_->seal(static_cast<Records::Type>(type), plain, buffers_.output.get() + buffers_.sealed);
  if (size == 0) return give_up("TLS failed inside the library");
  buffers_.sealed += size;
}

bool TlsStream::update_write_keys(char answer_wanted) {
  const char message[kKeyUpdateSize] = {kKeyUpdate, 0, 0, 1, answer_wanted};  // NOLINT(*-avoid-c-arrays)
  seal_control(static_cast<std::uint8_t>(Records::Type::handshake), {message, sizeof message});
  if (!broken_ && !records_->next_write_keys()) give_up("TLS failed inside the library");
  return !broken_;
}

// The peer broke the protocol: it is told, and nothing goes on.
void TlsStream::refuse_record(std::uint8_t alert, std::string reason) {
  const char message[2] = {2, static_cast<char>(alert)};  // NOLINT(*-avoid-c-arrays)
  if (half_ == Half::open) {
    seal_control(static_cast<std::uint8_t>(Records::Type::alert), {message, sizeof message});
  }
  give_up(std::move(reason));
}

}  // namespace edgemux::core
