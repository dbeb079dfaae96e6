#pragma once
// Both ends of an HTTP/2 conversation for tests: a codec, what its owner sees as text, and what it sends as text.

#include <gtest/gtest.h>
#include <nghttp2/nghttp2.h>

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "core/http/http2_client.h"
#include "core/http/http2_server.h"
#include "tests/core/http/wire.h"
#include "tests/support/http2_frames.h"

namespace edgemux::core {

inline std::uint64_t test_now_ms = 1000;
inline std::uint64_t test_clock() { return test_now_ms; }

// Frames as text: "HEADERS 1 . {:status: 200, a: b}", "DATA 1 abc .", "RST_STREAM 1 8". A dot is END_STREAM. Large DATA
// shows its size only.
class FrameReader {
 public:
  FrameReader() { nghttp2_hd_inflate_new(&inflater_); }
  ~FrameReader() { nghttp2_hd_inflate_del(inflater_); }
  FrameReader(const FrameReader&) = delete;
  FrameReader& operator=(const FrameReader&) = delete;

  std::string read(std::string& bytes) {
    if (bytes.starts_with(test::kPreface)) {
      bytes.erase(0, test::kPreface.size());
      preface_seen = true;
    }
    std::string text;
    for (const test::Frame& f : test::split_frames(bytes)) {
      const std::string line = describe(f);
      if (line.empty()) continue;
      text += (text.empty() ? "" : "\n") + line;
    }
    return text;
  }

  bool preface_seen = false;
  // Also how fields stand there, by their first byte (RFC 7541 6): "a!: b" is a literal that is never indexed,
  // "<table 0>" the table's new size.
  bool with_patterns = false;
  bool with_settings = false;  // also SETTINGS and their acknowledgement, and the connection's first WINDOW_UPDATE
  std::map<std::uint32_t, std::string> bodies;

 private:
  std::string describe(const test::Frame& f) {
    const std::string stream = " " + std::to_string(f.stream);
    const std::string end = (f.flags & test::kEndStream) != 0 ? " ." : "";
    switch (f.type) {
      case test::kData:
        bodies[f.stream] += f.payload;
        if (f.payload.size() > 64) return "DATA" + stream + " <" + std::to_string(f.payload.size()) + ">" + end;
        return "DATA" + stream + (f.payload.empty() ? "" : " " + f.payload) + end;
      case test::kHeaders:
        return "HEADERS" + stream + end + " {" + inflate(f.payload) + "}";
      case test::kRstStream:
        return "RST_STREAM" + stream + " " + std::to_string(f.word(0));
      case test::kSettings:
        return with_settings ? ((f.flags & test::kAck) != 0 ? "SETTINGS ack" : "SETTINGS") : "";
      case test::kPing:
        return (f.flags & test::kAck) != 0 ? "PING ack" : "PING";
      case test::kGoaway:
        return "GOAWAY " + std::to_string(f.word(0)) + " " + std::to_string(f.word(4));
      case test::kWindowUpdate:
        if (!window_seen_ && f.stream == 0) {
          window_seen_ = true;
          return "";
        }
        return "WINDOW_UPDATE" + stream + " " + std::to_string(f.word(0));
      default:
        return "TYPE" + std::to_string(f.type) + stream;
    }
  }

