// compare_origin HTTP_PORT:TUNNEL_PORT:BODIES
//
// What stands behind the proxies of ./dev compare, in a process of its own; see origin.h.
#include "bench/compare/origin.h"

int main(int argc, char** argv) {
  if (argc != 2) edgemux::compare::quit(std::string("usage: ") + argv[0] + " HTTP_PORT:TUNNEL_PORT:BODIES");
  edgemux::compare::Origin origin(argv[1]);
  for (;;) origin.turn(-1);
}
