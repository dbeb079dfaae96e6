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
  return client_behind(fields, at("10.0.0.1"), kTrusted).ip();
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
  EXPECT_EQ(client_behind(both, at("10.0.0.1"), kTrusted).ip(), "203.0.113.10");
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
  made.out = make_forwarding(made.fields, {at(peer), trusted, false, authority}, made.text);
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