  std::string inflate(const std::string& block) {
    std::string text;
    const auto* in = reinterpret_cast<const std::uint8_t*>(block.data());
    std::size_t left = block.size();
    bool never = false;
    for (;;) {
      nghttp2_nv pair;
      int flags = 0;
      if (with_patterns && left > 0) {
        while ((*in & 0xe0) == 0x20) {
          std::size_t size = *in & 0x1f;
          std::size_t bytes = 1;
          while (size >= 31 && (bytes == 1 || (in[bytes - 1] & 0x80) != 0)) {
            size += std::size_t{in[bytes] & 0x7fU} << (7 * (bytes - 1));
            ++bytes;
          }
          text += (text.empty() ? "" : ", ") + ("<table " + std::to_string(size) + ">");
          if (nghttp2_hd_inflate_hd2(inflater_, &pair, &flags, in, bytes, 0) != static_cast<ssize_t>(bytes)) {
            return text + "!";
          }
          in += bytes;
          left -= bytes;
        }
        never = (*in & 0xf0) == 0x10;
      }
      const ssize_t used = nghttp2_hd_inflate_hd2(inflater_, &pair, &flags, in, left, 1);
      if (used < 0) return text + "!";
      in += used;
      left -= static_cast<std::size_t>(used);
      if ((flags & NGHTTP2_HD_INFLATE_EMIT) != 0) {
        const std::string name(reinterpret_cast<char*>(pair.name), pair.namelen);
        if (name != "date") {
          text += (text.empty() ? "" : ", ") + name + (never ? "!: " : ": ") +
                  std::string(reinterpret_cast<char*>(pair.value), pair.valuelen);
        }
      }
      if ((flags & NGHTTP2_HD_INFLATE_FINAL) != 0) {
        nghttp2_hd_inflate_end_headers(inflater_);
        return text;
      }
      if (used == 0 && left == 0) return text + "!";
    }
  }

  nghttp2_hd_inflater* inflater_ = nullptr;
  bool window_seen_ = false;
};

// " a=b c!=d": the second one is never to be indexed.
inline std::string text_of(const FieldList& fields) {
  std::string text;
  for (const Field& f : fields) {
    if (f.hop_by_hop) continue;
    text += " " + std::string(f.name) + (f.never_indexed ? "!=" : "=") + std::string(f.value);
  }
  return text;
}

// What the server's codec tells: "<1 GET /a a=b .>" for a request (the dot: nothing follows), its body bytes, "<1
// trailers a=b>", "<1 reset>", "<1 writable>", "<1 malformed 400 why>".
class Http2ServerTalk final : public ServerCodec::Observer {
 public:
  explicit Http2ServerTalk(std::size_t head_limit = 64 * 1024) : codec(*this, output, scratch, head_limit, test_clock) {
    flush();
    (void)frames.read(wire.sent);
  }
  // The client's preface and SETTINGS, and the acknowledgement of ours.
  void greet(std::initializer_list<std::pair<unsigned, std::uint32_t>> values = {}) {
    client_sends(std::string(test::kPreface) + test::settings(values) + test::settings_ack());
  }

  void client_sends(std::string bytes) { EXPECT_EQ(codec.receive({bytes.data(), bytes.size()}), bytes.size()); }
  void flush() {
    codec.produce();
    EXPECT_EQ(output.flush(wire).status, IoStatus::ok);
  }
  // What was sent since the call before.
  std::string sent() {
    flush();
    return frames.read(wire.sent);
  }
  std::string seen() { return std::move(log); }

  void head(StreamId stream, std::uint16_t status, BodyPlan plan,
            std::vector<std::pair<std::string_view, std::string_view>> fields = {}) {
    ResponseHead& response = scratch.response;
    response.clear();
    response.status = status;
    for (const auto& [name, value] : fields) {
      const FieldId id = classify_field(name);
      response.fields.add({name, value, id, is_always_hop_by_hop(id)});
    }
    codec.send_head(stream, response, plan);
  }
  void answer(StreamId stream, std::uint16_t status, std::string_view body) {
    head(stream, status, {BodyPlan::Kind::length, body.size()});
    codec.send_body(stream, {body.data(), body.size()});
    codec.send_end(stream);
    flush();
  }

