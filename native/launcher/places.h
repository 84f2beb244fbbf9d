// What of the host every daemon needs, whatever it serves.
#pragma once

#include <string>
#include <vector>

#include "command_line.h"
#include "root.h"

namespace ovfsd::launcher {

/// `node` and `script` without links.
std::vector<Place> places_of_daemon(const std::string& node, const std::string& script, const CommandLine& line);

struct Link {
  std::string path;
  std::string target;
};

/// /lib, /dev/stdin... as the host has them. To be called before `Root` is made.
std::vector<Link> links_of_host();

/// To be called inside. @throws std::system_error
void make_links(const std::vector<Link>& links);

}  // namespace ovfsd::launcher
