// What is measured, with its preparation: the tree of files, the list of measurements, one round of one of them.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "closed_loop.h"
#include "target.h"

namespace ovfs_bench {

struct SuiteOptions {
  double seconds = 1;
  double warm_up_seconds = 0.3;
  uint32_t halt_poll_us = LoopOptions{}.halt_poll_us;
  uint64_t file_bytes = 64ull << 20;
  uint64_t directory_entries = 10000;
  // Files that getattr, lookup and open-read-close take in turn.
  uint64_t small_files = 1000;
};

struct MeasurementName {
  std::string work;
  unsigned depth;
};

struct Outcome {
  Measurement measurement;
  uint64_t items_per_operation = 1;
  uint64_t bytes_per_operation = 0;
  // What the FLUSH after the writes took; 0 where nothing was written.
  double flush_seconds = 0;
};

// In the order in which they are run.
std::vector<MeasurementName> all_measurements();

// A daemon with the nodeids of its view of the tree.
class Subject {
 public:
  // `base`: directory below the mount's root, parts separated by "/"; empty for the root itself.
  Subject(std::string name, const std::string& socket_path, const std::string& base, SuiteOptions options);

  // Make the tree, unless a complete one of the same sizes is there.
  void prepare();
  // Look up what prepare made.
  void open_tree();
  // One round.
  Outcome measure(const MeasurementName& name);

  [[nodiscard]] Target& target() { return target_; }

 private:
  Measurement loop(Work& work, unsigned depth, double seconds);
  Outcome run(Work& work, unsigned depth);
  Outcome measure_lookup(unsigned depth);
  Outcome measure_transfer(bool write, uint32_t block_bytes, bool random, unsigned depth);
  Outcome measure_create(unsigned depth);
  Outcome measure_unlink(unsigned depth);
  Outcome measure_list();
  // A new one below the target's own. What is made in it stays: see `all_measurements`.
  uint64_t make_empty_directory();
  void store_everything();

  SuiteOptions options_;
  Target target_;
  uint64_t base_ = 0;
  uint64_t files_directory_ = 0;
  std::vector<uint64_t> files_;
  std::vector<std::string> file_names_;
  uint64_t large_ = 0;
  uint64_t writable_ = 0;
  uint64_t own_directory_ = 0;
  uint64_t created_directories_ = 0;
  uint64_t many_ = 0;
};

}  // namespace ovfs_bench
