#pragma once
// Result<T>: a value, or an Error that says whose fault it is and whether trying again can help.
//
// Errors carry a text for people: what was wrong, where, and what to do. "Need more" and "done" are results of their
// own types, never errors. The data plane throws nothing.

#include <cstdint>
#include <string>
#include <tl/expected.hpp>

namespace edgemux::core {

enum class Side : std::uint8_t { downstream, upstream, internal };

struct Error {
  Side side = Side::internal;
  bool retryable = false;
  std::string message;
  bool shortage = false;  // nobody's fault who was asked: no descriptor or memory was to be had, or a disk failed
};

template <class T>
using Result = tl::expected<T, Error>;

inline tl::unexpected<Error> fail(std::string message, Side side = Side::internal, bool retryable = false) {
  return tl::unexpected<Error>(Error{side, retryable, std::move(message)});
}

}  // namespace edgemux::core
