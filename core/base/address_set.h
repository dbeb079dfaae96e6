#pragma once
// AddressSet: which addresses there were, in constant time each. Strangers may choose the addresses: the process hashes
// with a seed of its own, so that nobody can tell which ones meet in a bucket.

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <random>
#include <unordered_set>

#include "core/base/address.h"

namespace edgemux::core {

class AddressSet {
 public:
  // False: it was there.
  bool insert(const SocketAddress& address) { return set_.insert(address).second; }
  [[nodiscard]] bool contains(const SocketAddress& address) const { return set_.find(address) != set_.end(); }

 private:
  struct Hash {
    // The finalizer of SplitMix64, which is one to one.
    static std::uint64_t mix(std::uint64_t x) {
      x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
      x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
      return x ^ (x >> 31);
    }
    std::size_t operator()(const SocketAddress& address) const {
      static const std::uint64_t seed = std::random_device{}();
      std::uint64_t words[2] = {0, 0};
      const auto bytes = address.bytes();  // 4 or 16
      std::memcpy(words, bytes.data(), bytes.size());
      return mix(mix(mix(seed ^ words[0]) ^ words[1]) ^ address.port());
    }
  };

  std::unordered_set<SocketAddress, Hash> set_;
};

}  // namespace edgemux::core
