#pragma once
// FloodGuard: decides when the other side of an HTTP/2 connection asks for more work than it is worth. Values in, a
// verdict out; the codec says what happened and when, ends the connection (GOAWAY, ENHANCE_YOUR_CALM) when told so.
//
// Each kind of cheap frame has an allowance: `burst` at once, refilled by `per_second`, and earned by useful work, so
// that a busy connection may do more of everything than an idle one:
//   resets        both directions under one budget: rapid reset (CVE-2023-44487) is RST_STREAM received, MadeYouReset
//                 (CVE-2025-8671) is RST_STREAM that we were made to send. An answer that was wanted to its end earns.
//   cancels       RST_STREAM received for a request whose answer the client has got some of: a page full of pictures
//                 that is left, a film in which somebody looks for a place. They come one way from the client to us and
//                 back apart, and not as fast as frames can be written; an answer earns here too.
//   refusals      RST_STREAM with REFUSED_STREAM that we send because there is no room. A good client does not know
//                 beforehand and asks again, so they have an allowance of their own. An answer earns several.
//                 Resets for any other reason count as above.
//   control       PING and unknown frames. Every frame of an answer earns: gRPC measures the path with PINGs.
//   settings      SETTINGS. Nothing earns.
//   priority      PRIORITY and PRIORITY_UPDATE. A request earns.
//   windows       WINDOW_UPDATE. DATA that we send earns, and is not forgotten soon: some clients take what they have
//                 buffered in little reads, and tell of each of them twice. A request earns: gRPC and Firefox widen the
//                 window of each before anything has come.
//   tiny          DATA that a window cut down to less than kTinyData bytes: what is worth sending is not worth asking
//                 for in crumbs. DATA of some size earns: windows of 65,535 bytes leave a byte beside whole frames, so
//                 that a client that has to wait for its windows all the time sees crumbs between them.
//   empty         DATA without data and without an end.
//   malformed     requests that are answered with what is wrong in them. Nothing earns.
// A header block may have kContinuations frames (nghttp2 counts them), and decode to kDecodedTimes its limit.
// A stall, when everything that waits for a window has waited without any progress, is measured here. A client that has
// taken some of its answers may pause, and is judged by the session's deadline. One that asks for many and has never
// taken a byte of any does not use HTTP/2 to get answers.

#include <array>
#include <cstddef>
#include <cstdint>

namespace edgemux::core {

class FloodGuard {
 public:
  enum class Kind : std::uint8_t {
    reset,
    cancel,
    refusal,
    control,
    settings,
    priority,
    window,
    tiny,
    empty,
    malformed
  };
  static constexpr std::size_t kKinds = 10;
  static constexpr std::size_t kTinyData = 256;
  static constexpr std::size_t kBytesPerWindow = 1024;
  static constexpr std::size_t kBytesPerCrumb = 1024;    // DATA of at least so much earns one tiny one
  static constexpr std::uint32_t kMostWindows = 32'768;  // earned and not used
  static constexpr unsigned kContinuations = 80;         // of one header block: 1 MiB, the most that is allowed, in 64
  static constexpr std::size_t kDecodedTimes = 4;  // a block may decode to so many times its limit before it is a bomb

  // `generous`: times as much of everything, for upstreams, which are chosen by the operator.
  explicit FloodGuard(std::uint64_t now_ms, unsigned generous = 1);

  // One frame of that kind. Null when it is within the allowance, else what is too much: static text.
  const char* note(Kind kind, std::uint64_t now_ms);
  // A header block that has decoded to so many bytes so far.
  static const char* judge_block(std::size_t decoded, std::size_t limit) {
    return decoded > limit * kDecodedTimes ? "a header block decodes to too much" : nullptr;
  }

  // ---- useful work
  void earn_request() {
    earn(Kind::priority, 4);
    earn(Kind::window, 4);
  }
  void earn_answer() {
    earn(Kind::reset, 1);
    earn(Kind::cancel, 1);
    earn(Kind::refusal, 4);
  }
  void earn_frame() { earn(Kind::control, 1); }
  void earn_data(std::size_t bytes) {
    earn(Kind::window, 4 + static_cast<std::uint32_t>(bytes / kBytesPerWindow));
    earn(Kind::control, 1);
    if (bytes >= kBytesPerCrumb) earn(Kind::tiny, 1);
  }

  // ---- stalls
  // `waiting`: bytes wait for a window. `progress`: some went out since the call before.
  void note_waiting(bool waiting, bool progress, std::uint64_t now_ms) {
    if (!waiting) {
      stalled_since_ = 0;
    } else if (progress || stalled_since_ == 0) {
      stalled_since_ = now_ms;
    }
  }
  [[nodiscard]] bool stalls() const { return stalled_since_ != 0; }
  // How long everything that waits has not moved; 0 when nothing waits.
  [[nodiscard]] std::uint64_t stalled_ms(std::uint64_t now_ms) const {
    return stalled_since_ == 0 || now_ms < stalled_since_ ? 0 : now_ms - stalled_since_;
  }
  static constexpr std::size_t kFewUntaken = 8;
  static constexpr std::uint64_t kUntakenMs = 1500;
  // Of a connection that has never taken any DATA: so many answers wait for its windows. As note().
  static const char* judge_stall(std::size_t answers, std::uint64_t stalled_ms) {
    return answers > kFewUntaken && stalled_ms >= kUntakenMs ? "asks for many answers and takes none" : nullptr;
  }

 private:
  void earn(Kind kind, std::uint32_t count);

  // In thousandths of a frame.
  std::array<std::uint32_t, kKinds> left_;
  std::array<std::uint64_t, kKinds> refilled_ms_;
  std::uint64_t stalled_since_ = 0;
  unsigned generous_;
};

}  // namespace edgemux::core
