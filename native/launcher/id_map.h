// Which users or groups of the host are which inside a user namespace: virtiofsd's --uid-map and --gid-map.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <vector>

namespace ovfsd::launcher {

struct IdRange {
  uint32_t inside;
  uint32_t outside;
  uint32_t count;
};

using IdMap = std::vector<IdRange>;

/// Each of `written` is ":INSIDE:OUTSIDE:COUNT:", with any character for the colon. `option` is for the message.
/// @throws std::invalid_argument saying what is wrong
IdMap id_map_of(const std::vector<std::string>& written, const std::string& option);

/// As the kernel and newuidmap take it, by numbers: INSIDE OUTSIDE COUNT of each range.
std::vector<std::string> numbers_of(const IdMap& map);

/// As the daemon has understood the option, too: "INSIDE:OUTSIDE:COUNT,..."; "-": not given.
std::string text_of(const IdMap& map);

bool has_inside(const IdMap& map, uint32_t id) noexcept;
bool has_outside(const IdMap& map, uint32_t id) noexcept;

/// One that nobody needs a right for.
bool is_own(const IdMap& map, uint32_t own) noexcept;

}  // namespace ovfsd::launcher
