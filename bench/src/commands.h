// The generator under somebody else's direction: one command a line in, one JSON object a line out.
#pragma once

#include <cstdint>
#include <istream>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "closed_loop.h"
#include "target.h"

namespace ovfs_bench {

// Paths are relative to the target's base and name what is there already, but for the file that `write` makes. Words are
// separated by blanks, which no path may have.
inline constexpr char kCommandsHelp[] =
    "  read TARGET PATH BYTES DEPTH      LOOKUP, OPEN, 1 MiB READs in order; RELEASE after the clock has stopped\n"
    "  write TARGET PATH BYTES DEPTH     CREATE, 1 MiB WRITEs in order, FSYNC, FLUSH, RELEASE\n"
    "  create TARGET DIR COUNT BYTES     files f-0000000... one at a time: LOOKUP, CREATE, WRITE, FLUSH, RELEASE\n"
    "  create+sync TARGET DIR COUNT BYTES  and SYNCFS after the last one\n"
    "  list TARGET DIR COUNT             OPENDIR, READDIRPLUS to the end, RELEASEDIR; there must be COUNT entries\n"
    "  read-files TARGET DIR COUNT BYTES LOOKUP, OPEN, READ, FLUSH, RELEASE, one file at a time\n"
    "  unlink TARGET DIR COUNT           UNLINK of files that `create` made, one at a time\n";

class CommandedTarget {
 public:
  CommandedTarget(const std::string& name, const std::string& socket_path, const std::string& base);

  // `words`: the command and what follows the target's name. Throws std::invalid_argument, FuseFailure.
  Measurement run(const std::vector<std::string>& words);

 private:
  uint64_t resolve(const std::string& path);
  // The nodeid of the file's directory, and the file's name.
  std::pair<uint64_t, std::string> split(const std::string& path);
  Measurement loop(Work& work, unsigned depth);
  Measurement read(const std::string& path, uint64_t bytes, unsigned depth);
  Measurement write(const std::string& path, uint64_t bytes, unsigned depth);
  Measurement create(const std::string& directory, uint64_t count, uint32_t bytes, bool sync);
  Measurement unlink(const std::string& directory, uint64_t count);
  void forget(const std::vector<uint64_t>& nodeids);

  Target target_;
  uint64_t base_;
  // By directory, what `create` made there; forgotten when it is unlinked.
  std::map<std::string, std::vector<uint64_t>> created_;
};

// Until `input` ends. A command that fails is answered with its error, and the next one is read.
void run_commands(std::istream& input, std::map<std::string, std::unique_ptr<CommandedTarget>>& targets);

std::string json_string(const std::string& text);

}  // namespace ovfs_bench
