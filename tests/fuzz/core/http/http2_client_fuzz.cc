// The client's side of HTTP/2: what an upstream sends to four requests, one of them with a body, one a HEAD, one taken
// back. The first byte is how the input is cut. Properties: an answer has one final head, what is handed out could be
// sent on as HTTP/1, a Content-Length equals its DATA, nothing comes after the end.

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>

#include "core/http/bytes.h"
#include "core/http/http2_client.h"

namespace {

using namespace edgemux::core;

void require(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "property broken: %s\n", what);
  std::abort();
}

std::uint64_t still() { return 1; }

class Owner final : public ClientCodec::Observer {
 public:
  Owner() : codec(*this, output, scratch, still) {
    for (StreamId i = 1; i <= 4; ++i) {
      OutgoingRequest out;
      out.method = i == 2 ? "HEAD" : "POST";
      out.kind = i == 2 ? Method::head : Method::post;
      out.path = "/";
      out.authority = "h";
      require(codec.send_request(out, i != 3) == i, "numbers are dense");
      if (i != 1) codec.allow(i, 64 * 1024);
      open[i] = true;
    }
    codec.send_body(3, {body, sizeof body});
    codec.produce();
    codec.cancel(4);
    open[4] = false;
  }

  void on_response(StreamId id, ResponseHead& head, bool end) override {
    require(open.at(id) && !final_seen[id], "one final head");
    for (const Field& field : head.fields) {
      for (const char c : field.name) require(token_lower(c) == c && c != 0, "a field name");
      for (const char c : field.value) require(is_value_byte(c), "a field value");
    }
    require(head.status >= 100 && head.status != 101, "a status");
    if (head.status < 200) {
      require(!end, "an interim answer ends nothing");
      return;
    }
    final_seen[id] = true;
    has_length[id] = head.framing == Framing::length;
    left[id] = head.content_length;
    if (end) open[id] = false;
  }
  void on_response_body(StreamId id, std::span<const char> data, bool end) override {
    require(open.at(id) && final_seen[id], "a body behind its head");
    require(id != 2 || data.empty(), "no body to a HEAD");
    left[id] -= data.size();
    if (end) {
      require(!has_length[id] || left[id] == 0, "Content-Length equals DATA");
      open[id] = false;
    }
    codec.consumed(id, data.size());
  }
  void on_response_trailers(StreamId id, FieldList&) override {
    require(open.at(id) && final_seen[id], "trailers behind a head");
    open[id] = false;
  }
  void on_stream_writable(StreamId id) override { require(open.at(id) && codec.pending(id) == 0, "writable"); }
  void on_response_reset(StreamId id, bool unprocessed, const char* reason) override {
    require(open.at(id) && reason != nullptr, "a reset of an open stream");
    require(!unprocessed || !final_seen[id] || true, "");
    open[id] = false;
  }
  void on_bad_response(StreamId id, const char* reason) override {
    require(reason != nullptr, "a reason");
    if (id != 0) {
      require(open.at(id), "a bad answer to an open stream");
      open[id] = false;
    }
  }
  void on_capacity() override {}

  std::array<bool, 5> open{};
  std::array<bool, 5> final_seen{};
  std::array<bool, 5> has_length{};
  std::array<std::uint64_t, 5> left{};
  BlockPool pool;
  Output output{pool};
  HttpScratch scratch;
  Http2Client codec;
  char body[600] = {};
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  std::string bytes(reinterpret_cast<const char*>(data) + 1, size - 1);
  const std::size_t piece = data[0] == 0 ? bytes.size() + 1 : data[0];
  Owner owner;
  for (std::size_t at = 0; at < bytes.size(); at += piece) {
    owner.codec.receive({bytes.data() + at, std::min(piece, bytes.size() - at)});
    owner.codec.produce();
    owner.output.clear();
  }
  return 0;
}