  void on_request(StreamId stream, RequestHead& head, bool end) override {
    log += "<" + std::to_string(stream) + " " + std::string(head.method_text) + " " + std::string(head.path);
    if (head.has_query) log += "?" + std::string(head.query);
    if (with_fields) log += " " + std::string(head.authority) + text_of(head.fields);
    if (head.upgrade) log += " upgrade " + std::string(head.upgrade_protocol);
    log += end ? ".>" : ">";
    EXPECT_EQ(head.major, 2);
    if (on_head) on_head(stream, head, end);
  }
  void on_request_body(StreamId stream, std::span<const char> data, bool end) override {
    log.append(data.data(), data.size());
    if (end) log += ".";
    if (take_all) codec.consumed(stream, data.size());
    if (on_end && end) on_end(stream);
  }
  void on_request_trailers(StreamId stream, FieldList& fields) override {
    log += "<" + std::to_string(stream) + " trailers" + text_of(fields) + ">";
  }
  void on_request_reset(StreamId stream) override { log += "<" + std::to_string(stream) + " reset>"; }
  void on_stream_writable(StreamId stream) override {
    log += "<" + std::to_string(stream) + " writable>";
    if (when_writable) when_writable(stream);
  }
  void on_malformed(StreamId stream, std::uint16_t status, const char* reason, std::string_view) override {
    log += "<" + std::to_string(stream) + " malformed " + std::to_string(status) + ">";
    why = reason;
    if (when_malformed) when_malformed(stream, status);
  }
  void on_refused(const RequestHead* head) override {
    refused.push_back(head == nullptr ? "broken" : std::string(head->method_text) + " " + std::string(head->target));
  }

  BlockPool pool;
  Output output{pool};
  HttpScratch scratch;
  Wire wire;
  FrameReader frames;
  std::string log;
  std::string why;
  std::vector<std::string> refused;  // as not processed, by the codec itself
  bool take_all = true;
  bool with_fields = false;
  std::function<void(StreamId, RequestHead&, bool)> on_head;
  std::function<void(StreamId)> on_end;
  std::function<void(StreamId)> when_writable;
  std::function<void(StreamId, std::uint16_t)> when_malformed;
  Http2Server codec;
};

// The same for the client's codec: "<1 200 a=b>" for a head.
class Http2ClientTalk final : public ClientCodec::Observer {
 public:
  Http2ClientTalk() : codec(*this, output, scratch, test_clock) {}

  void greet(std::initializer_list<std::pair<unsigned, std::uint32_t>> values = {}) {
    server_sends(test::settings(values) + test::settings_ack());
    (void)sent();
  }
  void server_sends(std::string bytes) { EXPECT_EQ(codec.receive({bytes.data(), bytes.size()}), bytes.size()); }
  std::string sent() {
    codec.produce();
    EXPECT_EQ(output.flush(wire).status, IoStatus::ok);
    return frames.read(wire.sent);
  }
  std::string seen() { return std::move(log); }

  StreamId request(std::string_view path = "/", bool end = true) {
    OutgoingRequest out;
    out.method = end ? "GET" : "POST";
    out.kind = end ? Method::get : Method::post;
    out.path = path;
    out.authority = "h";
    out.scheme = "http";
    out.framing = end ? Framing::none : Framing::chunked;
    const StreamId stream = codec.send_request(out, end);
    if (stream != 0) codec.allow(stream, window);
    return stream;
  }

  void on_response(StreamId stream, ResponseHead& head, bool end) override {
    log += "<" + std::to_string(stream) + " " + std::to_string(head.status) + text_of(head.fields) + (end ? ".>" : ">");
  }
  void on_response_body(StreamId stream, std::span<const char> data, bool end) override {
    log.append(data.data(), data.size());
    if (end) log += ".";
    if (take_all) codec.consumed(stream, data.size());
  }
  void on_response_trailers(StreamId stream, FieldList& fields) override {
    log += "<" + std::to_string(stream) + " trailers" + text_of(fields) + ">";
  }
  void on_stream_writable(StreamId stream) override { log += "<" + std::to_string(stream) + " writable>"; }
  void on_response_reset(StreamId stream, bool unprocessed, const char*) override {
    log += "<" + std::to_string(stream) + (unprocessed ? " unprocessed>" : " reset>");
  }
  void on_bad_response(StreamId stream, const char* reason) override {
    log += "<" + std::to_string(stream) + " bad>";
    why = reason;
  }
  void on_capacity() override { ++capacity_calls; }

  BlockPool pool;
  Output output{pool};
  HttpScratch scratch;
  Wire wire;
  FrameReader frames;
  std::string log;
  std::string why;
  bool take_all = true;
  std::size_t window = 0;  // of each answer, where more than the least
  int capacity_calls = 0;
  Http2Client codec;
};

}  // namespace edgemux::core
