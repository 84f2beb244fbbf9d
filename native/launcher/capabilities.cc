#include "capabilities.h"

#include <linux/capability.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <stdexcept>
#include <string>

#include "fault.h"

namespace ovfsd::launcher {
namespace {

constexpr CapabilitySet bit(int capability) { return CapabilitySet{1} << capability; }

/// By number.
constexpr std::array<std::string_view, 41> kNames = {"chown",
                                                     "dac_override",
                                                     "dac_read_search",
                                                     "fowner",
                                                     "fsetid",
                                                     "kill",
                                                     "setgid",
                                                     "setuid",
                                                     "setpcap",
                                                     "linux_immutable",
                                                     "net_bind_service",
                                                     "net_broadcast",
                                                     "net_admin",
                                                     "net_raw",
                                                     "ipc_lock",
                                                     "ipc_owner",
                                                     "sys_module",
                                                     "sys_rawio",
                                                     "sys_chroot",
                                                     "sys_ptrace",
                                                     "sys_pacct",
                                                     "sys_admin",
                                                     "sys_boot",
                                                     "sys_nice",
                                                     "sys_resource",
                                                     "sys_time",
                                                     "sys_tty_config",
                                                     "mknod",
                                                     "lease",
                                                     "audit_write",
                                                     "audit_control",
                                                     "setfcap",
                                                     "mac_override",
                                                     "mac_admin",
                                                     "syslog",
                                                     "wake_alarm",
                                                     "block_suspend",
                                                     "audit_read",
                                                     "perfmon",
                                                     "bpf",
                                                     "checkpoint_restore"};

int number_of(std::string_view written) {
  std::string name(written);
  std::ranges::transform(name, name.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  if (name.starts_with("cap_")) name.erase(0, 4);
  const auto found = std::ranges::find(kNames, name);
  if (found == kNames.end()) throw std::invalid_argument("there is no capability \"" + std::string(written) + "\"");
  return static_cast<int>(found - kNames.begin());
}

}  // namespace

const CapabilitySet kDaemonCapabilities = bit(CAP_CHOWN) | bit(CAP_DAC_OVERRIDE) | bit(CAP_FOWNER) | bit(CAP_FSETID) |
                                          bit(CAP_SETGID) | bit(CAP_SETUID) | bit(CAP_MKNOD) | bit(CAP_SETFCAP);

CapabilitySet capabilities_of(std::string_view modcaps) {
  CapabilitySet set = kDaemonCapabilities;
  for (size_t start = 0; start < modcaps.size();) {
    const size_t end = std::min(modcaps.find(':', start), modcaps.size());
    const std::string_view item = modcaps.substr(start, end - start);
    if (item.size() < 2 || (item[0] != '+' && item[0] != '-')) {
      throw std::invalid_argument("expected +NAME or -NAME, found \"" + std::string(item) + "\"");
    }
    const CapabilitySet one = bit(number_of(item.substr(1)));
    set = item[0] == '+' ? set | one : set & ~one;
    start = end + 1;
  }
  return set;
}

bool has_capability(CapabilitySet set, int capability) noexcept { return (set & bit(capability)) != 0; }

bool can_make_namespaces() {
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3]{};
  return ::syscall(SYS_capget, &header, data) == 0 && (data[0].effective & bit(CAP_SYS_ADMIN)) != 0;
}

void keep_capabilities(CapabilitySet kept) {
  // Numbers that the kernel does not know end the loop.
  for (int capability = 0; ::prctl(PR_CAPBSET_READ, capability, 0, 0, 0) >= 0; capability++) {
    if ((kept & bit(capability)) != 0) continue;
    // Without CAP_SETPCAP there is nothing to cut: no_new_privs below keeps what is not held from coming.
    if (::prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) != 0 && errno != EPERM) fail("PR_CAPBSET_DROP");
  }
  if (::prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) != 0 && errno != EINVAL) fail("PR_CAP_AMBIENT");
  const bool is_passed_on = ::geteuid() != 0;
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3]{};
  must(::syscall(SYS_capget, &header, data), "capget");
  for (int half = 0; half < _LINUX_CAPABILITY_U32S_3; half++) {
    const auto mask = static_cast<uint32_t>(kept >> (32 * half));
    data[half].permitted &= mask;
    data[half].effective = data[half].permitted;
    data[half].inheritable = is_passed_on ? data[half].permitted : 0;
  }
  must(::syscall(SYS_capset, &header, data), "capset");
  for (int capability = 0; is_passed_on && capability <= CAP_LAST_CAP; capability++) {
    if ((data[capability / 32].permitted & (1u << (capability % 32))) == 0) continue;
    must(::prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, capability, 0, 0), "PR_CAP_AMBIENT_RAISE");
  }
  must(::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "PR_SET_NO_NEW_PRIVS");
}

}  // namespace ovfsd::launcher
