// The examples of the specification, everything that must be refused, and what we write read again.

#include "core/proxy_protocol/proxy_header.h"

#include <gtest/gtest.h>

#include <array>
#include <string>

namespace edgemux::core {
namespace {

using Verdict = ProxyHeader::Verdict;
const std::string kSignature("\r\n\r\n\0\r\nQUIT\n", 12);

SocketAddress at(const char* ip, std::uint16_t port) { return *SocketAddress::parse_ip(ip, port); }

std::string written(ProxyVersion version, const ProxyLine& line) {
  std::array<char, kMaxProxyWritten> out{};
  return {out.data(), write_proxy_header(version, line, out)};
}

std::string binary(unsigned char command, unsigned char family, const std::string& body) {
  return kSignature + static_cast<char>(command) + static_cast<char>(family) + static_cast<char>(body.size() >> 8U) +
         static_cast<char>(body.size() & 255U) + body;
}
const std::string kAddresses4("\x0a\x00\x00\x01\x0a\x00\x00\x02\x04\xd2\x01\xbb", 12);

TEST(ProxyHeaderTest, ReadsVersion1) {
  const std::string line = "PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n";
  const ProxyHeader four = parse_proxy_header(line + "GET / HTTP/1.1\r\n");
  ASSERT_EQ(four.verdict, Verdict::header);
  EXPECT_EQ(four.size, line.size());
  EXPECT_EQ(four.source.to_string(), "192.168.0.1:56324");
  EXPECT_EQ(four.destination.to_string(), "192.168.0.11:443");

  const ProxyHeader six = parse_proxy_header(std::string("PROXY TCP6 2001:db8::1 ::1 1 65535\r\n"));
  ASSERT_EQ(six.verdict, Verdict::header);
  EXPECT_EQ(six.source.to_string(), "[2001:db8::1]:1");
  EXPECT_EQ(six.destination.to_string(), "[::1]:65535");

  // The longest that there is.
  const std::string longest =
      "PROXY UNKNOWN ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n";
  ASSERT_EQ(longest.size(), 107U);
  for (const std::string& unknown : {longest, std::string("PROXY UNKNOWN\r\n")}) {
    const ProxyHeader header = parse_proxy_header(unknown);
    ASSERT_EQ(header.verdict, Verdict::header);
    EXPECT_EQ(header.size, unknown.size());
    EXPECT_FALSE(header.source.valid());
  }
}

TEST(ProxyHeaderTest, AClientInIpv6ClothesIsIpv4) {
  const ProxyHeader header = parse_proxy_header(std::string("PROXY TCP6 ::ffff:10.0.0.1 ::ffff:10.0.0.2 1 2\r\n"));
  ASSERT_EQ(header.verdict, Verdict::header);
  EXPECT_EQ(header.source.to_string(), "10.0.0.1:1");
  sockaddr_in6 mapped{};
  mapped.sin6_family = AF_INET6;
  mapped.sin6_port = htons(7);
  mapped.sin6_addr.s6_addr[10] = mapped.sin6_addr.s6_addr[11] = 255;
  mapped.sin6_addr.s6_addr[12] = 10;
  mapped.sin6_addr.s6_addr[15] = 9;
  const SocketAddress client = SocketAddress::from(reinterpret_cast<const sockaddr*>(&mapped), sizeof mapped);
  EXPECT_EQ(written(ProxyVersion::v1, {client, client, "", ""}), "PROXY TCP4 10.0.0.9 10.0.0.9 7 7\r\n");
  EXPECT_EQ(written(ProxyVersion::v2, {client, client, "", ""})[13], 0x11);
}

TEST(ProxyHeaderTest, RefusesWhatIsNoVersion1) {
  const auto reason = [](const std::string& bytes) {
    const ProxyHeader header = parse_proxy_header(bytes);
    return header.verdict == Verdict::malformed ? std::string(header.reason) : std::string("taken");
  };
  const std::string bad_address = "a version 1 header with an address or a port that is none";
  for (const char* line :
       {"PROXY TCP4 ::1 ::1 1 2\r\n", "PROXY TCP6 1.2.3.4 1.2.3.4 1 2\r\n", "PROXY TCP4 1.2.3.4 1.2.3.4 1\r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4 1 2 3\r\n", "PROXY TCP4 1.2.3.4  1.2.3.4 1 2\r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4 01 2\r\n", "PROXY TCP4 1.2.3.4 1.2.3.4 65536 2\r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4 -1 2\r\n", "PROXY TCP4 1.2.3.4 1.2.3.4 1 2 \r\n",
        "PROXY TCP4 1.2.3 1.2.3.4 1 2\r\n", "PROXY TCP4 1.2.3.4 1.2.3.4 1 2\r\r\n", "PROXY TCP4\r\n"}) {
    EXPECT_EQ(reason(line), bad_address) << line;
  }
  EXPECT_EQ(reason("PROXY UDP4 1.2.3.4 1.2.3.4 1 2\r\n"), "a version 1 header that is neither TCP4 nor TCP6");
  EXPECT_EQ(reason("PROXY  TCP4 1.2.3.4 1.2.3.4 1 2\r\n"), "a version 1 header that is neither TCP4 nor TCP6");
  EXPECT_EQ(reason("PROXY TCP4 1.2.3.4 1.2.3.4 1 2\n"), "a version 1 header that does not end in CRLF");
  EXPECT_EQ(reason("PROXY UNKNOWN " + std::string(100, 'x') + "\r\n"), "a version 1 header without an end");
}

TEST(ProxyHeaderTest, ReadsVersion2) {
  const std::string extras =
      std::string("\x01\x00\x02h2\x02\x00\x0b", 8) + "example.com" + std::string("\x30\x00\x01x", 4);
  const std::string input = binary(0x21, 0x11, kAddresses4 + extras) + "hello";
  const ProxyHeader four = parse_proxy_header(input);
  ASSERT_EQ(four.verdict, Verdict::header) << four.reason;
  EXPECT_EQ(four.size, 28 + extras.size());
  EXPECT_EQ(four.source.to_string(), "10.0.0.1:1234");
  EXPECT_EQ(four.destination.to_string(), "10.0.0.2:443");
  EXPECT_EQ(four.alpn, "h2");
  EXPECT_EQ(four.authority, "example.com");

  const std::string loopback = std::string(15, '\0') + '\1';
  const ProxyHeader six = parse_proxy_header(binary(0x21, 0x21, loopback + loopback + std::string("\0\1\0\2", 4)));
  ASSERT_EQ(six.verdict, Verdict::header);
  EXPECT_EQ(six.source.to_string(), "[::1]:1");
  EXPECT_EQ(six.destination.to_string(), "[::1]:2");
}

TEST(ProxyHeaderTest, SendersMaySpeakForThemselves) {
  for (const std::string& bytes :
       {binary(0x20, 0x00, ""), binary(0x20, 0x11, kAddresses4),
        binary(0x20, 0x11, "x"),  // LOCAL: nothing in it counts
        binary(0x21, 0x00, ""), binary(0x21, 0x31, std::string(216, 'u')), binary(0x21, 0x10, kAddresses4)}) {
    const ProxyHeader header = parse_proxy_header(bytes);
    EXPECT_EQ(header.verdict, Verdict::header) << header.reason;
    EXPECT_EQ(header.size, bytes.size());
    EXPECT_FALSE(header.source.valid());
  }
}

TEST(ProxyHeaderTest, RefusesWhatIsNoVersion2) {
  const auto reason = [](const std::string& bytes) {
    const ProxyHeader header = parse_proxy_header(bytes);
    return header.verdict == Verdict::malformed ? std::string(header.reason) : std::string("taken");
  };
  EXPECT_EQ(reason(binary(0x11, 0x11, kAddresses4)), "a binary header of another version than 2");
  EXPECT_EQ(reason(binary(0x22, 0x11, kAddresses4)), "a version 2 header with an unknown command");
  EXPECT_EQ(reason(binary(0x21, 0x41, kAddresses4)), "a version 2 header with an unknown family");
  EXPECT_EQ(reason(binary(0x21, 0x13, kAddresses4)), "a version 2 header with an unknown family");
  EXPECT_EQ(reason(binary(0x21, 0x12, kAddresses4)), "a version 2 header of datagrams");
  EXPECT_EQ(reason(binary(0x21, 0x11, kAddresses4.substr(1))), "a version 2 header that is too short for its family");
  EXPECT_EQ(reason(binary(0x21, 0x21, kAddresses4)), "a version 2 header that is too short for its family");
  EXPECT_EQ(reason(binary(0x21, 0x11, kAddresses4 + "x")), "a version 2 header with extras that do not fit");
  EXPECT_EQ(reason(binary(0x21, 0x11, kAddresses4 + std::string("\x02\x00\x05x", 4))),
            "a version 2 header with extras that do not fit");
  // Told before the rest of it could fill any memory.
  EXPECT_EQ(reason(binary(0x21, 0x11, std::string(kMaxProxyHeader - 15, 'x')).substr(0, 16)),
            "a version 2 header that is too long");
}

TEST(ProxyHeaderTest, OtherThingsAreNoHeader) {
  for (const std::string& bytes :
       {std::string("GET / HTTP/1.1\r\n"), std::string("\x16\x03\x01", 3), std::string("PROXX"), std::string("P "),
        std::string("proxy "), std::string("\r\n\r\nG"), kSignature.substr(0, 11) + "x"}) {
    EXPECT_EQ(parse_proxy_header(bytes).verdict, Verdict::absent) << bytes;
  }
}

TEST(ProxyHeaderTest, ComesByteByByte) {
  const std::string extras = std::string("\x02\x00\x0b", 3) + "example.com";
  for (const std::string& whole :
       {std::string("PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n"), std::string("PROXY UNKNOWN\r\n"),
        binary(0x21, 0x11, kAddresses4 + extras), binary(0x20, 0x00, "")}) {
    for (std::size_t size = 0; size < whole.size(); ++size) {
      const ProxyHeader header = parse_proxy_header(std::string_view(whole).substr(0, size));
      EXPECT_EQ(header.verdict, Verdict::need_more) << size;
      EXPECT_GT(header.bytes_needed, size);
      EXPECT_LE(header.bytes_needed, whole.size());
    }
    EXPECT_EQ(parse_proxy_header(whole).verdict, Verdict::header);
  }
}

TEST(ProxyHeaderTest, WritesWhatItReads) {
  const ProxyLine four{at("10.0.0.1", 1234), at("10.0.0.2", 443), "example.com", "h2"};
  const ProxyLine six{at("2001:db8::1", 1), at("::1", 65535), "", ""};
  EXPECT_EQ(written(ProxyVersion::off, four), "");
  EXPECT_EQ(written(ProxyVersion::v1, four), "PROXY TCP4 10.0.0.1 10.0.0.2 1234 443\r\n");
  EXPECT_EQ(written(ProxyVersion::v1, six), "PROXY TCP6 2001:db8::1 ::1 1 65535\r\n");
  for (const ProxyVersion version : {ProxyVersion::v1, ProxyVersion::v2}) {
    for (const ProxyLine& line : {four, six}) {
      const std::string bytes = written(version, line);
      const ProxyHeader header = parse_proxy_header(bytes);
      ASSERT_EQ(header.verdict, Verdict::header) << header.reason;
      EXPECT_EQ(header.size, bytes.size());
      EXPECT_EQ(header.source, line.source);
      EXPECT_EQ(header.destination, line.destination);
      EXPECT_EQ(header.authority, version == ProxyVersion::v2 ? line.authority : "");
      EXPECT_EQ(header.alpn, version == ProxyVersion::v2 ? line.alpn : "");
    }
  }
}

TEST(ProxyHeaderTest, WritesWhatIsMissingAsUnknown) {
  EXPECT_EQ(written(ProxyVersion::v1, {}), "PROXY UNKNOWN\r\n");
  EXPECT_EQ(written(ProxyVersion::v2, {}), binary(0x21, 0x00, ""));
  // A destination of the other family, or none.
  EXPECT_EQ(written(ProxyVersion::v1, {at("10.0.0.1", 1), at("::1", 443), "", ""}),
            "PROXY TCP4 10.0.0.1 0.0.0.0 1 443\r\n");
  EXPECT_EQ(written(ProxyVersion::v1, {at("::1", 1), {}, "", ""}), "PROXY TCP6 ::1 :: 1 0\r\n");
  // The longest that can be written, and what does not fit.
  const std::string most(255, 'a');
  const SocketAddress six = at("::1", 1);
  EXPECT_EQ(written(ProxyVersion::v2, {six, six, most, most}).size(), kMaxProxyWritten);
  const std::string over(256, 'a');
  EXPECT_EQ(written(ProxyVersion::v2, {six, six, over, over}), written(ProxyVersion::v2, {six, six, "", ""}));
}

TEST(ProxyHeader, OfTheProxyItselfIsLocal) {
  ProxyLine line;
  line.local = true;
  std::array<char, kMaxProxyWritten> out{};
  const std::size_t size = write_proxy_header(ProxyVersion::v2, line, out);
  ASSERT_EQ(size, 16U);
  EXPECT_EQ(out[12], 0x20);
  EXPECT_EQ(out[13], 0x00);
  // Of a LOCAL header the family is nobody's business.
  out[13] = 0x55;
  const auto read = parse_proxy_header({out.data(), size});
  EXPECT_EQ(read.verdict, ProxyHeader::Verdict::header);
  EXPECT_FALSE(read.source.valid());
}

}  // namespace
}  // namespace edgemux::core
