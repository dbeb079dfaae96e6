#include "routing/upstream/place_turn.h"

#include <utility>

#include "routing/upstream/pool.h"

namespace edgemux::routing {

PlaceTurn::PlaceTurn(Observer& observer)
    : observer_(observer), deadline_([](void* self) { static_cast<PlaceTurn*>(self)->timed_out(); }, this) {}

void PlaceTurn::begin(UpstreamPool& pool) {
  pool_ = &pool;
  core::EventLoop& loop = pool.context_.loop;
  loop.timers().arm(deadline_, loop.now() + static_cast<std::uint64_t>(pool.upstream().pending_timeout.count()));
}

void PlaceTurn::leave() {
  if (pool_ == nullptr) return;
  deadline_.cancel();
  std::exchange(pool_, nullptr)->stop_waiting(*this);
}

void PlaceTurn::got_place() {
  deadline_.cancel();
  pool_ = nullptr;
  observer_.on_place();
}

void PlaceTurn::timed_out() {
  const std::string why = pool_->waited_in_vain();
  leave();
  observer_.on_no_place(why);
}

}  // namespace edgemux::routing
