#pragma once
// What the library calls during a server's handshake, in its terms (context.cc).

#include <openssl/ssl.h>

#include <cstddef>

namespace edgemux::core {

struct TlsCallbacks {
  static int choose_pair(SSL* ssl, void* argument);
  static int choose_protocol(SSL* ssl, const unsigned char** out, unsigned char* out_size, const unsigned char* in,
                             unsigned in_size, void* argument);
  static int acknowledge_name(SSL* ssl, int* alert, void* argument);
  static void count_record(int written, int version, int type, const void* data, std::size_t size, SSL* ssl,
                           void* argument);
  static int seal_ticket(SSL* ssl, unsigned char* name, unsigned char* iv, EVP_CIPHER_CTX* cipher, EVP_MAC_CTX* mac,
                         int sealing);
};

}  // namespace edgemux::core
