#include "suite.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <map>
#include <sstream>
#include <stdexcept>

#include "works.h"

namespace ovfs_bench {

namespace {

constexpr uint64_t kRoot = FUSE_ROOT_ID;
constexpr uint32_t kSmallBlock = 4096;
// A daemon may hold an fd for every inode the guest knows; with the tree's this stays below 20,000, a common hard limit.
constexpr uint64_t kMaxCreated = 12000;
constexpr uint64_t kWarmUpCreated = 2000;
constexpr unsigned kTransferDepth = 4;
constexpr unsigned kPreparationDepth = 16;
// A bound for what ends by itself.
constexpr double kPreparationSeconds = 60;

const char* const kTreeName = "ovfs-bench-tree";
const char* const kFilesName = "files";
const char* const kLargeName = "large";
const char* const kManyName = "many";

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

std::vector<fuse_forget_one> once_each(const std::vector<uint64_t>& nodeids) {
  std::map<uint64_t, uint64_t> counts;
  for (const uint64_t nodeid : nodeids) ++counts[nodeid];
  std::vector<fuse_forget_one> items;
  for (const auto& [nodeid, count] : counts) items.push_back({nodeid, count});
  return items;
}

}  // namespace

std::vector<MeasurementName> all_measurements() {
  return {{"getattr", 1},       {"getattr", 16},      {"lookup", 1},           {"lookup", 16},
          {"read-4k", 1},       {"read-4k", 16},      {"write-4k", 1},         {"write-4k", 16},
          {"read-1m", kTransferDepth}, {"write-1m", kTransferDepth},
          {"open-read-close", 1}, {"open-read-close", 16},
          // ext4 looks through the inodes that were freed in the last five minutes before it gives out one: what is
          // removed comes after all that is made.
          {"create", 1},        {"create", 16},       {"unlink", 1},           {"unlink", 16},
          {"readdirplus", 1}};
}

Subject::Subject(std::string name, const std::string& socket_path, const std::string& base, SuiteOptions options)
    : options_(options), target_(std::move(name), socket_path), base_(kRoot) {
  std::istringstream parts(base);
  for (std::string part; std::getline(parts, part, '/');) {
    if (!part.empty()) base_ = target_.lookup(base_, part);
  }
}

void Subject::prepare() {
  // The marker is made last and names the sizes.
  const std::string marker =
      "ready-" + std::to_string(options_.small_files) + "-" + std::to_string(options_.file_bytes) + "-" +
      std::to_string(options_.directory_entries);
  const uint64_t tree = target_.make_directory(base_, kTreeName);
  try {
    target_.lookup(tree, marker);
    return;
  } catch (const FuseFailure& failure) {
    if (failure.error() != ENOENT) throw;
  }
  std::vector<uint64_t> made;
  const uint64_t files = target_.make_directory(tree, kFilesName);
  for (uint64_t i = 0; i < options_.small_files; ++i) made.push_back(target_.make_file(files, numbered("file", i), kSmallBlock));
  target_.make_file(tree, kLargeName, options_.file_bytes);
  const uint64_t many = target_.make_directory(tree, kManyName);
  for (uint64_t i = 0; i < options_.directory_entries; ++i) made.push_back(target_.make_file(many, numbered("entry", i), 0));
  target_.make_file(tree, marker, 0);
  target_.forget(once_each(made));
}

void Subject::open_tree() {
  const uint64_t tree = target_.lookup(base_, kTreeName);
  files_directory_ = target_.lookup(tree, kFilesName);
  for (uint64_t i = 0; i < options_.small_files; ++i) {
    file_names_.push_back(numbered("file", i));
    files_.push_back(target_.lookup(files_directory_, file_names_.back()));
  }
  large_ = target_.lookup(tree, kLargeName);
  many_ = target_.lookup(tree, kManyName);
  // Every daemon writes to files of its own, so that none meets another's changes.
  const std::string own = "own-" + target_.name();
  own_directory_ = target_.make_directory(base_, own);
  writable_ = target_.make_file(own_directory_, "large", options_.file_bytes);
}

uint64_t Subject::make_empty_directory() {
  const std::string name = "created-" + std::to_string(getpid());
  return target_.make_directory(own_directory_, numbered(name, created_directories_++));
}

Measurement Subject::loop(Work& work, unsigned depth, double seconds) {
  return run_closed_loop(target_, work, depth, {.seconds = seconds, .halt_poll_us = options_.halt_poll_us});
}

Outcome Subject::run(Work& work, unsigned depth) {
  if (options_.warm_up_seconds > 0) loop(work, depth, options_.warm_up_seconds);
  Outcome outcome;
  outcome.measurement = loop(work, depth, options_.seconds);
  outcome.items_per_operation = work.items_per_operation();
  outcome.bytes_per_operation = work.bytes_per_operation();
  return outcome;
}

Outcome Subject::measure_lookup(unsigned depth) {
  LookupWork work(files_directory_, file_names_);
  const Outcome outcome = run(work, depth);
  std::vector<fuse_forget_one> items;
  for (size_t i = 0; i < files_.size(); ++i) {
    if (work.lookups()[i] > 0) items.push_back({files_[i], work.lookups()[i]});
  }
  target_.forget(items);
  return outcome;
}

Outcome Subject::measure_transfer(bool write, uint32_t block_bytes, bool random, unsigned depth) {
  const uint64_t nodeid = write ? writable_ : large_;
  const TransferWork::File file{nodeid, target_.open(nodeid, write ? O_RDWR : O_RDONLY), options_.file_bytes};
  if (!write) {
    // Hot: once through the whole file before anything is timed.
    TransferWork through(file, false, target_.max_io_bytes(), false, file.size_bytes / target_.max_io_bytes());
    loop(through, kTransferDepth, kPreparationSeconds);
  }
  TransferWork work(file, write, block_bytes, random);
  Outcome outcome = run(work, depth);
  const auto start = std::chrono::steady_clock::now();
  target_.flush(nodeid, file.fh);
  if (write) outcome.flush_seconds = seconds_since(start);
  target_.release(nodeid, file.fh);
  return outcome;
}

// What is written back later would be at the next daemon's expense.
void Subject::store_everything() {
  try {
    target_.syncfs();
  } catch (const FuseFailure& failure) {
    if (failure.error() != ENOSYS) throw;
  }
}

Outcome Subject::measure_create(unsigned depth) {
  const uint64_t directory = make_empty_directory();
  CreateWork warm_up(directory, 0, kWarmUpCreated);
  loop(warm_up, depth, options_.warm_up_seconds);
  CreateWork work(directory, kWarmUpCreated, kMaxCreated);
  Outcome outcome;
  outcome.measurement = loop(work, depth, options_.seconds);
  outcome.bytes_per_operation = work.bytes_per_operation();
  target_.forget(once_each(warm_up.nodeids()));
  target_.forget(once_each(work.nodeids()));
  store_everything();
  return outcome;
}

Outcome Subject::measure_unlink(unsigned depth) {
  const uint64_t directory = make_empty_directory();
  CreateWork create(directory, 0, kMaxCreated);
  loop(create, kPreparationDepth, options_.seconds);
  UnlinkWork work(directory, 0, create.end());
  Outcome outcome;
  outcome.measurement = loop(work, depth, options_.seconds);
  target_.forget(once_each(create.nodeids()));
  return outcome;
}

Outcome Subject::measure_list() {
  ListWork work(many_, options_.directory_entries);
  const Outcome outcome = run(work, 1);
  target_.forget(once_each(work.looked_up()));
  return outcome;
}

Outcome Subject::measure(const MeasurementName& name) {
  const auto& [what, depth] = name;
  if (what == "getattr") {
    GetattrWork work(files_);
    return run(work, depth);
  }
  if (what == "open-read-close") {
    // Hot: every file once before anything is timed.
    OpenReadWork through(files_, files_.size());
    loop(through, kPreparationDepth, kPreparationSeconds);
    OpenReadWork work(files_);
    return run(work, depth);
  }
  if (what == "lookup") return measure_lookup(depth);
  if (what == "read-4k") return measure_transfer(false, kSmallBlock, true, depth);
  if (what == "write-4k") return measure_transfer(true, kSmallBlock, true, depth);
  if (what == "read-1m") return measure_transfer(false, target_.max_io_bytes(), false, depth);
  if (what == "write-1m") return measure_transfer(true, target_.max_io_bytes(), false, depth);
  if (what == "create") return measure_create(depth);
  if (what == "unlink") return measure_unlink(depth);
  if (what == "readdirplus") return measure_list();
  throw std::invalid_argument("no such work: " + what);
}

}  // namespace ovfs_bench
