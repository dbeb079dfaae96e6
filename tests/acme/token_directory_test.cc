#include "acme/token_directory.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "acme/challenge.h"

namespace edgemux::acme {
namespace {

namespace fs = std::filesystem;
using Kind = TokenAnswer::Kind;

void write(const fs::path& path, const std::string& content) { std::ofstream(path, std::ios::binary) << content; }

class TokenDirectoryTest : public testing::Test {
 protected:
  TokenDirectoryTest() {
    std::string pattern = (fs::temp_directory_path() / "edgemux-tokens-XXXXXX").string();
    base_ = ::mkdtemp(pattern.data());
    directory_ = base_ / "tokens";
    fs::create_directory(directory_);
  }
  ~TokenDirectoryTest() override { fs::remove_all(base_); }

  [[nodiscard]] TokenAnswer read(std::string_view token) const {
    return TokenDirectory(directory_.string()).read(token);
  }
  [[nodiscard]] Kind kind(std::string_view token) const { return read(token).kind; }
  fs::path webroot() const {
    const auto folder = directory_ / ".well-known" / "acme-challenge";
    fs::create_directories(folder);
    return folder;
  }

  fs::path base_;
  fs::path directory_;
};

TEST_F(TokenDirectoryTest, FindsWhatWasWrittenAMomentAgoAndForgetsWhatIsGone) {
  EXPECT_EQ(kind("tok"), Kind::not_found);
  write(directory_ / "tok", "tok.thumb");
  EXPECT_EQ(kind("tok"), Kind::found);
  EXPECT_EQ(read("tok").text, "tok.thumb");
  write(directory_ / "tok", "tok.other");
  EXPECT_EQ(read("tok").text, "tok.other");
  fs::remove(directory_ / "tok");
  EXPECT_EQ(kind("tok"), Kind::not_found);
}

TEST_F(TokenDirectoryTest, FindsWhatCertbotWritesBelowAWebroot) {
  write(webroot() / "tok", "tok.webroot");
  EXPECT_EQ(read("tok").text, "tok.webroot");
  write(directory_ / "tok", "tok.flat");
  EXPECT_EQ(read("tok").text, "tok.flat");
}

TEST_F(TokenDirectoryTest, FallsBackToTheWebrootWhereTheFlatOneIsUnusable) {
  fs::create_directory(directory_ / "tok");
  write(webroot() / "tok", "tok.webroot");
  EXPECT_EQ(read("tok").text, "tok.webroot");
}

TEST_F(TokenDirectoryTest, TrimsWhiteSpaceAtTheEnd) {
  write(directory_ / "tok", "tok.thumb \t\r\n\n");
  EXPECT_EQ(read("tok").text, "tok.thumb");
  write(directory_ / "lead", " tok\n.thumb");
  EXPECT_EQ(read("lead").text, " tok\n.thumb");
}

TEST_F(TokenDirectoryTest, AnEmptyFileIsNotThereYet) {
  write(directory_ / "tok", "");
  EXPECT_EQ(kind("tok"), Kind::not_found);
  write(directory_ / "tok", "\n");
  EXPECT_EQ(kind("tok"), Kind::not_found);
}

TEST_F(TokenDirectoryTest, MissingOrUnsetDirectoryHoldsNothing) {
  EXPECT_EQ(TokenDirectory((base_ / "absent").string()).read("tok").kind, Kind::not_found);
  EXPECT_EQ(TokenDirectory("").read("tok").kind, Kind::not_found);
  write(base_ / "file", "x");
  EXPECT_EQ(TokenDirectory((base_ / "file").string()).read("tok").kind, Kind::not_found);
}

TEST_F(TokenDirectoryTest, TheDirectoryItselfMayBeALink) {
  write(directory_ / "tok", "tok.thumb");
  fs::create_directory_symlink(directory_, base_ / "link");
  EXPECT_EQ(TokenDirectory((base_ / "link").string()).read("tok").text, "tok.thumb");
}

TEST_F(TokenDirectoryTest, NoTokenLeavesTheDirectory) {
  write(base_ / "secret", "secret");
  write(directory_ / ".hidden", "secret");
  write(directory_ / "a.b", "secret");
  for (const char* token :
       {"../secret", "..", ".", "", "/etc/hostname", "./secret", ".hidden", "a.b", "tokens/../../secret"}) {
    EXPECT_EQ(kind(token), Kind::not_found) << token;
  }
  EXPECT_EQ(kind((base_ / "secret").string()), Kind::not_found);
}

TEST_F(TokenDirectoryTest, LinksAreNotFollowed) {
  write(base_ / "secret", "secret");
  fs::create_symlink(base_ / "secret", directory_ / "tok");
  EXPECT_EQ(kind("tok"), Kind::error);
  EXPECT_NE(read("tok").text.find("tokens/tok: is a symbolic link"), std::string::npos) << read("tok").text;

  fs::create_directories(base_ / "outside" / "acme-challenge");
  write(base_ / "outside" / "acme-challenge" / "far", "secret");
  fs::create_directory_symlink(base_ / "outside", directory_ / ".well-known");
  EXPECT_EQ(kind("far"), Kind::not_found);
  fs::remove(directory_ / ".well-known");
  fs::create_directory(directory_ / ".well-known");
  fs::create_directory_symlink(base_ / "outside" / "acme-challenge", directory_ / ".well-known" / "acme-challenge");
  EXPECT_EQ(kind("far"), Kind::not_found);
}

TEST_F(TokenDirectoryTest, OnlyRegularFilesAreRead) {
  ASSERT_EQ(::mkfifo((directory_ / "fifo").c_str(), 0600), 0);
  EXPECT_EQ(kind("fifo"), Kind::error);  // and does not wait for a writer
  fs::create_directory(directory_ / "folder");
  EXPECT_EQ(kind("folder"), Kind::error);
  EXPECT_NE(read("folder").text.find("is not a regular file"), std::string::npos);
}

TEST_F(TokenDirectoryTest, SizeIsCapped) {
  write(directory_ / "most", std::string(max_token_file, 'x'));
  EXPECT_EQ(read("most").text.size(), max_token_file);
  write(directory_ / "more", std::string(max_token_file + 1, 'x'));
  EXPECT_EQ(kind("more"), Kind::error);
  write(directory_ / "huge", "");
  fs::resize_file(directory_ / "huge", 1ULL << 40U);  // sparse
  EXPECT_EQ(kind("huge"), Kind::error);
}

TEST_F(TokenDirectoryTest, TheLongestTokenHasNoFile) {
  EXPECT_EQ(kind(std::string(max_token, 'x')), Kind::not_found);  // one byte over NAME_MAX
  write(directory_ / std::string(255, 'x'), "long");
  EXPECT_EQ(read(std::string(255, 'x')).text, "long");
}

TEST_F(TokenDirectoryTest, SaysWhatCannotBeRead) {
  write(directory_ / "tok", "tok.thumb");
  fs::permissions(directory_ / "tok", fs::perms::none);
  // Root reads everything, so the question is asked as somebody else.
  const bool root = ::geteuid() == 0;
  fs::permissions(base_, fs::perms::owner_all | fs::perms::others_exec | fs::perms::group_exec);
  const int dropped = root ? ::seteuid(65534) : 0;
  const TokenAnswer unreadable = read("tok");
  const int regained = root ? ::seteuid(0) : 0;
  ASSERT_EQ(dropped, 0);
  ASSERT_EQ(regained, 0);
  EXPECT_EQ(unreadable.kind, Kind::error);
  EXPECT_NE(unreadable.text.find("tokens/tok: Permission denied"), std::string::npos) << unreadable.text;
}

TEST_F(TokenDirectoryTest, NoLinkLeadsOutOfTheRoot) {
  // What a tenant may write to: it can put a link in the place of its folder of tokens.
  const auto tenant = base_ / "tenant";
  const auto own = tenant / "tokens";
  fs::create_directories(tenant / "real");
  write(directory_ / "tok", "somebody else's");
  write(tenant / "real" / "tok", "its own");
  const auto read_own = [&] { return TokenDirectory(own.string(), tenant.string()).read("tok"); };
  EXPECT_EQ(read_own().kind, Kind::not_found);
  fs::create_directory_symlink("real", own);
  EXPECT_EQ(read_own().text, "its own");
  for (const fs::path& target : {fs::path("../tokens"), directory_}) {
    fs::remove(own);
    fs::create_directory_symlink(target, own);
    EXPECT_EQ(read_own().kind, Kind::error);
    EXPECT_NE(read_own().text.find("leads out of the tenant's folder"), std::string::npos) << read_own().text;
  }
  fs::remove(own);
  fs::create_directory(own);
  write(own / "tok", "plain");
  EXPECT_EQ(read_own().text, "plain");
  EXPECT_EQ(TokenDirectory((base_ / "tenant-b").string(), tenant.string()).read("tok").kind, Kind::error);
}

}  // namespace
}  // namespace edgemux::acme
