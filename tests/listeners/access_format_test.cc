#include "listeners/access_format.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <random>
#include <string>

namespace edgemux::listeners {
namespace {

using nlohmann::json;

std::int64_t noon() { return 1'767'268'800'500; }  // 2026-01-01T12:00:00.500Z

routing::AccessLogSpec spec(routing::AccessFormat format, std::vector<std::string> fields = {}) {
  routing::AccessLogSpec result;
  result.format = format;
  result.fields = std::move(fields);
  return result;
}

std::string line(const AccessRecord& record, const routing::AccessLogSpec& how) {
  AccessFormatter formatter;
  return std::string(formatter.format(AccessLayout(how), record, noon));
}

std::string json_of(std::string_view sni) {
  AccessRecord record;
  record.sni = sni;
  return line(record, spec(routing::AccessFormat::json, {"sni"}));
}

AccessRecord full(const core::SocketAddress& client) {
  AccessRecord r;
  r.status = 200;
  r.tls_resumed = true;
  r.attempts = 2;
  r.time_ms = 1'767'225'600'007;
  r.client = &client;
  r.listener = "https";
  r.sni = "a.example";
  r.alpn = "http/1.1";
  r.tls_version = "TLSv1.3";
  r.host = "a.example";
  r.method = "GET";
  r.path = "/x?y=\"z\"";
  r.protocol = "HTTP/1.1";
  r.route = "a.example";
  r.tenant = "customer-a";
  r.upstream = "app";
  r.endpoint = "10.0.0.7:80";
  r.request_id = "r-1";
  r.user_agent = "curl/7.88.1";
  r.referer = "https://b.example/";
  r.detail = "why";
  r.bytes_in = 12;
  r.bytes_out = 3456;
  r.duration_us = 1'234'567;
  r.connect_us = 42;
  r.first_byte_us = 1'000;
  return r;
}

TEST(AccessFormat, WritesEveryFieldAsJson) {
  const auto client = *core::SocketAddress::parse_ip("192.0.2.1", 5555);
  const auto text = line(full(client), spec(routing::AccessFormat::json));
  ASSERT_EQ('\n', text.back());
  const auto got = json::parse(text);
  const json expected{{"time", "2026-01-01T00:00:00.007Z"},
                      {"kind", "request"},
                      {"listener", "https"},
                      {"client", "192.0.2.1"},
                      {"client_port", 5555},
                      {"sni", "a.example"},
                      {"alpn", "http/1.1"},
                      {"tls", "TLSv1.3"},
                      {"resumed", true},
                      {"host", "a.example"},
                      {"method", "GET"},
                      {"path", "/x?y=\"z\""},
                      {"protocol", "HTTP/1.1"},
                      {"status", 200},
                      {"reason", "done"},
                      {"detail", "why"},
                      {"bytes_in", 12},
                      {"bytes_out", 3456},
                      {"duration_ms", 1234.567},
                      {"route", "a.example"},
                      {"tenant", "customer-a"},
                      {"upstream", "app"},
                      {"endpoint", "10.0.0.7:80"},
                      {"attempts", 2},
                      {"connect_ms", 0.042},
                      {"first_byte_ms", 1.0},
                      {"request_id", "r-1"},
                      {"user_agent", "curl/7.88.1"},
                      {"referer", "https://b.example/"}};
  EXPECT_EQ(expected, got);
  EXPECT_EQ(routing::kAccessFields.size(), got.size());
}

TEST(AccessFormat, LeavesOutWhatIsNotThere) {
  AccessRecord record;
  record.kind = AccessKind::connection;
  record.reason = CloseReason::hello_timeout;
  record.duration_us = 2'500'000;
  EXPECT_EQ(
      "{\"time\":\"2026-01-01T11:59:58.000Z\",\"kind\":\"connection\",\"reason\":\"hello_timeout\",\"bytes_in\":0,"
      "\"bytes_out\":0,\"duration_ms\":2500.000}\n",
      line(record, spec(routing::AccessFormat::json)));
}

TEST(AccessFormat, WritesOnlyTheChosenFieldsInTheirOrder) {
  AccessRecord record;
  record.status = 404;
  record.host = "a.example";
  EXPECT_EQ("{\"status\":404,\"host\":\"a.example\"}\n",
            line(record, spec(routing::AccessFormat::json, {"status", "sni", "host", "status"})));
  EXPECT_EQ("{}\n", line(record, spec(routing::AccessFormat::json, {"sni"})));
}

TEST(AccessFormat, WritesText) {
  AccessRecord record;
  const auto client = *core::SocketAddress::parse_ip("2001:db8::1", 1);
  record.client = &client;
  record.status = 200;
  record.path = "/plain";
  record.user_agent = "a \"b\"\n";
  EXPECT_EQ(
      "client=2001:db8::1 path=/plain status=200 reason=done user_agent=\"a \\\"b\\\"\\n\"\n",
      line(record, spec(routing::AccessFormat::text, {"client", "path", "sni", "status", "reason", "user_agent"})));
}

TEST(AccessFormat, EscapesWhatJsonDemands) {
  EXPECT_EQ("{\"sni\":\"\\\"\\\\\\n\\r\\t\\u0000\\u001b\\u007f/\"}\n",
            json_of(std::string_view("\"\\\n\r\t\0\x1b\x7f/", 9)));
}

TEST(AccessFormat, KeepsUtf8AndReplacesWhatIsNot) {
  EXPECT_EQ("{\"sni\":\"\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\"}\n", json_of("\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80"));
  EXPECT_EQ("{\"sni\":\"a\\ufffdb\"}\n", json_of("a\xff"
                                                 "b"));
  EXPECT_EQ("{\"sni\":\"\\ufffd\\ufffd\"}\n", json_of("\xc0\xaf"));             // overlong
  EXPECT_EQ("{\"sni\":\"\\ufffd\\ufffd\\ufffd\"}\n", json_of("\xed\xa0\x80"));  // a surrogate
  EXPECT_EQ("{\"sni\":\"\\ufffd\\ufffd\"}\n", json_of("\xe2\x82"));             // cut short
  EXPECT_EQ("{\"sni\":\"\\u009b2J\"}\n", json_of("\xc2\x9b"
                                                 "2J"));  // CSI in one character
}

// The escapes look at eight bytes at once: every byte at every place of such a group.
TEST(AccessFormat, TreatsAByteTheSameWhereverItStands) {
  for (unsigned byte = 0; byte < 128; ++byte) {
    for (std::size_t at = 0; at < 20; ++at) {
      std::string value(20, 'a');
      value[at] = static_cast<char>(byte);
      EXPECT_EQ(value, json::parse(json_of(value))["sni"]) << byte << " at " << at;
    }
  }
}

TEST(AccessFormat, CutsLongValues) {
  AccessRecord record;
  const std::string path(100'000, 'p');
  const std::string sni(100'000, '\x01');
  record.path = path;
  record.sni = sni;
  for (const auto format : {routing::AccessFormat::json, routing::AccessFormat::text}) {
    const auto text = line(record, spec(format, {"path", "sni"}));
    EXPECT_THAT(text, testing::HasSubstr(std::string(kMaxPath, 'p') + "...\""));
    EXPECT_THAT(text, testing::Not(testing::HasSubstr(std::string(kMaxPath + 1, 'p'))));
    EXPECT_THAT(text, testing::HasSubstr("\\u0001...\""));
    EXPECT_LT(text.size(), kMaxPath + kMaxValue + 100);
  }
}

TEST(AccessFormat, FitsTheBufferAtItsLongest) {
  const std::string worst(100'000, '\x01');
  auto client = *core::SocketAddress::parse_ip("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", 65535);
  auto record = full(client);
  for (auto* view : {&record.listener, &record.sni, &record.alpn, &record.tls_version, &record.host, &record.method,
                     &record.path, &record.protocol, &record.route, &record.tenant, &record.upstream, &record.endpoint,
                     &record.request_id, &record.user_agent, &record.referer, &record.detail}) {
    *view = worst;
  }
  record.bytes_in = record.bytes_out = record.duration_us = record.connect_us = record.first_byte_us = UINT64_MAX;
  const auto text = line(record, spec(routing::AccessFormat::json));
  EXPECT_LE(text.size(), kMaxLine);
  EXPECT_EQ(routing::kAccessFields.size(), json::parse(text).size());
}

TEST(AccessFormat, IsValidJsonWhateverTheBytes) {
  std::mt19937 random(20260131);
  AccessFormatter formatter;
  const AccessLayout layout(spec(routing::AccessFormat::json));
  for (int round = 0; round < 20'000; ++round) {
    std::array<std::string, 3> values;
    for (auto& value : values) {
      value.resize(random() % 64);
      const auto kind = random() % 3;  // any bytes, mostly UTF-8 leads and tails, mostly printable
      for (char& c : value) {
        const auto byte = random() & 0xffU;
        c = static_cast<char>(kind == 0 ? byte : kind == 1 ? byte | 0x80U : byte % 95 + 32);
      }
    }
    AccessRecord record;
    record.sni = values[0];
    record.path = values[1];
    record.user_agent = values[2];
    const auto text = formatter.format(layout, record, noon);
    ASSERT_TRUE(json::accept(text)) << text;
    ASSERT_EQ(text.size() - 1, text.find('\n'));
  }
}

}  // namespace
}  // namespace edgemux::listeners
