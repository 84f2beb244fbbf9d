#include "host_process.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <system_error>

namespace ovfsd {

UniqueFd connect_datagram(const std::string& path) {
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  if (path.empty() || path.size() >= sizeof address.sun_path) {
    throw std::system_error(ENAMETOOLONG, std::generic_category(), path);
  }
  std::memcpy(address.sun_path, path.data(), path.size());
  UniqueFd fd(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd || ::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    throw std::system_error(errno, std::generic_category(), path);
  }
  return fd;
}

void limit_open_files(uint64_t limit) {
  rlimit current = {};
  if (::getrlimit(RLIMIT_NOFILE, &current) != 0) {
    throw std::system_error(errno, std::generic_category(), "RLIMIT_NOFILE");
  }
  const rlimit wanted = {limit, std::max<rlim_t>(limit, current.rlim_max)};
  if (::setrlimit(RLIMIT_NOFILE, &wanted) != 0) {
    throw std::system_error(errno, std::generic_category(), "RLIMIT_NOFILE " + std::to_string(limit));
  }
}

void execute(const std::string& path, const std::vector<std::string>& args, const std::vector<int>& descriptors) {
  std::vector<char*> argv;
  for (const std::string& arg : args) argv.push_back(const_cast<char*>(arg.c_str()));
  argv.push_back(nullptr);
  // One that is not open stays so.
  for (const int fd : descriptors) ::fcntl(fd, F_SETFD, 0);
  ::execv(path.c_str(), argv.data());
  throw std::system_error(errno, std::generic_category(), path);
}

}  // namespace ovfsd
