// Who may connect to the device's socket, and what becomes of others.
#include "../src/socket_peer.h"

#include <fcntl.h>
#include <grp.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>
#include <functional>

#include "check.h"
#include "test_bed.h"

namespace {

using ovfsd::AllowedPeers;
using ovfsd::Device;
using ovfsd::SocketPeer;
using ovfsd::UniqueFd;
using namespace ovfsd::test;

constexpr uid_t kStranger = 4711;
constexpr gid_t kTheirGroup = 4712;
constexpr gid_t kSecondGroup = 4713;

/// A device of its own that only these may speak with.
struct GuardedBed : TestBed {
  explicit GuardedBed(AllowedPeers peers) : guarded_path(directory + "/guarded"), guarded({1, 16, 0}, pool, host) {
    guarded.allow_only(std::move(peers));
    guarded.listen(guarded_path, 0666);
    ::chmod(directory.c_str(), 0755);
  }

  std::string guarded_path;
  Device guarded;
};

UniqueFd connected(const std::string& path) {
  UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, path.data(), path.size());
  CHECK_EQ(::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
  return fd;
}

/// Connects in the name of somebody else, and stays connected as long as it lives.
class Stranger {
 public:
  explicit Stranger(const std::string& path) {
    int ends[2];
    CHECK_EQ(::pipe2(ends, O_CLOEXEC), 0);
    child_ = ::fork();
    if (child_ == 0) {
      ::setgroups(1, &kSecondGroup);
      if (::setresgid(kTheirGroup, kTheirGroup, kTheirGroup) != 0 || ::setresuid(kStranger, kStranger, kStranger) != 0)
        ::_exit(1);
      const UniqueFd fd = connected(path);
      if (::write(ends[1], "", 1) != 1) ::_exit(1);
      ::pause();
    }
    ::close(ends[1]);
    char byte;
    CHECK_EQ(::read(ends[0], &byte, 1), 1);
    ::close(ends[0]);
  }
  ~Stranger() {
    ::kill(child_, SIGKILL);
    ::waitpid(child_, nullptr, 0);
  }
  Stranger(const Stranger&) = delete;
  Stranger& operator=(const Stranger&) = delete;

 private:
  pid_t child_;
};

bool is_root() { return ::geteuid() == 0; }

}  // namespace

TEST("peers: one of the users is allowed, or one of a group, and nobody else") {
  const SocketPeer peer = {kStranger, kTheirGroup, 1, {kSecondGroup}};
  CHECK(AllowedPeers({{kStranger}, {}}).allow(peer));
  CHECK(AllowedPeers({{}, {kTheirGroup}}).allow(peer));
  CHECK(AllowedPeers({{1}, {2, kSecondGroup}}).allow(peer));
  CHECK(!AllowedPeers({{kTheirGroup}, {kStranger}}).allow(peer));
  CHECK(!AllowedPeers({{}, {}}).allow(peer));
  // Nobody is allowed for being root.
  CHECK(!AllowedPeers({{kStranger}, {}}).allow({0, 0, 1, {}}));
}

TEST("peers: who may speaks with the device") {
  GuardedBed bed({{::geteuid()}, {}});
  MockDriver driver(bed.guarded, bed.guarded_path);
  driver.set_up();
  CHECK(driver.probe(1));
  CHECK_EQ(bed.host.count_events("peer-refused"), 0u);
}

TEST("peers: who may not is told of, hears nothing, and keeps nobody out") {
  if (!is_root()) return;
  GuardedBed bed({{0}, {}});
  const Stranger first(bed.guarded_path);
  const Stranger second(bed.guarded_path);
  MockDriver driver(bed.guarded, bed.guarded_path);
  driver.set_up();
  CHECK(driver.probe(1));
  CHECK_EQ(bed.host.count_events("peer-refused"), 2u);
  CHECK_EQ(bed.host.count_events("connect"), 1u);
}

TEST("peers: a supplementary group is enough") {
  if (!is_root()) return;
  GuardedBed bed({{}, {kSecondGroup}});
  const Stranger stranger(bed.guarded_path);
  pump(bed.guarded);
  CHECK_EQ(bed.host.count_events("peer-refused"), 0u);
}

TEST("peers: as many as connect at once are refused, in more than one turn") {
  GuardedBed bed({{kStranger}, {}});
  std::vector<UniqueFd> callers;
  for (int i = 0; i < 9; i++) callers.push_back(connected(bed.guarded_path));
  pump(bed.guarded);
  CHECK_EQ(bed.host.count_events("peer-refused"), 9u);
  for (const UniqueFd& caller : callers) {
    char byte;
    CHECK_EQ(::recv(caller.get(), &byte, 1, 0), 0);
  }
  CHECK(bed.host.last_detail.starts_with("user " + std::to_string(::geteuid()) + ", group "));
}
