#include "host_attributes.h"

#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

namespace ovfsd {

namespace {

constexpr mode_t kPermissionBits = 07777;
constexpr const char* kAccessList = "system.posix_acl_access";
constexpr const char* kDefaultList = "system.posix_acl_default";
// The kernel's limits (XATTR_LIST_MAX, XATTR_SIZE_MAX).
constexpr size_t kMaxNamesBytes = 64 << 10;
constexpr size_t kMaxValueBytes = 64 << 10;

// What is of the contents: a write of the kernel's takes it away or makes it anew.
bool goes_with_contents(std::string_view name) {
  return name == "security.capability" || name == "security.ima" || name == "security.evm";
}

// A security module may refuse; the file has then what the module gives to new files.
bool is_optional(std::string_view name) { return name.starts_with("security.") || name.starts_with("trusted."); }

bool has_no_attributes(int error) { return error == EOPNOTSUPP || error == ENODATA || error == ENOSYS; }

// False on an error. A file system without extended attributes has none.
bool names_of(const DescriptorPath& path, std::vector<std::string>* names) {
  // Most files have none.
  const ssize_t needed = ::listxattr(path.text(), nullptr, 0);
  if (needed == 0) return true;
  if (needed < 0) return has_no_attributes(errno);
  std::vector<char> text(kMaxNamesBytes);
  const ssize_t size = ::listxattr(path.text(), text.data(), text.size());
  if (size < 0) return false;
  for (const char* at = text.data(); at < text.data() + size; at += std::strlen(at) + 1) names->emplace_back(at);
  return true;
}

bool copy_attribute(const DescriptorPath& from, const DescriptorPath& to, const std::string& name) {
  std::vector<char> value(kMaxValueBytes);
  const ssize_t size = ::getxattr(from.text(), name.c_str(), value.data(), value.size());
  if (size < 0) return errno == ENODATA || is_optional(name);
  return ::setxattr(to.text(), name.c_str(), value.data(), static_cast<size_t>(size), 0) == 0 || is_optional(name);
}

bool copy_extended(int from, int to) {
  const DescriptorPath from_path(from), to_path(to);
  std::vector<std::string> wanted, present;
  if (!names_of(from_path, &wanted) || !names_of(to_path, &present)) return false;
  for (const std::string& name : present) {
    // Inherited where the upload was made.
    const bool is_wanted = std::find(wanted.begin(), wanted.end(), name) != wanted.end();
    if (!is_wanted && ::removexattr(to_path.text(), name.c_str()) != 0 && !is_optional(name)) return false;
  }
  for (const std::string& name : wanted) {
    if (!goes_with_contents(name) && !copy_attribute(from_path, to_path, name)) return false;
  }
  return true;
}

// As posix_acl_xattr_header and posix_acl_xattr_entry of the kernel, little-endian.
constexpr size_t kListHeaderBytes = 4;
constexpr size_t kListEntryBytes = 8;
constexpr size_t kPermissionsOffset = 2;
constexpr unsigned char kReadWrite = 06;
enum ListTag : unsigned char { kUserObject = 0x01, kGroupObject = 0x04, kMask = 0x10, kOther = 0x20 };

// What the kernel makes of a default list for a file of mode 0666 (posix_acl_create_masq).
void mask_list(unsigned char* list, size_t size) {
  unsigned char* group = nullptr;
  unsigned char* mask = nullptr;
  for (size_t at = kListHeaderBytes; at + kListEntryBytes <= size; at += kListEntryBytes) {
    unsigned char* permissions = list + at + kPermissionsOffset;
    const unsigned char tag = list[at];
    if (tag == kUserObject || tag == kOther) *permissions &= kReadWrite;
    if (tag == kGroupObject) group = permissions;
    if (tag == kMask) mask = permissions;
  }
  unsigned char* bounds = mask != nullptr ? mask : group;
  if (bounds != nullptr) *bounds &= kReadWrite;
}

}  // namespace

DescriptorPath::DescriptorPath(int fd) noexcept { std::snprintf(text_, sizeof text_, "/proc/self/fd/%d", fd); }

mode_t mode_after_write(mode_t mode) noexcept {
  const mode_t without_user = mode & kPermissionBits & ~static_cast<mode_t>(S_ISUID);
  // Without the group's right to execute the bit once stood for mandatory locks, and stays.
  return (mode & S_IXGRP) != 0 ? without_user & ~static_cast<mode_t>(S_ISGID) : without_user;
}

bool copy_attributes(int from, const struct stat& present, int to) {
  struct stat made;
  if (::fstat(to, &made) != 0) return false;
  const bool is_owners = made.st_uid == present.st_uid && made.st_gid == present.st_gid;
  if (!is_owners && ::fchown(to, present.st_uid, present.st_gid) != 0) return false;
  if (!copy_extended(from, to)) return false;
  // Last: a change of owner takes set-id bits away, and a list sets the mode's bits of the group.
  return ::fchmod(to, mode_after_write(present.st_mode)) == 0;
}

void inherit_attributes(int directory, int to) {
  struct stat parent;
  if (::fstat(directory, &parent) != 0) return;
  if ((parent.st_mode & S_ISGID) != 0 && ::fchown(to, static_cast<uid_t>(-1), parent.st_gid) != 0) return;
  const DescriptorPath path(directory);
  // Most directories have none.
  if (::getxattr(path.text(), kDefaultList, nullptr, 0) <= 0) return;
  std::vector<unsigned char> list(kMaxValueBytes);
  const ssize_t size = ::getxattr(path.text(), kDefaultList, list.data(), list.size());
  if (size <= 0) return;
  mask_list(list.data(), static_cast<size_t>(size));
  ::setxattr(DescriptorPath(to).text(), kAccessList, list.data(), static_cast<size_t>(size), 0);
}

}  // namespace ovfsd
