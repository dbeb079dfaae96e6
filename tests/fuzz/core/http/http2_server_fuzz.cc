// The server's side of HTTP/2: frames behind a good preface. The first byte is how the input is cut; a stream is
// answered, reset or left alone by its number. Properties: no cut changes the first request, nothing is handed out
// that HTTP/1 could not carry, a Content-Length equals its DATA, and no stream ends twice.

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/http/bytes.h"
#include "core/http/http2_server.h"

namespace {

using namespace edgemux::core;

void require(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "property broken: %s\n", what);
  std::abort();
}

std::uint64_t still() { return 1; }

class Owner final : public ServerCodec::Observer {
 public:
  Owner() : codec(*this, output, scratch, 16 * 1024, still) {}

  void on_request(StreamId id, RequestHead& head, bool end) override {
    require(!open.contains(id), "a number is given again only when it is free");
    const bool is_first = first.empty();
    if (is_first) {
      first = std::string(head.method_text) + " " + std::string(head.target) + (end ? " ." : "");
      first_id = id;
    }
    require(is_token(head.method_text) && !head.path.empty() && !head.authority.empty(), "a request line for HTTP/1");
    for (const char c : head.target) require(is_target_byte(c), "a target");
    for (const Field& field : head.fields) {
      for (const char c : field.name) require(token_lower(c) == c && c != 0, "a field name");
      for (const char c : field.value) require(is_value_byte(c), "a field value");
      require(!is_always_hop_by_hop(field.id) || field.hop_by_hop, "a field of one connection is marked");
      if (is_first) {
        first += "\n" + std::string(field.name) + ": ";
        if (field.name != "sec-websocket-key") first += field.value;  // that is random
      }
    }
    open[id] = {head.has_content_length, head.content_length, end};
    if (end) require(!head.has_content_length || head.content_length == 0 || head.upgrade, "no length without a body");
    if (id % 4 == 1 && end) answer(id);
    if (id % 4 == 2) drop(id);
    if (head.upgrade && id % 4 == 3) {
      scratch.response.clear();
      scratch.response.status = 101;
      codec.send_upgrade(id, scratch.response);
    }
  }
  void on_request_body(StreamId id, std::span<const char> data, bool end) override {
    require(open.contains(id) && !open[id].ended, "a body belongs to a request");
    if (id == first_id) first_body.append(data.data(), data.size());
    Stream& stream = open[id];
    stream.left -= data.size();
    stream.ended = end;
    if (end) require(!stream.has_length || stream.left == 0, "Content-Length equals DATA");
    codec.consumed(id, data.size());
    if (end) answer(id);
  }
  void on_request_trailers(StreamId id, FieldList& fields) override {
    require(open.contains(id) && !open[id].ended, "trailers belong to a request");
    require(!open[id].has_length || open[id].left == 0, "Content-Length equals DATA");
    open[id].ended = true;
    for (const Field& field : fields) require(!is_managed(field.id), "trailers manage nothing");
    answer(id);
  }
  void on_request_reset(StreamId id) override {
    require(open.contains(id), "a reset stream was open");
    forget(id);
  }
  void on_stream_writable(StreamId id) override {
    require(open.contains(id) && codec.pending(id) == 0, "writable when nothing waits");
  }
  void on_malformed(StreamId id, std::uint16_t status, const char* reason, std::string_view) override {
    require(status >= 400 && reason != nullptr, "a reason");
    if (id == 0) {
      require(codec.finished(), "a broken connection is finished");
      return;
    }
    open[id] = {};
    answer(id);
  }

  void answer(StreamId id) {
    scratch.response.clear();
    scratch.response.status = 200;
    codec.send_head(id, scratch.response, {BodyPlan::Kind::unknown, 0});
    codec.send_body(id, {body, sizeof body});
    codec.send_end(id);
    forget(id);
    codec.produce();
  }
  void drop(StreamId id) {
    codec.reset(id, StreamError::cancel, Fault::client);
    forget(id);
  }
  void forget(StreamId id) {
    open.erase(id);
    if (id == first_id) first_id = 0;
  }

  struct Stream {
    bool has_length = false;
    std::uint64_t left = 0;
    bool ended = false;
  };
  std::map<StreamId, Stream> open;
  std::string first;       // the head of the first request
  std::string first_body;  // what came of its body
  StreamId first_id = 0;   // while it is open
  BlockPool pool;
  Output output{pool};
  HttpScratch scratch;
  Http2Server codec;
  char body[600] = {};
};

void converse(Owner& owner, std::string_view input, std::size_t piece) {
  std::string bytes = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + std::string(input);
  for (std::size_t at = 0; at < bytes.size(); at += piece) {
    const std::size_t size = std::min(piece, bytes.size() - at);
    require(owner.codec.receive({bytes.data() + at, size}) == size, "it takes everything");
    std::vector<std::shared_ptr<const void>> bodies;  // until they are written
    while (owner.codec.startable()) bodies.push_back(owner.codec.start_next());
    owner.codec.produce();
    owner.output.clear();
  }
}

// How many streams the client takes back.
std::size_t resets(std::string_view frames) {
  constexpr std::size_t header = 9;
  constexpr char rst_stream = 3;
  const auto byte = [&](std::size_t at) { return static_cast<std::size_t>(static_cast<unsigned char>(frames[at])); };
  std::size_t count = 0;
  while (frames.size() >= header) {
    if (frames[3] == rst_stream) ++count;
    const std::size_t length = byte(0) << 16U | byte(1) << 8U | byte(2);
    frames.remove_prefix(std::min(frames.size(), header + length));
  }
  return count;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::string_view input(reinterpret_cast<const char*>(data) + 1, size - 1);
  Owner whole;
  converse(whole, input, SIZE_MAX / 2);
  Owner cut;
  converse(cut, input, 1 + data[0]);
  // Answers that go out between the pieces change what a broken connection still lets through; and a client that said
  // GOAWAY while nothing was open is heard no further, whatever it sends after a cut.
  if (whole.codec.finished() || cut.codec.finished()) return 0;
  // A client that has taken back so many is not believed at once: whether another request is handed out depends on
  // whether its reset came with the same bytes.
  constexpr std::size_t doubted = 5;
  if (resets(input) >= doubted) return 0;
  require(whole.first == cut.first, "no cut changes the first request");
  // How much of a body is handed out before it turns out to be more than its Content-Length is a matter of the cuts.
  const std::size_t common = std::min(whole.first_body.size(), cut.first_body.size());
  require(whole.first_body.compare(0, common, cut.first_body, 0, common) == 0, "no cut changes its body");
  return 0;
}
