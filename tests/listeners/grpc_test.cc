#include "listeners/grpc.h"

#include <gtest/gtest.h>

namespace edgemux::listeners {
namespace {

TEST(Grpc, IsToldByTheContentType) {
  for (const char* type :
       {"application/grpc", "application/grpc+proto", "application/grpc;x=y", "application/grpc ;x"}) {
    EXPECT_TRUE(is_grpc(type)) << type;
  }
  for (const char* type :
       {"", "application/grpc-web", "application/grpcx", "application/json", "text/application/grpc"}) {
    EXPECT_FALSE(is_grpc(type)) << type;
  }
}

TEST(Grpc, MapsWhatAProxyAnswers) {
  EXPECT_EQ(grpc_status(502), "14");
  EXPECT_EQ(grpc_status(503), "14");
  EXPECT_EQ(grpc_status(504), "14");
  EXPECT_EQ(grpc_status(404), "12");
  EXPECT_EQ(grpc_status(403), "7");
  EXPECT_EQ(grpc_status(413), "8");
  EXPECT_EQ(grpc_status(418), "2");
}

TEST(Grpc, MessagesAreOneLineOfPrintableAscii) {
  EXPECT_EQ(grpc_message("502 Bad Gateway: x\n"), "502 Bad Gateway: x");
  EXPECT_EQ(grpc_message("a\r\nb: 100%\xc3\xa4\n"), "a%0D%0Ab: 100%25%C3%A4");
}

}  // namespace
}  // namespace edgemux::listeners
