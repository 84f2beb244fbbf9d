#include "places.h"

#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <climits>
#include <cstdlib>
#include <filesystem>

#include "fault.h"

namespace ovfsd::launcher {
namespace {

/// What the dynamic linker and Node.js look for. On many hosts some are links into /usr, which are links inside, too.
constexpr std::array kLibraryDirectories = {"/lib", "/lib32", "/lib64", "/libx32"};
constexpr std::array kLibraries = {"/usr/lib",       "/usr/lib32",       "/usr/lib64",        "/usr/libx32",
                                   "/usr/local/lib", "/usr/local/lib64", "/usr/share/nodejs", "/etc/ld.so.cache"};
/// Names of users and groups, and the time of the log.
constexpr std::array kNames = {"/etc/passwd", "/etc/group", "/etc/nsswitch.conf", "/etc/localtime",
                               "/usr/share/zoneinfo"};
/// How servers are found and believed. Not all of /etc/ssl and /etc/pki: keys lie there, too.
constexpr std::array kNetwork = {"/etc/resolv.conf",
                                 "/etc/hosts",
                                 "/etc/host.conf",
                                 "/etc/gai.conf",
                                 "/etc/services",
                                 "/etc/protocols",
                                 "/etc/ssl/certs",
                                 "/etc/ssl/openssl.cnf",
                                 "/etc/ssl/cert.pem",
                                 "/etc/ssl/ca-bundle.pem",
                                 "/etc/pki/tls/certs",
                                 "/etc/pki/tls/cert.pem",
                                 "/etc/pki/ca-trust",
                                 "/etc/ca-certificates",
                                 "/etc/crypto-policies",
                                 "/usr/share/ca-certificates",
                                 "/usr/local/share/ca-certificates",
                                 "/var/lib/ca-certificates"};
/// Environment variables that name a file or directory which Node.js or a client of a store reads.
constexpr std::array kVariables = {"NODE_EXTRA_CA_CERTS",
                                   "SSL_CERT_FILE",
                                   "SSL_CERT_DIR",
                                   "AWS_SHARED_CREDENTIALS_FILE",
                                   "AWS_CONFIG_FILE",
                                   "AWS_WEB_IDENTITY_TOKEN_FILE",
                                   "AWS_CA_BUNDLE",
                                   "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
                                   "AZURE_FEDERATED_TOKEN_FILE",
                                   "GOOGLE_APPLICATION_CREDENTIALS"};
/// Below $HOME.
constexpr const char* kAwsDirectory = "/.aws";
constexpr std::array kDevices = {"/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom"};
constexpr const char* kSyslog = "/dev/log";

bool is_link(const char* path) {
  struct stat found = {};
  return ::lstat(path, &found) == 0 && S_ISLNK(found.st_mode);
}

/// Where a package lies with those that it needs: beside them in a node_modules, or with one of its own in itself.
std::string package_of(const std::string& script) {
  std::filesystem::path directory = std::filesystem::path(script).parent_path();
  while (directory.has_relative_path() && !std::filesystem::exists(directory / "package.json")) {
    directory = directory.parent_path();
  }
  const std::filesystem::path beside = directory.parent_path();
  return beside.filename() == "node_modules" ? beside : directory;
}

/// The environment may be that of somebody else, who has started us: what we can't read there is of no use inside.
void add_readable(std::vector<Place>& places, const std::string& path) {
  if (::access(path.c_str(), R_OK) == 0) places.push_back({path});
}

template <class Paths>
void add(std::vector<Place>& places, const Paths& paths, Access access = Access::kRead) {
  for (const char* path : paths) places.push_back({path, access});
}

}  // namespace

std::vector<Place> places_of_daemon(const std::string& node, const std::string& script, const CommandLine& line) {
  std::vector<Place> places = {{node, Access::kRead, false}, {package_of(script), Access::kRead, false}};
  for (const char* path : kLibraryDirectories) {
    if (!is_link(path)) places.push_back({path});
  }
  add(places, kLibraries);
  add(places, kNames);
  add(places, kDevices, Access::kDevice);
  if (line.has_syslog) places.push_back({kSyslog, Access::kDevice});
  if (!line.has_config_file) return places;
  add(places, kNetwork);
  for (const char* name : kVariables) {
    const char* value = std::getenv(name);
    if (value != nullptr && value[0] == '/') add_readable(places, value);
  }
  const char* home = std::getenv("HOME");
  if (home != nullptr && home[0] == '/') add_readable(places, std::string(home) + kAwsDirectory);
  return places;
}

std::vector<Link> links_of_host() {
  std::vector<Link> links = {{"/dev/fd", "/proc/self/fd"},
                             {"/dev/stdin", "/proc/self/fd/0"},
                             {"/dev/stdout", "/proc/self/fd/1"},
                             {"/dev/stderr", "/proc/self/fd/2"}};
  for (const char* path : kLibraryDirectories) {
    if (is_link(path)) links.push_back({path, std::filesystem::read_symlink(path)});
  }
  return links;
}

void make_links(const std::vector<Link>& links) {
  for (const auto& [path, target] : links) must(::symlink(target.c_str(), path.c_str()), path);
}

}  // namespace ovfsd::launcher
