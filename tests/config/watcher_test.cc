#include "config/watcher.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/config/disk_fixture.h"

namespace edgemux::config {
namespace {

// inotify queues an event before the system call that caused it returns, so what drain() says is exact: nobody waits.
class WatcherTest : public DiskTest {
 protected:
  void watch(const std::vector<std::string>& files, const std::vector<std::string>& directories = {}) {
    std::vector<std::string> full_files;
    std::vector<std::string> full_directories;
    for (const auto& name : files) full_files.push_back(path(name));
    for (const auto& name : directories) full_directories.push_back(path(name));
    watcher_.set(full_files, full_directories);
    watcher_.drain();
    EXPECT_EQ(watcher_.problem(), "");
  }
  bool seen() { return watcher_.drain(); }

  Watcher watcher_;
};

TEST_F(WatcherTest, IsReadableWhenSomethingHappened) {
  write("main.yaml", "a");
  watch({"main.yaml"});
  pollfd waiting{watcher_.fd(), POLLIN, 0};
  EXPECT_EQ(::poll(&waiting, 1, 0), 0);
  write("main.yaml", "b");
  EXPECT_EQ(::poll(&waiting, 1, 0), 1);
  EXPECT_TRUE(seen());
  EXPECT_EQ(::poll(&waiting, 1, 0), 0);
  EXPECT_FALSE(seen());
}

TEST_F(WatcherTest, SeesWritesRenamesDeletionsAndModes) {
  write("main.yaml", "a");
  watch({"main.yaml"});
  write("main.yaml", "b");
  EXPECT_TRUE(seen());
  replace("main.yaml", "c");
  EXPECT_TRUE(seen());
  write("main.yaml", "d");  // the new file, after it was replaced
  EXPECT_TRUE(seen());
  fs::permissions(path("main.yaml"), fs::perms::none);
  EXPECT_TRUE(seen());
  fs::rename(path("main.yaml"), path("away"));
  EXPECT_TRUE(seen());
  write("main.yaml", "e");
  EXPECT_TRUE(seen());
  fs::remove(path("main.yaml"));
  EXPECT_TRUE(seen());
  write("main.yaml", "f");
  EXPECT_TRUE(seen());
}

TEST_F(WatcherTest, IgnoresOtherNamesInTheFolderOfAFile) {
  write("main.yaml", "a");
  watch({"main.yaml"});
  write("4913", "");  // vim asks so whether it may write
  write(".main.yaml.swp", "x");
  write("main.yaml~", "x");
  fs::remove(path("4913"));
  EXPECT_FALSE(seen());
  folder("other");
  EXPECT_FALSE(seen());
}

TEST_F(WatcherTest, ReadingIsNoChange) {
  write("main.yaml", "a");
  folder("d");
  write("d/a.yaml", "a");
  watch({"main.yaml", "d/a.yaml"}, {"d", ""});
  std::ifstream(path("main.yaml")).get();
  for (const auto& entry : fs::directory_iterator(path("d"))) std::ifstream(entry.path()).get();
  EXPECT_FALSE(seen());
}

TEST_F(WatcherTest, SeesEveryNameOfADirectoryButHiddenOnes) {
  folder("routes.d");
  watch({}, {"routes.d"});
  write("routes.d/.a.yaml.swp", "x");
  EXPECT_FALSE(seen());
  write("routes.d/a.yaml", "x");
  EXPECT_TRUE(seen());
  folder("routes.d/tenant");
  EXPECT_TRUE(seen());
  fs::rename(path("routes.d/a.yaml"), path("routes.d/.hidden"));
  EXPECT_TRUE(seen());
  fs::rename(path("routes.d/.hidden"), path("routes.d/b.yaml"));
  EXPECT_TRUE(seen());
  fs::remove(path("routes.d/b.yaml"));
  EXPECT_TRUE(seen());
}

TEST_F(WatcherTest, FollowsLinksOfFiles) {
  folder("real");
  write("real/v1.yaml", "1");
  write("real/v2.yaml", "2");
  fs::create_symlink("real/v1.yaml", path("main.yaml"));
  watch({"main.yaml"});
  write("real/v2.yaml", "x");
  EXPECT_FALSE(seen());
  write("real/v1.yaml", "x");
  EXPECT_TRUE(seen());
  swing("main.yaml", "real/v2.yaml");
  EXPECT_TRUE(seen());
  write("real/v2.yaml", "y");  // without another set(): drain() walks the new way itself
  EXPECT_TRUE(seen());
  write("real/v1.yaml", "y");
  EXPECT_FALSE(seen());
}

TEST_F(WatcherTest, SeesKubernetesSwingItsVolume) {
  folder("volume/..2026_01");
  folder("volume/..2026_02");
  write("volume/..2026_01/main.yaml", "1");
  write("volume/..2026_02/main.yaml", "2");
  fs::create_symlink("..2026_01", path("volume/..data"));
  fs::create_symlink("..data/main.yaml", path("volume/main.yaml"));
  watch({"volume/main.yaml"});
  swing("volume/..data", "..2026_02");
  EXPECT_TRUE(seen());
  fs::remove_all(path("volume/..2026_01"));
  seen();
  folder("volume/..2026_03");
  write("volume/..2026_03/main.yaml", "3");
  EXPECT_FALSE(seen());
  swing("volume/..data", "..2026_03");
  EXPECT_TRUE(seen());
  write("volume/..2026_03/main.yaml", "4");
  EXPECT_TRUE(seen());
}

TEST_F(WatcherTest, SeesALinkToADirectorySwing) {
  folder("certs-1");
  folder("certs-2");
  fs::create_directory_symlink("certs-1", path("certs"));
  watch({}, {"certs"});
  swing("certs", "certs-2");
  EXPECT_TRUE(seen());
  write("certs-1/a.pem", "x");
  EXPECT_FALSE(seen());
  write("certs-2/a.pem", "x");
  EXPECT_TRUE(seen());
}

TEST_F(WatcherTest, WaitsForFoldersThatDoNotExistYet) {
  watch({"a/b/main.yaml"}, {"x/y/routes.d"});
  folder("other");
  EXPECT_FALSE(seen());
  folder("a");
  EXPECT_TRUE(seen());
  folder("a/b");
  EXPECT_TRUE(seen());
  write("a/b/other.yaml", "x");
  EXPECT_FALSE(seen());
  write("a/b/main.yaml", "x");
  EXPECT_TRUE(seen());
  folder("x/y/routes.d");
  EXPECT_TRUE(seen());
  write("x/y/routes.d/a.yaml", "x");
  EXPECT_TRUE(seen());
}

TEST_F(WatcherTest, SurvivesTheFolderBeingReplaced) {
  folder("conf");
  write("conf/main.yaml", "a");
  watch({"conf/main.yaml"}, {"conf"});
  fs::remove_all(path("conf"));
  EXPECT_TRUE(seen());
  folder("conf");
  EXPECT_TRUE(seen());
  write("conf/main.yaml", "b");
  EXPECT_TRUE(seen());
  folder("conf-2");
  write("conf-2/main.yaml", "c");
  fs::rename(path("conf"), path("conf-1"));
  fs::rename(path("conf-2"), path("conf"));
  EXPECT_TRUE(seen());
  write("conf-1/main.yaml", "x");
  EXPECT_FALSE(seen());
  write("conf/main.yaml", "d");
  EXPECT_TRUE(seen());
}

TEST_F(WatcherTest, SetReplacesWhatIsWatched) {
  write("a.yaml", "a");
  folder("d");
  watch({"a.yaml"}, {"d"});
  write("b.yaml", "b");
  EXPECT_FALSE(seen());
  watch({"b.yaml"});
  write("a.yaml", "x");
  write("d/x.yaml", "x");
  EXPECT_FALSE(seen());
  write("b.yaml", "x");
  EXPECT_TRUE(seen());
  watch({});
  write("b.yaml", "y");
  EXPECT_FALSE(seen());
}

TEST_F(WatcherTest, SetKeepsWhatHappenedBefore) {
  write("a.yaml", "a");
  watcher_.set({path("a.yaml")}, {});
  watcher_.drain();
  write("a.yaml", "b");
  watcher_.set({path("a.yaml"), path("b.yaml")}, {});
  EXPECT_TRUE(seen());
}

TEST_F(WatcherTest, TellsWhichPathsWereTouched) {
  folder("d");
  folder("e");
  for (const auto* name : {"d/a.yaml", "d/b.yaml", "e/c.yaml"}) write(name, "1");
  watch({"d/a.yaml", "d/b.yaml", "e/c.yaml"}, {"d"});
  EXPECT_TRUE(watcher_.take().is_everything()) << "the ways were walked for the first time";
  EXPECT_FALSE(watcher_.take().is_everything());
  replace("d/a.yaml", "2");
  EXPECT_TRUE(seen());
  Touched touched = watcher_.take();
  EXPECT_TRUE(touched.contains(path("d/a.yaml")));
  EXPECT_TRUE(touched.contains(path("d"))) << "names came and went there";
  EXPECT_FALSE(touched.contains(path("d/b.yaml")));
  EXPECT_FALSE(touched.contains(path("e/c.yaml")));
  EXPECT_FALSE(watcher_.take().contains(path("d/a.yaml"))) << "it was told already";
  write("e/c.yaml", "2");
  EXPECT_TRUE(seen());
  touched = watcher_.take();
  EXPECT_TRUE(touched.contains(path("e/c.yaml")));
  EXPECT_FALSE(touched.contains(path("e"))) << "nobody asked for its names";
  fs::permissions(path("e"), fs::perms::owner_all);
  seen();
  EXPECT_TRUE(watcher_.take().is_everything()) << "with a folder's mode everything in it may be another";
}

TEST_F(WatcherTest, TellsTouchedPathsAsTheyAreWritten) {
  folder("real");
  write("real/main.yaml", "1");
  write("real/other.yaml", "1");
  fs::create_directory_symlink("real", path("link"));
  fs::create_symlink("real/main.yaml", path("here.yaml"));
  watch({"link/main.yaml", "here.yaml", "real/main.yaml", "link/other.yaml"}, {"link"});
  watcher_.take();
  replace("real/main.yaml", "2");
  EXPECT_TRUE(seen());
  Touched touched = watcher_.take();
  for (const auto* name : {"link/main.yaml", "here.yaml", "real/main.yaml", "link"}) {
    EXPECT_TRUE(touched.contains(path(name))) << name;
  }
  EXPECT_FALSE(touched.contains(path("link/other.yaml")));
  swing("here.yaml", "real/other.yaml");
  EXPECT_TRUE(seen());
  EXPECT_TRUE(watcher_.take().is_everything()) << "a link leads elsewhere";
}

TEST_F(WatcherTest, ARingOfLinksEnds) {
  fs::create_symlink("b", path("a"));
  fs::create_symlink("a", path("b"));
  fs::create_symlink(".", path("here"));
  watch({"a", "a/x.yaml", "here/here/here/main.yaml"}, {"b", "here"});
  write("main.yaml", "x");
  EXPECT_TRUE(seen());
  fs::remove(path("a"));
  write("a", "no link any more");
  EXPECT_TRUE(seen());
}

TEST_F(WatcherTest, TakesUnusualPaths) {
  folder("d/e");
  write("d/main.yaml", "x");
  watcher_.set({path("d//e/.././main.yaml"), "relative.yaml", ""}, {path("d/e//"), "relative", ""});
  watcher_.drain();
  write("d/main.yaml", "y");
  EXPECT_TRUE(seen());
  write("d/e/new", "y");
  EXPECT_TRUE(seen());
}

TEST_F(WatcherTest, AnOverflowCounts) {
  std::ifstream limit_file("/proc/sys/fs/inotify/max_queued_events");
  std::size_t limit = 0;
  limit_file >> limit;
  ASSERT_GT(limit, 0U);
  if (limit > 100'000) limit = 100'000;
  folder("d");
  watch({"d/main.yaml"});
  write("d/a", "");
  write("d/b", "");
  // Two names in turn, because equal events in a row are merged; none of them counts by itself.
  for (std::size_t i = 0; i < limit; ++i) ::chmod(path(i % 2 == 0 ? "d/a" : "d/b").c_str(), 0600);
  bool counted = false;
  pollfd waiting{watcher_.fd(), POLLIN, 0};
  while (::poll(&waiting, 1, 0) == 1) counted = seen() || counted;
  EXPECT_TRUE(counted);
  EXPECT_TRUE(watcher_.take().is_everything());
}

TEST_F(WatcherTest, SaysWhatItMayNotRead) {
  if (::geteuid() == 0) {
    // Root may read everything: the watching is done as somebody else.
    fs::permissions(root_, fs::perms::owner_all | fs::perms::others_exec | fs::perms::group_exec);
    ASSERT_EQ(::seteuid(65534), 0);
    watcher_.set({path("main.yaml")}, {});
    const int regained = ::seteuid(0);
    ASSERT_EQ(regained, 0);
  } else {
    fs::permissions(root_, fs::perms::owner_exec);
    watcher_.set({path("main.yaml")}, {});
    fs::permissions(root_, fs::perms::owner_all);
  }
  EXPECT_EQ(watcher_.problem(), "cannot watch " + root_.string() + ": Permission denied");
  watcher_.take();
  EXPECT_TRUE(watcher_.take().is_everything()) << "while not everything is watched, all may be touched";
}

}  // namespace
}  // namespace edgemux::config
