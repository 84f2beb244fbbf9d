#include "landlock.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdlib>
#include <memory>

#include "fault.h"

namespace ovfsd::launcher {
namespace {

// As in linux/landlock.h; the numbers are the same for all architectures.
constexpr long kCreateRuleset = 444;
constexpr long kAddRule = 445;
constexpr long kRestrictSelf = 446;
constexpr unsigned kGetVersion = 1;
constexpr unsigned kGetErrata = 2;
/// The third: files in directories that are not known yet.
constexpr long kErratumDisconnected = 1 << 2;
constexpr int kPathBeneath = 1;

constexpr LandlockRights right(int number) { return LandlockRights{1} << number; }
constexpr LandlockRights kExecute = right(0);
constexpr LandlockRights kWriteFile = right(1);
constexpr LandlockRights kReadFile = right(2);
/// EXECUTE to MAKE_SYM.
constexpr LandlockRights kFirst = right(13) - 1;
/// Linking and renaming to another directory, which the first version refuses in any case.
constexpr LandlockRights kRefer = right(13);
constexpr LandlockRights kTruncate = right(14);
constexpr LandlockRights kIoctlDevice = right(15);
constexpr uint64_t kScopeAbstractSocket = 1;
constexpr uint64_t kScopeSignal = 2;

constexpr int kAbiRefer = 2;
constexpr int kAbiTruncate = 3;
constexpr int kAbiNetwork = 4;
constexpr int kAbiIoctl = 5;
constexpr int kAbiScopes = 6;

struct RulesetAttributes {
  uint64_t files;
  uint64_t network;
  uint64_t scopes;
};

struct __attribute__((packed)) PathRule {
  uint64_t rights;
  int32_t file;
};

/// Older kernels refuse a longer structure than they know.
size_t bytes_of_attributes(int abi) { return sizeof(uint64_t) * (abi >= kAbiScopes ? 3 : abi >= kAbiNetwork ? 2 : 1); }

/// This kernel's; 0: none.
int landlock_abi() {
  const long abi = ::syscall(kCreateRuleset, nullptr, 0, kGetVersion);
  return abi < 0 ? 0 : static_cast<int>(abi);
}

bool add_rule(const UniqueFd& ruleset, int file, LandlockRights rights) {
  const PathRule rule = {rights, file};
  return ::syscall(kAddRule, ruleset.get(), kPathBeneath, &rule, 0) == 0;
}

/// Such a file can be opened anew through /proc/self/fd: a configuration, for one.
void allow_open_files(const UniqueFd& ruleset, LandlockRights handled) {
  const std::unique_ptr<DIR, int (*)(DIR*)> directory(::opendir("/proc/self/fd"), ::closedir);
  if (directory == nullptr) fail("/proc/self/fd");
  while (const dirent* entry = ::readdir(directory.get())) {
    const int file = std::atoi(entry->d_name);
    struct stat found = {};
    if (entry->d_name[0] == '.' || ::fstat(file, &found) != 0 || S_ISDIR(found.st_mode)) continue;
    const int mode = ::fcntl(file, F_GETFL) & O_ACCMODE;
    const LandlockRights rights = (mode == O_WRONLY ? 0 : kReadFile) | (mode == O_RDONLY ? 0 : kWriteFile | kTruncate);
    // Pipes and sockets lie in no tree, are refused here, and can be opened.
    add_rule(ruleset, file, rights & handled);
  }
}

}  // namespace

LandlockAbility landlock_ability(int abi) {
  LandlockAbility ability;
  // No file could be moved to another directory.
  if (abi < kAbiRefer) return ability;
  ability.files = kFirst | kRefer;
  if (abi >= kAbiTruncate) ability.files |= kTruncate;
  if (abi >= kAbiIoctl) ability.files |= kIoctlDevice;
  if (abi >= kAbiScopes) ability.scopes = kScopeAbstractSocket | kScopeSignal;
  return ability;
}

bool can_confine(bool opens_by_handle) {
  if (landlock_ability(landlock_abi()).files == 0) return false;
  if (!opens_by_handle) return true;
  const long errata = ::syscall(kCreateRuleset, nullptr, 0, kGetErrata);
  return errata > 0 && (errata & kErratumDisconnected) != 0;
}

void confine_to(const UniqueFd& tree, const std::vector<std::string>& programs) {
  const int abi = landlock_abi();
  const LandlockAbility ability = landlock_ability(abi);
  const RulesetAttributes attributes = {ability.files, 0, ability.scopes};
  const UniqueFd ruleset(
      static_cast<int>(must(::syscall(kCreateRuleset, &attributes, bytes_of_attributes(abi), 0), "landlock")));
  if (!add_rule(ruleset, tree.get(), ability.files & ~(kExecute | kIoctlDevice))) fail("landlock: the root");
  for (const std::string& path : programs) {
    const UniqueFd program(::open(path.c_str(), O_PATH | O_CLOEXEC));
    if (program && !add_rule(ruleset, program.get(), kExecute | kReadFile)) fail("landlock: " + path);
  }
  allow_open_files(ruleset, ability.files);
  must(::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "PR_SET_NO_NEW_PRIVS");
  must(::syscall(kRestrictSelf, ruleset.get(), 0), "landlock");
}

}  // namespace ovfsd::launcher
