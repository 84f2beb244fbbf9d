// What is asked of the process itself.
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <string>
#include <system_error>

#include "../src/host_process.h"
#include "check.h"

using namespace ovfsd;

namespace {

int error_of_connecting(const std::string& path) {
  try {
    connect_datagram(path);
    return 0;
  } catch (const std::system_error& error) {
    return error.code().value();
  }
}

/// A bound socket in a directory of its own.
class Bound {
 public:
  explicit Bound(int type) {
    char name[] = "/tmp/ovfsd-host-process-XXXXXX";
    directory_ = mkdtemp(name);
    path = directory_ + "/socket";
    sockaddr_un address = {};
    address.sun_family = AF_UNIX;
    std::memcpy(address.sun_path, path.data(), path.size());
    fd = UniqueFd(socket(AF_UNIX, type, 0));
    CHECK_EQ(bind(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  }
  ~Bound() {
    unlink(path.c_str());
    rmdir(directory_.c_str());
  }
  Bound(const Bound&) = delete;
  Bound& operator=(const Bound&) = delete;

  std::string path;
  UniqueFd fd;

 private:
  std::string directory_;
};

}  // namespace

TEST("host process: a datagram reaches the socket, and a full one does not block") {
  const Bound target(SOCK_DGRAM);
  const UniqueFd fd = connect_datagram(target.path);
  CHECK_EQ(write(fd.get(), "hello", 5), 5L);
  char text[8] = {};
  CHECK_EQ(read(target.fd.get(), text, sizeof text), 5L);
  CHECK_EQ(std::string(text), std::string("hello"));
  while (write(fd.get(), "more", 4) == 4) {
  }
  CHECK_EQ(errno, EAGAIN);
}

TEST("host process: what can't be connected to is an error with its cause") {
  const Bound stream(SOCK_STREAM);
  CHECK_EQ(error_of_connecting(stream.path), EPROTOTYPE);
  CHECK_EQ(error_of_connecting(stream.path + "-not"), ENOENT);
  CHECK_EQ(error_of_connecting(std::string(200, 'x')), ENAMETOOLONG);
  CHECK_EQ(error_of_connecting(""), ENAMETOOLONG);
}

TEST("host process: the limit of open files is set, the hard one only upwards") {
  rlimit before = {};
  CHECK_EQ(getrlimit(RLIMIT_NOFILE, &before), 0);
  limit_open_files(256);
  rlimit after = {};
  CHECK_EQ(getrlimit(RLIMIT_NOFILE, &after), 0);
  CHECK_EQ(after.rlim_cur, rlim_t{256});
  CHECK_EQ(after.rlim_max, before.rlim_max);
  CHECK_EQ(setrlimit(RLIMIT_NOFILE, &before), 0);
}
