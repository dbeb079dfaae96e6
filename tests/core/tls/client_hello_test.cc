#include "core/tls/client_hello.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

namespace edgemux::core {
namespace {

std::string u8(std::size_t value) { return std::string(1, static_cast<char>(value & 0xff)); }
std::string u16(std::size_t value) { return u8(value >> 8U) + u8(value); }
std::string u24(std::size_t value) { return u8(value >> 16U) + u16(value); }
std::string vec8(const std::string& data) { return u8(data.size()) + data; }
std::string vec16(const std::string& data) { return u16(data.size()) + data; }
std::string extension(unsigned type, const std::string& data) { return u16(type) + vec16(data); }
std::string sni(const std::string& name) { return extension(0, vec16(u8(0) + vec16(name))); }
std::string alpn_list(const std::vector<std::string>& names) {
  std::string list;
  for (const std::string& name : names) list += vec8(name);
  return list;
}
std::string alpn(const std::vector<std::string>& names) { return extension(16, vec16(alpn_list(names))); }
std::string versions(const std::string& list) { return extension(43, vec8(list)); }

// A hello in parts, each replaceable by something wrong.
struct Hello {
  std::string version = u16(0x0303);
  std::string random = std::string(32, 'r');
  std::string session = vec8(std::string(32, 's'));
  std::string ciphers = vec16(u16(0x0a0a) + u16(0x1301) + u16(0xc02f));  // GREASE first
  std::string compression = vec8(u8(0));
  std::string extensions = {};
  bool with_extensions = true;
  unsigned type = 1;

