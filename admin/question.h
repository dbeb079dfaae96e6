#pragma once
// Question: what `edgemux explain` is asked about, as an operator types it (Asked), as the admin socket carries it (a
// query string), and as the connection and the request that edgemux would see (Question). Pure.

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/address.h"
#include "core/base/result.h"

namespace edgemux::admin {

struct Asked {
  std::string url = {};  // "https://shop.example.com/cart?x=1"; empty: a TLS connection only, by `sni`
  std::string method = "GET";
  std::vector<std::string> headers = {};  // "name: value"
  std::string listener = {};              // a listener's name; empty: by the URL's scheme and port
  std::string sni = {};                   // empty: the URL's host
  std::string alpn = {};                  // "h2,http/1.1"; empty: as a browser offers
  std::string from = {};                  // the client's address; empty: not known
};

// The query string that stands for it, and back. The error says what is wrong with one part.
std::string query_of(const Asked& asked);
core::Result<Asked> asked_of(std::string_view query);

struct Question {
  std::string text;      // for the first line: "GET https://shop.example.com/cart"
  std::string listener;  // by name; empty: by `tls` and `port`
  bool tls = true;
  std::uint16_t port = 443;
  std::string server_name;        // TLS: as the client sends it; may be empty
  std::vector<std::string> alpn;  // TLS: by the client's preference
  bool alpn_said = false;         // false: it is what a browser offers
  std::string head;               // of the request, as HTTP/1.1; empty: there is none
  std::optional<core::SocketAddress> client;
};

// What is wrong is said with what to write instead. Whether the request is one that edgemux takes is not asked here.
core::Result<Question> question_of(const Asked& asked);

}  // namespace edgemux::admin
