#include "core/http/head_writer.h"

#include <gtest/gtest.h>

#include <ctime>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "core/http/head_parser.h"
#include "core/http/status.h"

namespace edgemux::core {
namespace {

TEST(HeadWriter, ReemitsARequestFromItsModel) {
  std::string text =
      "POST http://a.b/p?q=1 HTTP/1.1\r\nHOST: A.b\r\nX-One:  1 \r\nConnection: x-two\r\nX-Two: 2\r\nTE: trailers\r\n"
      "Content-Length: 007\r\n\r\n";
  RequestHead head;
  ASSERT_EQ(parse_request_head(text, 4096, head).state, ParseState::done);
  char out[512];
  HeadWriter writer(out, sizeof out);
  writer.request_line(head.method_text, head.path, head.has_query, head.query);
  writer.field("host", head.authority);
  writer.fields(head.fields);
  writer.framing(head);
  writer.field("x-count", std::uint64_t{18446744073709551615U});
  writer.end();
  ASSERT_TRUE(writer.ok());
  EXPECT_EQ(
      writer.text(),
      "POST /p?q=1 HTTP/1.1\r\nhost: A.b\r\nx-one: 1\r\ncontent-length: 7\r\nx-count: 18446744073709551615\r\n\r\n");
}

TEST(HeadWriter, CopiesLinesInOnePieceOnlyWhereTheyStandAsTheyWouldBeWritten) {
  std::string text =
      "HTTP/1.1 200 OK\r\nA: 1\r\nB: 2\r\nConnection: keep-alive\r\nc:3\r\nD:  4\r\nE: 5 \r\nF:\r\nG: \r\nH:\t8\r\nI: "
      "9\r\n"
      "Content-Length: 0\r\nJ: 10\r\nK: 11\r\n\r\n";
  ResponseHead head;
  ASSERT_EQ(parse_response_head(text, 4096, Method::get, head).state, ParseState::done);
  const auto written = [&head](std::size_t capacity = 512) {
    std::string out(capacity, '.');
    HeadWriter writer(out.data(), out.size());
    writer.fields(head.fields);
    EXPECT_EQ(writer.ok(), writer.size() <= capacity);
    return std::string(writer.text());
  };
  EXPECT_EQ(written(), "a: 1\r\nb: 2\r\nc: 3\r\nd: 4\r\ne: 5\r\nf: \r\ng: \r\nh: 8\r\ni: 9\r\nj: 10\r\nk: 11\r\n");
  EXPECT_TRUE(std::string("a: 1\r\nb: 2\r\n").starts_with(written(11)));
  const auto field = [&head](std::string_view name) -> Field& {
    for (Field& f : head.fields) {
      if (f.name == name) return f;
    }
    throw std::out_of_range("no such field");
  };
  field("a").value = "other";
  field("k").value.remove_suffix(1);
  field("j").value.remove_prefix(1);
  field("i").hop_by_hop = true;
  EXPECT_EQ(written(), "a: other\r\nb: 2\r\nc: 3\r\nd: 4\r\ne: 5\r\nf: \r\ng: \r\nh: 8\r\nj: 0\r\nk: 1\r\n");
}

TEST(HeadWriter, FramingOfResponses) {
  const auto framing = [](std::string text, Method method) {
    ResponseHead head;
    EXPECT_EQ(parse_response_head(text, 4096, method, head).state, ParseState::done);
    char out[128];
    HeadWriter writer(out, sizeof out);
    writer.framing(head);
    return std::string(writer.text());
  };
  EXPECT_EQ(framing("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", Method::get), "content-length: 5\r\n");
  EXPECT_EQ(framing("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", Method::get), "content-length: 0\r\n");
  EXPECT_EQ(framing("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", Method::head), "content-length: 5\r\n");
  EXPECT_EQ(framing("HTTP/1.1 304 X\r\nContent-Length: 5\r\n\r\n", Method::get), "content-length: 5\r\n");
  EXPECT_EQ(framing("HTTP/1.1 204 X\r\nContent-Length: 5\r\n\r\n", Method::get), "");
  EXPECT_EQ(framing("HTTP/1.1 103 X\r\nContent-Length: 5\r\n\r\n", Method::get), "");
  EXPECT_EQ(framing("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", Method::get),
            "transfer-encoding: chunked\r\n");
  EXPECT_EQ(framing("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", Method::head), "");
  EXPECT_EQ(framing("HTTP/1.1 200 OK\r\n\r\n", Method::get), "");
}

TEST(HeadWriter, NeverWritesPastTheEndAndSaysWhatItNeeds) {
  const auto write = [](HeadWriter& writer) {
    writer.status_line(404);
    writer.field("a", "b");
    writer.framing(Framing::length, 12);
    writer.end();
  };
  char big[256];
  HeadWriter whole(big, sizeof big);
  write(whole);
  ASSERT_TRUE(whole.ok());
  for (std::size_t capacity = 0; capacity < whole.size(); ++capacity) {
    std::vector<char> buffer(capacity);  // ASan watches its end
    HeadWriter writer(buffer.data(), capacity);
    write(writer);
    EXPECT_FALSE(writer.ok());
    EXPECT_EQ(writer.size(), whole.size());
  }
  std::vector<char> exact(whole.size());
  HeadWriter writer(exact.data(), exact.size());
  write(writer);
  EXPECT_TRUE(writer.ok());
  EXPECT_EQ(writer.text(), "HTTP/1.1 404 Not Found\r\na: b\r\ncontent-length: 12\r\n\r\n");
}

TEST(HeadWriter, NothingThatEndsALineGetsOut) {
  char out[256];
  HeadWriter writer(out, sizeof out);
  writer.field("a", "b\r\nc: d");
  writer.field("a", "b\nc");
  writer.field("a", std::string_view("b\0c", 3));
  writer.field("a\r\nb", "c");
  writer.field("", "c");
  EXPECT_EQ(writer.dropped(), 5U);
  EXPECT_EQ(writer.size(), 0U);
  EXPECT_TRUE(writer.ok());
}

TEST(HeadWriter, FindsWhatBreaksALineWhereverItStands) {
  for (std::size_t size = 1; size <= 40; ++size) {
    for (int byte = 0; byte < 256; ++byte) {
      const bool breaks = byte == 0 || byte == 10 || byte == 13;
      for (std::size_t at = 0; at < size; ++at) {
        for (const char others : {'a', '\t', '\xff', '\x10'}) {
          std::string text(size, others);
          text[at] = static_cast<char>(byte);
          ASSERT_EQ(breaks_line(text), breaks) << size << ' ' << byte << ' ' << at;
        }
      }
    }
  }
  EXPECT_FALSE(breaks_line(""));
}

TEST(HeadWriter, AnUnsafeRequestLineIsNeverOk) {
  const auto ok = [](std::string_view method, std::string_view path, std::string_view query) {
    char out[256];
    HeadWriter writer(out, sizeof out);
    writer.request_line(method, path, true, query);
    writer.end();
    return writer.ok();
  };
  EXPECT_TRUE(ok("GET", "/a", "b"));
  EXPECT_FALSE(ok("GE T", "/a", "b"));
  EXPECT_FALSE(ok("", "/a", "b"));
  EXPECT_FALSE(ok("GET", "", "b"));
  EXPECT_FALSE(ok("GET", "/a b", "b"));
  EXPECT_FALSE(ok("GET", "/a\r\n", "b"));
  EXPECT_FALSE(ok("GET", "/a", "b\n"));
  EXPECT_FALSE(ok("GET", "/a", "\x7f"));
}

TEST(HeadWriter, StatusLines) {
  const auto line = [](int status, std::string_view reason) {
    char out[128];
    HeadWriter writer(out, sizeof out);
    writer.status_line(status, reason);
    return std::string(writer.text());
  };
  EXPECT_EQ(line(200, "Fine"), "HTTP/1.1 200 OK\r\n");
  EXPECT_EQ(line(299, "Own"), "HTTP/1.1 299 Own\r\n");
  EXPECT_EQ(line(999, "a\r\nb: c"), "HTTP/1.1 999 \r\n");
}

TEST(Status, Phrases) {
  EXPECT_EQ(reason_phrase(404), "Not Found");
  EXPECT_EQ(reason_phrase(511), "Network Authentication Required");
  EXPECT_EQ(reason_phrase(299), "");
  EXPECT_EQ(reason_phrase(0), "");
  EXPECT_EQ(reason_phrase(600), "");
  for (int status = 100; status < 600; ++status) {
    const std::string_view text = status_line(status);
    if (text.empty()) continue;
    EXPECT_EQ(text, "HTTP/1.1 " + std::to_string(status) + " " + std::string(reason_phrase(status)) + "\r\n");
  }
}

TEST(DateCache, AgreesWithTheSystemsCalendar) {
  DateCache cache;
  EXPECT_EQ(cache.at(784111777), "Sun, 06 Nov 1994 08:49:37 GMT");
  EXPECT_EQ(cache.at(784111777), "Sun, 06 Nov 1994 08:49:37 GMT");
  EXPECT_EQ(cache.at(0), "Thu, 01 Jan 1970 00:00:00 GMT");
  EXPECT_EQ(cache.at(951782400), "Tue, 29 Feb 2000 00:00:00 GMT");
  for (std::time_t second = 1; second < 8'000'000'000; second += 12'345'678) {
    std::tm parts{};
    gmtime_r(&second, &parts);
    char expected[64];
    std::strftime(expected, sizeof expected, "%a, %d %b %Y %H:%M:%S GMT", &parts);
    ASSERT_EQ(cache.at(second), expected);
  }
}

}  // namespace
}  // namespace edgemux::core