  [[nodiscard]] std::string message() const {
    std::string body = version + random + session + ciphers + compression;
    if (with_extensions) body += vec16(extensions);
    return u8(type) + u24(body.size()) + body;
  }
};

std::string records(const std::string& message, std::size_t size = 16384) {
  std::string wire;
  for (std::size_t at = 0; at < message.size(); at += size)
    wire += u8(22) + u16(0x0301) + vec16(message.substr(at, size));
  return wire;
}

struct Parsed {
  HelloVerdict verdict;
  std::size_t bytes_needed;
  std::string reason, server_name, alpn;
  bool acme_tls, offers_tls13;
};

Parsed parse(const std::string& wire) {
  // Exactly sized, so that the sanitizer sees every byte read or written too far.
  const std::vector<char> bytes(wire.begin(), wire.end());
  std::vector<char> scratch(wire.size());
  const ClientHello hello = parse_client_hello(bytes, scratch);
  return {hello.verdict,           hello.bytes_needed, hello.reason,      std::string(hello.server_name),
          std::string(hello.alpn), hello.acme_tls,     hello.offers_tls13};
}

// What asking after every byte must say: need_more until the end, with a promise that is never too high.
void expect_found_at_the_last_byte(const std::string& wire, const Parsed& whole) {
  for (std::size_t cut = 0; cut < wire.size(); ++cut) {
    const Parsed part = parse(wire.substr(0, cut));
    ASSERT_EQ(part.verdict, HelloVerdict::need_more) << "cut at " << cut << ": " << part.reason;
    ASSERT_GT(part.bytes_needed, cut);
    ASSERT_LE(part.bytes_needed, wire.size());
    ASSERT_TRUE(part.server_name.empty());
  }
  const Parsed all = parse(wire);
  ASSERT_EQ(all.verdict, whole.verdict) << all.reason;
  EXPECT_EQ(all.server_name, whole.server_name);
  EXPECT_EQ(all.alpn, whole.alpn);
  EXPECT_EQ(all.acme_tls, whole.acme_tls);
  EXPECT_EQ(all.offers_tls13, whole.offers_tls13);
}

struct GoodCase {
  const char* what;
  Hello hello;
  std::string server_name, alpn;
  bool acme_tls = false;
  bool offers_tls13 = false;
};

std::vector<GoodCase> good_cases() {
  std::vector<GoodCase> cases;
  const std::string grease = extension(0x1a1a, "");
  cases.push_back({"a name", {.extensions = sni("a.example.com")}, "a.example.com", ""});
  cases.push_back({"no extensions at all", {.with_extensions = false}, "", ""});
  cases.push_back({"empty list of extensions", {}, "", ""});
  cases.push_back({"no name", {.extensions = alpn({"h2"})}, "", alpn_list({"h2"})});
  cases.push_back({"upper case stays", {.extensions = sni("A.Example.COM.")}, "A.Example.COM.", ""});
  cases.push_back({"everything, with GREASE around",
                   {.extensions = grease + sni("b.example") + alpn({"h2", "http/1.1"}) +
                                  versions(u16(0x7a7a) + u16(0x0304) + u16(0x0303)) + extension(0x2a2a, "x")},
                   "b.example",
                   alpn_list({"h2", "http/1.1"}),
                   false,
                   true});
  cases.push_back({"TLS 1.2 only", {.extensions = versions(u16(0x0303)) + sni("c.example")}, "c.example", ""});
  cases.push_back({"acme-tls/1",
                   {.extensions = sni("d.example") + alpn({"acme-tls/1"})},
                   "d.example",
                   alpn_list({"acme-tls/1"}),
                   true});
  cases.push_back({"the longest name", {.extensions = sni(std::string(255, 'a'))}, std::string(255, 'a'), ""});
  cases.push_back({"no session id, TLS 1.0 version",
                   {.version = u16(0x0301), .session = vec8(""), .extensions = sni("e.example")},
                   "e.example",
                   ""});
  return cases;
}

TEST(ClientHello, IsFoundHoweverItIsCut) {
  for (const GoodCase& test : good_cases()) {
    SCOPED_TRACE(test.what);
    const Parsed want{HelloVerdict::hello, 0, "", test.server_name, test.alpn, test.acme_tls, test.offers_tls13};
    const std::string message = test.hello.message();
    for (std::size_t size = 1; size <= message.size(); ++size) {
      SCOPED_TRACE("records of " + std::to_string(size));
      expect_found_at_the_last_byte(records(message, size), want);
      if (::testing::Test::HasFatalFailure()) return;
    }
  }
}

TEST(ClientHello, BytesBehindItsRecordDoNotMatter) {
  const std::string wire =
      records(Hello{.extensions = sni("a.example")}.message()) + u8(20) + u16(0x0303) + vec16(u8(1));
  const Parsed parsed = parse(wire);
  EXPECT_EQ(parsed.verdict, HelloVerdict::hello);
  EXPECT_EQ(parsed.server_name, "a.example");
}

TEST(ClientHello, OfSixteenKiBAndMoreIsFound) {
  for (const std::size_t padding : {16000U, 16384U, 30000U, 60000U}) {
    const Hello hello{.extensions = extension(21, std::string(padding, '\0')) + sni("late.example")};
    const std::string wire = records(hello.message());
    const Parsed parsed = parse(wire);
    ASSERT_EQ(parsed.verdict, HelloVerdict::hello) << parsed.reason;
    EXPECT_EQ(parsed.server_name, "late.example");
    // Its size is known from the first nine bytes, so that a cap can act at once.
    const Parsed early = parse(wire.substr(0, 9));
    EXPECT_EQ(early.verdict, HelloVerdict::need_more);
    EXPECT_EQ(early.bytes_needed, wire.size());
  }
}

TEST(ClientHello, AskingOnlyWhenPromisedIsCheap) {
  // One byte per record: a caller that waits for bytes_needed asks a few dozen times, not thousands.
  const std::string wire =
      records(Hello{.extensions = extension(21, std::string(5000, '\0')) + sni("a.example")}.message(), 1);
  std::size_t asked = 0;
  std::size_t have = 0;
  Parsed parsed{};
  do {
    parsed = parse(wire.substr(0, have));
    ++asked;
    have = std::min(wire.size(), parsed.bytes_needed);
  } while (parsed.verdict == HelloVerdict::need_more && asked < 1000);
  EXPECT_EQ(parsed.verdict, HelloVerdict::hello);
  EXPECT_LT(asked, 80U);
}

struct BadCase {
  std::string wire;
  HelloVerdict verdict;
  const char* reason;
};

TEST(ClientHello, WhatIsWrongIsToldApart) {
  const auto with = [](const std::string& extensions) { return records(Hello{.extensions = extensions}.message()); };
  const Hello plain{.extensions = sni("a.example")};
  const HelloVerdict no = HelloVerdict::not_tls;
  const HelloVerdict bad = HelloVerdict::malformed;
  const std::vector<BadCase> cases{
      {"GET / HTTP/1.1\r\n", no, "not a TLS handshake"},
      {"G", no, "not a TLS handshake"},
      {"SSH-2.0-x", no, "not a TLS handshake"},
      {"\x80\x2e\x01\x03\x01", no, "not a TLS handshake"},
      {"\x16\x02", no, "not a TLS handshake"},
      {u8(21) + u16(0x0301) + vec16("\x02\x28"), no, "not a TLS handshake"},
      {u8(22) + u16(0x0301) + u16(0), bad, "empty record"},
      {u8(22) + u16(0x0301) + u16(16385), bad, "record too long"},
      {records(plain.message().substr(0, 20)) + u8(22) + u16(0x0301) + u16(0), bad, "empty record"},
      {records(plain.message().substr(0, 20)) + u8(21), bad, "another record inside the hello"},
      {records(plain.message().substr(0, 20)) + "\x16\x02", bad, "bad record version"},
      {records(Hello{.type = 2}.message()), bad, "not a ClientHello"},
      {u8(22) + u16(0x0301) + u16(300) + u8(11), bad, "not a ClientHello"},
      {records(plain.message() + "x"), bad, "bytes behind the hello in its record"},
      {records(u8(1) + u24(0)), bad, "bad version"},
      {records(Hello{.version = u16(0x0203)}.message()), bad, "bad version"},
      {records(u8(1) + u24(12) + u16(0x0303) + std::string(10, 'r')), bad, "too short"},
      {records(Hello{.session = vec8(std::string(33, 's'))}.message()), bad, "bad session id"},
      {records(Hello{.ciphers = vec16("")}.message()), bad, "bad cipher suites"},
      {records(Hello{.ciphers = vec16("abc")}.message()), bad, "bad cipher suites"},
      {records(Hello{.ciphers = u16(60000)}.message()), bad, "bad cipher suites"},
      {records(Hello{.compression = vec8("")}.message()), bad, "bad compression methods"},
      {records(Hello{.compression = vec8(u8(0)) + "x", .with_extensions = false}.message()), bad,
       "bad length of the extensions"},
      {records(Hello{.compression = vec8(u8(0)) + vec16(sni("a.example")) + "x", .with_extensions = false}.message()),
       bad, "bad length of the extensions"},
      {with(u16(0) + u16(4) + "abc"), bad, "an extension is longer than the list"},
      {with("abc"), bad, "an extension is longer than the list"},
      {with(extension(0, "")), bad, "server_name: bad list length"},
      {with(extension(0, vec16(u8(0) + vec16("a")) + "x")), bad, "server_name: bad list length"},
      {with(extension(0, vec16(""))), bad, "server_name: empty list"},
      {with(extension(0, vec16(u8(1) + vec16("a")))), bad, "server_name: unknown name type"},
      {with(extension(0, vec16(u8(0) + u16(5) + "a"))), bad, "server_name: bad name length"},
      {with(extension(0, vec16(u8(0) + vec16("a.b") + u8(0) + vec16("c.d")))), bad, "server_name: more than one name"},
      {with(extension(0, vec16(u8(0) + vec16("a.b") + u8(7) + vec16("c.d")))), bad, "server_name: more than one name"},
      {with(sni("")), bad, "server_name: bad name length"},
      {with(sni(std::string(256, 'a'))), bad, "server_name: bad name length"},
      {with(sni("a b")), bad, "server_name: not a host name"},
      {with(sni(std::string("a\0b", 3))), bad, "server_name: not a host name"},
      {with(sni("a\nb")), bad, "server_name: not a host name"},
      {with(sni("\xc3\xbc.example")), bad, "server_name: not a host name"},
      {with(sni("a.example") + sni("b.example")), bad, "the same extension twice"},
      {with(alpn({"h2"}) + alpn({"h2"})), bad, "the same extension twice"},
      {with(versions(u16(0x0304)) + versions(u16(0x0304))), bad, "the same extension twice"},
      {with(extension(16, "")), bad, "alpn: bad list length"},
      {with(extension(16, vec16(""))), bad, "alpn: bad list length"},
      {with(extension(16, vec16(vec8("h2")) + "x")), bad, "alpn: bad list length"},
      {with(extension(16, vec16(vec8("")))), bad, "alpn: bad protocol length"},
      {with(extension(16, vec16(u8(9) + "h2"))), bad, "alpn: bad protocol length"},
      {with(extension(43, "")), bad, "supported_versions: bad length"},
      {with(versions("abc")), bad, "supported_versions: bad length"},
      {with(versions("")), bad, "supported_versions: bad length"},
  };
  for (std::size_t i = 0; i < cases.size(); ++i) {
    const Parsed parsed = parse(cases[i].wire);
    EXPECT_EQ(parsed.verdict, cases[i].verdict) << "case " << i;
    EXPECT_EQ(parsed.reason, cases[i].reason) << "case " << i;
    EXPECT_EQ(parsed.server_name, "") << "case " << i;
  }
}

// Wherever one length is off by something, the verdict is not a hello with that name beyond its bounds; nothing
// crashes.
TEST(ClientHello, EveryByteChangedIsSurvived) {
  const Hello hello{.extensions = sni("a.example") + alpn({"h2"}) + versions(u16(0x0304))};
  const std::string wire = records(hello.message());
  std::size_t refused = 0;
  for (std::size_t at = 0; at < wire.size(); ++at) {
    for (const int change : {1, 2, 0x40, 0x80, 0xff}) {
      std::string changed = wire;
      changed[at] = static_cast<char>(changed[at] ^ change);
      const Parsed parsed = parse(changed);
      EXPECT_LE(parsed.server_name.size(), 255U);
      if (parsed.verdict == HelloVerdict::malformed || parsed.verdict == HelloVerdict::not_tls) ++refused;
    }
  }
  EXPECT_GT(refused, wire.size() / 2);
}

// Hellos of real clients; the file's name is the server name they ask for, without it they ask for none.
TEST(ClientHello, OfRealClientsAreUnderstood) {
  const std::filesystem::path corpus =
      std::filesystem::path(EDGEMUX_SOURCE_DIR) / "tests/fuzz/core/tls/corpus/client_hello";
  std::size_t seen = 0;
  for (const auto& entry : std::filesystem::directory_iterator(corpus)) {
    const std::string name = entry.path().filename().string();
    if (!name.starts_with("real-")) continue;
    SCOPED_TRACE(name);
    ++seen;
    std::ifstream file(entry.path(), std::ios::binary);
    std::stringstream content;
    content << file.rdbuf();
    const std::string wire = content.str();
    const Parsed parsed = parse(wire);
    ASSERT_EQ(parsed.verdict, HelloVerdict::hello) << parsed.reason;
    EXPECT_EQ(parsed.server_name, name.find("nosni") == std::string::npos ? "www.example.com" : "");
    EXPECT_EQ(parsed.offers_tls13, name.find("tls12") == std::string::npos);
    if (name.find("alpn") != std::string::npos) {
      EXPECT_EQ(parsed.alpn, alpn_list({"h2", "http/1.1"}));
    }
    expect_found_at_the_last_byte(wire, parsed);
  }
  EXPECT_GE(seen, 4U);
}

}  // namespace
}  // namespace edgemux::core
