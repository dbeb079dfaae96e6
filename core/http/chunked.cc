#include "core/http/chunked.h"

#include <algorithm>

#include "core/http/bytes.h"

namespace edgemux::core {

BodyStep ChunkDecoder::refuse(std::size_t consumed, const char* reason) {
  place_ = Place::failed;
  return {BodyState::error, consumed, {}, reason};
}

BodyStep ChunkDecoder::next(std::string_view input) {
  constexpr int kMaxDigits = 16;
  if (place_ == Place::done) return {BodyState::done, 0, {}, nullptr};
  for (std::size_t i = 0; i < input.size(); ++i) {
    if (place_ == Place::data) {
      const std::size_t take = static_cast<std::size_t>(std::min<std::uint64_t>(left_, input.size() - i));
      left_ -= take;
      if (left_ == 0) place_ = Place::data_cr;
      return {BodyState::more, i + take, input.substr(i, take), nullptr};
    }
    const char c = input[i];
    switch (place_) {
      case Place::size_first:
        left_ = counted_ = digits_ = 0;
        if (hex_digit(c) < 0) return refuse(i, "invalid chunk size");
        place_ = Place::size;
        [[fallthrough]];
      case Place::size:
        if (const int digit = hex_digit(c); digit >= 0) {
          if (++digits_ > kMaxDigits || left_ >> 59 != 0) return refuse(i, "chunk size too large");
          left_ = left_ << 4 | static_cast<std::uint64_t>(digit);
        } else if (c == '\r') {
          place_ = Place::size_lf;
        } else if (c == ';') {
          place_ = Place::extension;
        } else if (c == ' ' || c == '\t') {
          place_ = Place::size_blank;
        } else {
          return refuse(i, "invalid chunk size");
        }
        break;
      case Place::size_blank:
        if (c == '\r') {
          place_ = Place::size_lf;
        } else if (c == ';') {
          place_ = Place::extension;
        } else if (c != ' ' && c != '\t') {
          return refuse(i, "invalid chunk size");
        } else if (++counted_ > kMaxExtension) {
          return refuse(i, "chunk extension too long");
        }
        break;
      case Place::extension:
        if (c == '\r') {
          place_ = Place::size_lf;
        } else if (!is_value_byte(c)) {
          return refuse(i, "invalid chunk extension");
        } else if (++counted_ > kMaxExtension) {
          return refuse(i, "chunk extension too long");
        }
        break;
      case Place::size_lf:
        if (c != '\n') return refuse(i, "bare CR in a chunk line");
        counted_ = 0;
        place_ = left_ == 0 ? Place::trailer_start : Place::data;
        break;
      case Place::data_cr:
        if (c != '\r') return refuse(i, "chunk longer than its size");
        place_ = Place::data_lf;
        break;
      case Place::data_lf:
        if (c != '\n') return refuse(i, "bare CR after a chunk");
        place_ = Place::size_first;
        break;
      case Place::trailer_start:
        if (c == '\r') {
          place_ = Place::final_lf;
          break;
        }
        if (token_lower(c) == 0) return refuse(i, "invalid trailer");
        place_ = Place::trailer_name;
        if (++counted_ > kMaxTrailers) return refuse(i, "trailers too long");
        break;
      case Place::trailer_name:
        if (c == ':') {
          place_ = Place::trailer_value;
        } else if (token_lower(c) == 0) {
          return refuse(i, "invalid trailer");
        }
        if (++counted_ > kMaxTrailers) return refuse(i, "trailers too long");
        break;
      case Place::trailer_value:
        if (c == '\r') {
          place_ = Place::trailer_lf;
        } else if (!is_value_byte(c)) {
          return refuse(i, "invalid trailer");
        }
        if (++counted_ > kMaxTrailers) return refuse(i, "trailers too long");
        break;
      case Place::trailer_lf:
        if (c != '\n') return refuse(i, "bare CR in a trailer");
        place_ = Place::trailer_start;
        break;
      case Place::final_lf:
        if (c != '\n') return refuse(i, "bare CR after the last chunk");
        place_ = Place::done;
        return {BodyState::done, i + 1, {}, nullptr};
      case Place::data:
      case Place::done:
      case Place::failed:
        return refuse(i, "body already refused");
    }
  }
  return {BodyState::more, input.size(), {}, nullptr};
}

BodyReader::BodyReader(Framing framing, std::uint64_t content_length)
    : left_(content_length),
      framing_(framing),
      done_(framing == Framing::none || (framing == Framing::length && content_length == 0)) {}

BodyStep BodyReader::next(std::string_view input) {
  if (done_) return {BodyState::done, 0, {}, nullptr};
  switch (framing_) {
    case Framing::length: {
      const std::size_t take = static_cast<std::size_t>(std::min<std::uint64_t>(left_, input.size()));
      left_ -= take;
      done_ = left_ == 0;
      return {done_ ? BodyState::done : BodyState::more, take, input.substr(0, take), nullptr};
    }
    case Framing::chunked: {
      const BodyStep step = chunks_.next(input);
      done_ = step.state == BodyState::done;
      return step;
    }
    case Framing::until_close:
    case Framing::none:
      break;
  }
  return {BodyState::more, input.size(), input, nullptr};
}

bool BodyReader::end_of_input() {
  if (framing_ == Framing::until_close) done_ = true;
  return done_;
}

std::size_t write_chunk_prefix(std::uint64_t size, char* out) {
  std::size_t digits = 1;
  while (digits < 16 && size >> (4 * digits) != 0) ++digits;
  for (std::size_t i = digits; i-- > 0; size >>= 4) out[i] = "0123456789abcdef"[size & 15];
  out[digits] = '\r';
  out[digits + 1] = '\n';
  return digits + 2;
}

}  // namespace edgemux::core
