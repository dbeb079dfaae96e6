// TlsBio: the library's reads and writes become TlsStream::pull and push. Neither ever fails: what the inner stream has
// to say is said by TlsStream itself, so that a lost connection never leaves the library in a state of its own.

#include "core/tls/library.h"
#include "core/tls/tls_buffers.h"
#include "core/tls/tls_stream.h"

namespace edgemux::core {
namespace {

long control(BIO* /*bio*/, int command, long /*number*/, void* /*pointer*/) {
  return command == BIO_CTRL_FLUSH ? 1 : 0;
}

}  // namespace

int TlsBio::read(BIO* bio, char* to, std::size_t size, std::size_t* got) {
  BIO_clear_retry_flags(bio);
  *got = static_cast<TlsBuffers*>(BIO_get_data(bio))->active->pull(to, size);
  if (*got != 0) return 1;
  BIO_set_retry_read(bio);
  return -1;
}

int TlsBio::write(BIO* bio, const char* from, std::size_t size, std::size_t* taken) {
  BIO_clear_retry_flags(bio);
  static_cast<TlsBuffers*>(BIO_get_data(bio))->active->push(from, size);
  *taken = size;
  return 1;
}

BioMethodPtr TlsBio::method() {
  static const int kType = BIO_get_new_index() | BIO_TYPE_SOURCE_SINK;
  BioMethodPtr method(BIO_meth_new(kType, "edgemux stream"));
  if (!method || BIO_meth_set_read_ex(method.get(), read) != 1 || BIO_meth_set_write_ex(method.get(), write) != 1 ||
      BIO_meth_set_ctrl(method.get(), control) != 1) {
    return nullptr;
  }
  return method;
}

BioPtr TlsBio::make(const BIO_METHOD* method, OSSL_LIB_CTX* library, TlsBuffers* buffers) {
  BioPtr bio(BIO_new_ex(library, method));
  if (!bio) return nullptr;
  BIO_set_data(bio.get(), buffers);
  BIO_set_init(bio.get(), 1);
  return bio;
}

void TlsBio::attach(ssl_st* ssl, BIO* shared) {
  BIO_up_ref(shared);
  SSL_set_bio(ssl, shared, shared);
}

TlsStream* TlsBio::stream_of(const ssl_st* ssl) {
  return static_cast<TlsBuffers*>(BIO_get_data(SSL_get_rbio(ssl)))->active;
}

}  // namespace edgemux::core
