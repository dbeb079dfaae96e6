#pragma once
// What a TlsWorker holds of the library. Private to core/tls.

#include <string>

#include "core/tls/context.h"
#include "core/tls/key_schedule.h"
#include "core/tls/openssl.h"
#include "core/tls/records.h"

namespace edgemux::core {

struct TlsWorker::Library {
  ~Library() { schedule.leave(); }

  // Order matters: everything that was fetched goes before the provider and the context.
  KeySchedule schedule;
  LibraryPtr context;
  ProviderPtr provider;
  BioMethodPtr bio_method;
  BioPtr bio;  // of all streams
  CipherPtr ticket_cipher;
  DigestPtr sha256;
  RecordCiphers ciphers;
};

struct TlsWorker::Context {
  TlsWorker* worker = nullptr;
  std::string identity;
  std::string alpn;       // what may be agreed on, by preference, as on the wire
  bool alpn_off = false;  // the policy wants none
  SslContextPtr ssl;
  std::uint64_t epoch = 0;
};

// The byte transport of the SSL objects: one BIO for all streams of a worker, since only one of them is at work at a
// time (TlsBuffers::active). The one place to change where the kernel shall do the records.
struct TlsBio {
  static BioMethodPtr method();
  static BioPtr make(const BIO_METHOD* method, OSSL_LIB_CTX* library, TlsBuffers* buffers);
  static void attach(ssl_st* ssl, BIO* shared);
  // Whose SSL object this is. Only while the library is at work for it.
  static TlsStream* stream_of(const ssl_st* ssl);

 private:
  static int read(BIO* bio, char* to, std::size_t size, std::size_t* got);
  static int write(BIO* bio, const char* from, std::size_t size, std::size_t* taken);
};

}  // namespace edgemux::core
