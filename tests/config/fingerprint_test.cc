#include "config/fingerprint.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <sys/stat.h>

#include "tests/config/disk_fixture.h"

namespace edgemux::config {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

class FingerprintTest : public DiskTest {
 protected:
  [[nodiscard]] Fingerprint taken() const { return Fingerprint({path("a.yaml"), path("link")}, {path("d")}); }
  // Stamps of what comes now are later than of what was: the coarse clock has passed the fine one's moment.
  static void next_tick() {
    timespec then{};
    ::clock_gettime(CLOCK_REALTIME, &then);
    for (timespec now = Fingerprint::now();
         now.tv_sec < then.tv_sec || (now.tv_sec == then.tv_sec && now.tv_nsec <= then.tv_nsec);) {
      now = Fingerprint::now();
    }
  }
};

TEST_F(FingerprintTest, IsEqualWhileNothingChanges) {
  write("a.yaml", "a");
  folder("d");
  EXPECT_TRUE(taken() == taken());
}

TEST_F(FingerprintTest, TellsEveryKindOfChange) {
  folder("d");
  write("a.yaml", "a");
  write("one", "1");
  write("two", "2");
  fs::create_symlink("one", path("link"));
  Fingerprint last = taken();
  const auto differs = [&](const char* what) {
    const Fingerprint now = taken();
    EXPECT_FALSE(now == last) << what;
    last = now;
    next_tick();
  };
  next_tick();
  write("a.yaml", "b");
  differs("same size");
  replace("a.yaml", "b");
  differs("replaced");
  fs::permissions(path("a.yaml"), fs::perms::owner_read);
  differs("mode");
  fs::remove(path("a.yaml"));
  differs("removed");
  write("a.yaml", "b");
  differs("back");
  write("one", "x");
  differs("target of the link");
  swing("link", "two");
  differs("link");
  write("d/new", "");
  differs("name in the directory");
  fs::remove_all(path("d"));
  differs("directory");
}

TEST_F(FingerprintTest, PassesOverHiddenNamesAndContentsOfADirectory) {
  folder("d");
  write("d/x", "1");
  const Fingerprint last = taken();
  next_tick();
  write("d/.x.swp", "1");
  write("d/x", "22");
  EXPECT_TRUE(taken() == last);
}

TEST_F(FingerprintTest, KnowsWhatChangedSinceAMoment) {
  write("a.yaml", "a");
  folder("d");
  next_tick();
  const timespec started = Fingerprint::now();
  EXPECT_THAT(taken().changed_since(started), IsEmpty());
  EXPECT_FALSE(taken().names_changed_since(started));
  write("a.yaml", "b");
  EXPECT_THAT(taken().changed_since(started), ElementsAre(path("a.yaml")));
  EXPECT_FALSE(taken().names_changed_since(started));
  write("d/x", "");
  EXPECT_TRUE(taken().names_changed_since(started));
}

TEST_F(FingerprintTest, NothingThereHasNotChanged) {
  EXPECT_THAT(taken().changed_since(Fingerprint::now()), IsEmpty());
  EXPECT_THAT(Fingerprint().changed_since(Fingerprint::now()), IsEmpty());
}

TEST_F(FingerprintTest, AFolderWithVeryManyNamesIsToldByItsStatus) {
  constexpr std::size_t kMost = 100;
  folder("d");
  const auto make = [this](std::size_t n) { write("d/" + std::to_string(n), ""); };
  for (std::size_t n = 0; n < kMost; ++n) make(n);
  EXPECT_EQ(names_in(path("d"), kMost).size(), kMost);
  make(kMost);
  const auto many = names_in(path("d"), kMost);
  EXPECT_EQ(many.size(), 1U);
  EXPECT_EQ(names_in(path("d"), kMost), many);
  next_tick();
  make(kMost + 1);
  EXPECT_EQ(names_in(path("d"), kMost).size(), 1U);
  EXPECT_NE(names_in(path("d"), kMost), many);
}

}  // namespace
}  // namespace edgemux::config
