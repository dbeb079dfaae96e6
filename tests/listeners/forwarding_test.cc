#include "listeners/forwarding.h"

#include <gtest/gtest.h>

#include <vector>

namespace edgemux::listeners {
namespace {

using core::FieldId;
using core::FieldList;

core::SocketAddress at(const char* ip) { return *core::SocketAddress::parse_ip(ip, 1234); }

const std::vector<core::Network> kTrusted{*core::Network::parse("10.0.0.0/8"), *core::Network::parse("2001:db8::/32")};

std::string behind(const std::vector<std::string>& lists, FieldId id = FieldId::x_forwarded_for) {
  FieldList fields;
  for (const auto& list : lists) fields.add({"list", list, id});
  return sender_behind(fields, {at("10.0.0.1")}, kTrusted).address.ip();
}

TEST(Forwarding, WalksFromTheEndOverThoseThatAreTrusted) {
  EXPECT_EQ(behind({}), "10.0.0.1");
  EXPECT_EQ(behind({"203.0.113.9"}), "203.0.113.9");
  EXPECT_EQ(behind({"198.51.100.1, 203.0.113.9"}), "203.0.113.9") << "the left part is whoever's invention";
  EXPECT_EQ(behind({"198.51.100.1, 203.0.113.9,10.0.0.3 , 10.0.0.2"}), "203.0.113.9");
  EXPECT_EQ(behind({"198.51.100.1", "203.0.113.9, 10.0.0.3", "2001:db8::5"}), "203.0.113.9");
  EXPECT_EQ(behind({"10.0.0.9, 10.0.0.8"}), "10.0.0.9") << "all trusted: the one farthest away";
  EXPECT_EQ(behind({"203.0.113.9:4711"}), "203.0.113.9");
  EXPECT_EQ(behind({"[2001:db9::1]:4711, [2001:db8::1]"}), "2001:db9::1");
}

TEST(Forwarding, WhatIsNoAddressEndsTheWalk) {
  for (const char* list :
       {"unknown", "", ",", "203.0.113.9, ", "203.0.113.9, x", "203.0.113.9, [::1", "1.2.3.4.5", "a:b:c"}) {
    EXPECT_EQ(behind({list}), "10.0.0.1") << list;
  }
  EXPECT_EQ(behind({"203.0.113.9, _hidden, 10.0.0.7"}), "10.0.0.7");
}

TEST(Forwarding, ReadsForwardedWhereThereIsNoOther) {
  const auto forwarded = [](const std::vector<std::string>& lists) { return behind(lists, FieldId::forwarded); };
  EXPECT_EQ(forwarded({"for=203.0.113.9"}), "203.0.113.9");
  EXPECT_EQ(forwarded({"proto=https; For=\"203.0.113.9:80\" ;by=10.0.0.1"}), "203.0.113.9");
  EXPECT_EQ(forwarded({"for=198.51.100.1, for=\"[2001:db9::1]:80\";host=\"a,b\", for=10.0.0.3"}), "2001:db9::1");
  EXPECT_EQ(forwarded({"for=203.0.113.9, for=unknown"}), "10.0.0.1");
  EXPECT_EQ(forwarded({"for=203.0.113.9, proto=https"}), "10.0.0.1");
  FieldList both;
  both.add({"forwarded", "for=203.0.113.9", FieldId::forwarded});
  both.add({"x-forwarded-for", "203.0.113.10", FieldId::x_forwarded_for});
  EXPECT_EQ(sender_behind(both, {at("10.0.0.1")}, kTrusted).address.ip(), "203.0.113.10");
}

TEST(Forwarding, TellsWhomTheOtherFamilyNames) {
  const auto other = [](const char* forwarded, const char* plain) -> std::string {
    FieldList fields;
    if (forwarded != nullptr) fields.add({"forwarded", forwarded, FieldId::forwarded});
    if (plain != nullptr) fields.add({"x-forwarded-for", plain, FieldId::x_forwarded_for});
    const auto found = other_sender(fields, at("10.0.0.1"), kTrusted);
    return found ? found->ip() : "none";
  };
  EXPECT_EQ(other("for=203.0.113.9", nullptr), "none");
  EXPECT_EQ(other(nullptr, "203.0.113.9"), "none");
  EXPECT_EQ(other("for=203.0.113.9, for=10.0.0.2", "10.1.1.1"), "203.0.113.9");
}

struct Said {
  FieldId id;
  const char* value;
};

// "https" or "http", as a trusted peer over http says.
std::string scheme(const std::vector<Said>& said, bool secure = false) {
  FieldList fields;
  for (const auto& [id, value] : said) fields.add({"field", value, id});
  return sender_behind(fields, {at("10.0.0.1"), secure}, kTrusted).secure ? "https" : "http";
}

TEST(Forwarding, TheSchemeIsTheOneThatTheClientUsed) {
  constexpr auto kFor = FieldId::x_forwarded_for;
  constexpr auto kProto = FieldId::x_forwarded_proto;
  constexpr auto kForwarded = FieldId::forwarded;
  EXPECT_EQ(scheme({}), "http");
  EXPECT_EQ(scheme({}, true), "https");
  EXPECT_EQ(scheme({{kProto, "https"}}), "https");
  EXPECT_EQ(scheme({{kProto, "HTTPS"}, {kFor, "203.0.113.9, 10.0.0.3"}}), "https") << "one word for the whole way";
  EXPECT_EQ(scheme({{kProto, "http"}}, true), "http");
  EXPECT_EQ(scheme({{kProto, "wss"}}, true), "https") << "that says nothing";
  EXPECT_EQ(scheme({{kProto, "https, http"}, {kFor, "203.0.113.9, 10.0.0.3"}}), "https") << "the first proxy's word";
  EXPECT_EQ(scheme({{kProto, "https, http"}, {kFor, "6.6.6.6, 203.0.113.9"}}), "http") << "a stranger's invention";
  EXPECT_EQ(scheme({{kProto, "https"}, {kProto, "http"}, {kFor, "203.0.113.9"}}), "http");
  EXPECT_EQ(scheme({{kForwarded, "for=203.0.113.9;proto=https"}}), "https");
  EXPECT_EQ(scheme({{kForwarded, "for=6.6.6.6;proto=http, for=203.0.113.9;Proto=\"https\", for=10.0.0.3;proto=http"}}),
            "https");
  EXPECT_EQ(scheme({{kForwarded, "for=203.0.113.9"}}), "http");
  EXPECT_EQ(scheme({{kForwarded, "for=203.0.113.9;proto=http"}, {kProto, "https"}}), "https");
}

struct Made {
  FieldList fields;
  std::string text;
  ForwardingFields out;
  [[nodiscard]] std::string kept() const {
    std::string names;
    for (const auto& field : fields) names += field.hop_by_hop ? "" : std::string(field.name) + " ";
    return names;
  }
};

void make(Made& made, const char* peer, bool trusted, std::string_view authority = "a.example") {
  made.fields.add({"x-forwarded-for", "198.51.100.1", FieldId::x_forwarded_for});
  made.fields.add({"x-forwarded-for", "203.0.113.9", FieldId::x_forwarded_for});
  made.fields.add({"forwarded", "for=203.0.113.9", FieldId::forwarded});
  made.fields.add({"x-forwarded-proto", "https", FieldId::x_forwarded_proto});
  made.fields.add({"x-forwarded-host", "front.example", FieldId::x_forwarded_host});
  made.fields.add({"x-forwarded-port", "8443", FieldId::x_forwarded_port});
  made.fields.add({"x-request-id", "theirs", FieldId::x_request_id});
  made.fields.add({"x-forwarded-prefix", "/theirs", FieldId::other});
  made.fields.add({"x_forwarded-ssl", "on", FieldId::other});
  made.fields.add({"x-forwarder", "no such field", FieldId::other});
  made.fields.add({"accept", "*/*", FieldId::other});
  made.out = make_forwarding(made.fields, {at(peer), trusted, false, false, authority}, made.text);
}

TEST(Forwarding, AStrangerSaysNothing) {
  Made made;
  make(made, "203.0.113.77", false);
  EXPECT_EQ(made.out.x_forwarded_for, "203.0.113.77");
  EXPECT_EQ(made.out.forwarded, "for=203.0.113.77;host=a.example;proto=http");
  EXPECT_EQ(made.out.x_forwarded_proto, "http");
  EXPECT_EQ(made.out.x_forwarded_host, "a.example");
  EXPECT_EQ(made.kept(), "x-forwarder accept ");
}

TEST(Forwarding, ATrustedOneIsBelievedAndAppendedTo) {
  Made made;
  make(made, "10.0.0.1", true);
  EXPECT_EQ(made.out.x_forwarded_for, "198.51.100.1, 203.0.113.9, 10.0.0.1");
  EXPECT_EQ(made.out.forwarded, "for=203.0.113.9, for=10.0.0.1;host=a.example;proto=http");
  EXPECT_EQ(made.out.x_forwarded_proto, "");
  EXPECT_EQ(made.out.x_forwarded_host, "");
  EXPECT_EQ(
      made.kept(),
      "x-forwarded-for x-forwarded-for forwarded x-forwarded-proto x-forwarded-host x-forwarded-port x-request-id "
      "x-forwarded-prefix x_forwarded-ssl x-forwarder accept ")
      << "rules see what it says";
  replace_forwarding(made.fields);
  EXPECT_EQ(
      made.kept(),
      "x-forwarded-proto x-forwarded-host x-forwarded-port x-forwarded-prefix x_forwarded-ssl x-forwarder accept ");
}

// A family that the trusted one does not speak would tell of it as if it were the client.
TEST(Forwarding, ATrustedOneIsNotContradicted) {
  struct Case {
    std::vector<Said> said;
    bool by_https;
    const char* sent;  // for | forwarded | proto | host
  };
  for (const Case& one :
       std::vector<Case>{{{{FieldId::x_forwarded_for, "203.0.113.9"}}, false, "203.0.113.9, 10.0.0.1||http|a.example"},
                         {{{FieldId::x_forwarded_proto, "https"}}, true, "10.0.0.1|||a.example"},
                         {{{FieldId::x_forwarded_host, "b.example"}}, false, "10.0.0.1||http|"},
                         {{{FieldId::forwarded, "for=203.0.113.9;proto=https"}},
                          true,
                          "|for=203.0.113.9;proto=https, for=10.0.0.1;host=a.example;proto=http||"},
                         {{{FieldId::forwarded, "proto=https"}, {FieldId::x_forwarded_for, "203.0.113.9"}},
                          true,
                          "203.0.113.9, 10.0.0.1|proto=https, for=10.0.0.1;host=a.example;proto=http|https|a.example"},
                         {{}, false, "10.0.0.1|for=10.0.0.1;host=a.example;proto=http|http|a.example"}}) {
    FieldList fields;
    for (const auto& [id, value] : one.said) fields.add({"field", value, id});
    std::string text;
    const auto out = make_forwarding(fields, {at("10.0.0.1"), true, false, one.by_https, "a.example"}, text);
    std::string sent(out.x_forwarded_for);
    for (const auto value : {out.forwarded, out.x_forwarded_proto, out.x_forwarded_host})
      sent.append("|").append(value);
    EXPECT_EQ(sent, one.sent);
  }
}

TEST(Forwarding, QuotesWhatNeedsIt) {
  Made made;
  make(made, "2001:db8::1", false, "a.example:8443");
  EXPECT_EQ(made.out.forwarded, "for=\"[2001:db8::1]\";host=\"a.example:8443\";proto=http");
  Made nameless;
  make(nameless, "10.0.0.1", false, "");
  EXPECT_EQ(nameless.out.forwarded, "for=10.0.0.1;proto=http");
}

}  // namespace
}  // namespace edgemux::listeners
