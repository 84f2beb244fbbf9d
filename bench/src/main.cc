// ovfs-bench: times vhost-user-fs daemons on the same work, in turns. One JSON object a line on standard output.

#include <getopt.h>

#include <cstdio>
#include <cstdlib>
#include <exception>
#include <iostream>
#include <map>
#include <memory>
#include <sstream>
#include <string>
#include <vector>

#include "commands.h"
#include "suite.h"

namespace {

using namespace ovfs_bench;

struct TargetArguments {
  std::string name;
  std::string socket;
  std::string base;
};

struct Arguments {
  std::vector<TargetArguments> targets;
  std::vector<std::string> only;
  unsigned rounds = 3;
  SuiteOptions suite;
  bool commands = false;
};

constexpr char kUsage[] =
    "usage: ovfs-bench --target NAME --socket PATH [--base DIR] [--target ...] [options]\n"
    "  --target NAME     a daemon; --socket and --base that follow are its own\n"
    "  --socket PATH     its vhost-user socket\n"
    "  --base DIR        directory below the mount's root to work in (default: the root)\n"
    "  --only W,W        only these works, as getattr,read-4k or getattr@16 (default: all)\n"
    "  --seconds S       time of one measurement (default 1)\n"
    "  --warm-up S       time before it that does not count (default 0.3)\n"
    "  --halt-poll-us N  with several in flight, look at the used ring this long before sleeping (default 50)\n"
    "  --rounds N        measurements of each (default 3)\n"
    "  --file-mib N      size of the file read and written (default 64)\n"
    "  --files N         small files taken in turn (default 1000)\n"
    "  --entries N       entries of the listed directory (default 10000)\n"
    "  --list            print the measurements' names and exit\n"
    "  --commands        read commands from standard input instead:\n";
constexpr char kTreeHelp[] = "Without --commands the last target prepares the tree of files, where it is missing.\n";

void print_usage(std::FILE* stream) { std::fprintf(stream, "%s%s%s", kUsage, kCommandsHelp, kTreeHelp); }

[[noreturn]] void fail(const std::string& message) {
  std::fprintf(stderr, "ovfs-bench: %s\n", message.c_str());
  std::exit(2);
}

double positive(const char* text, const char* option) {
  char* end = nullptr;
  const double value = std::strtod(text, &end);
  if (end == text || *end != '\0' || !(value >= 0)) fail(std::string(option) + " needs a number, not " + text);
  return value;
}

std::vector<std::string> split(const std::string& text) {
  std::vector<std::string> parts;
  std::istringstream stream(text);
  for (std::string part; std::getline(stream, part, ',');) parts.push_back(part);
  return parts;
}

std::string label(const MeasurementName& name) { return name.work + "@" + std::to_string(name.depth); }

void list_measurements() {
  for (const MeasurementName& name : all_measurements()) std::printf("%s\n", label(name).c_str());
}

TargetArguments& last_target(Arguments& arguments) {
  if (arguments.targets.empty()) fail("--target comes before --socket and --base");
  return arguments.targets.back();
}

Arguments parse(int argc, char** argv) {
  static const option kOptions[] = {
      {"target", required_argument, nullptr, 't'},  {"socket", required_argument, nullptr, 's'},
      {"base", required_argument, nullptr, 'b'},    {"only", required_argument, nullptr, 'o'},
      {"seconds", required_argument, nullptr, 'S'}, {"warm-up", required_argument, nullptr, 'w'},
      {"rounds", required_argument, nullptr, 'r'},  {"file-mib", required_argument, nullptr, 'f'},
      {"entries", required_argument, nullptr, 'e'}, {"files", required_argument, nullptr, 'n'},
      {"halt-poll-us", required_argument, nullptr, 'p'},
      {"commands", no_argument, nullptr, 'c'},      {"list", no_argument, nullptr, 'l'},
      {"help", no_argument, nullptr, 'h'},          {nullptr, 0, nullptr, 0}};
  Arguments arguments;
  for (int option = 0; (option = getopt_long(argc, argv, "", kOptions, nullptr)) != -1;) {
    switch (option) {
      case 't':
        arguments.targets.push_back({optarg, "", ""});
        break;
      case 's':
        last_target(arguments).socket = optarg;
        break;
      case 'b':
        last_target(arguments).base = optarg;
        break;
      case 'o':
        arguments.only = split(optarg);
        break;
      case 'S':
        arguments.suite.seconds = positive(optarg, "--seconds");
        break;
      case 'w':
        arguments.suite.warm_up_seconds = positive(optarg, "--warm-up");
        break;
      case 'p':
        arguments.suite.halt_poll_us = static_cast<uint32_t>(positive(optarg, "--halt-poll-us"));
        break;
      case 'r':
        arguments.rounds = static_cast<unsigned>(positive(optarg, "--rounds"));
        break;
      case 'f':
        arguments.suite.file_bytes = static_cast<uint64_t>(positive(optarg, "--file-mib")) << 20;
        break;
      case 'e':
        arguments.suite.directory_entries = static_cast<uint64_t>(positive(optarg, "--entries"));
        break;
      case 'n':
        arguments.suite.small_files = static_cast<uint64_t>(positive(optarg, "--files"));
        break;
      case 'c':
        arguments.commands = true;
        break;
      case 'l':
        list_measurements();
        std::exit(0);
      case 'h':
        print_usage(stdout);
        std::exit(0);
      default:
        print_usage(stderr);
        std::exit(2);
    }
  }
  if (arguments.targets.empty()) fail("no --target");
  if (arguments.suite.file_bytes == 0) fail("--file-mib must be at least 1");
  if (arguments.suite.small_files == 0) fail("--files must be at least 1");
  for (const TargetArguments& target : arguments.targets) {
    if (target.socket.empty()) fail("--target " + target.name + " has no --socket");
  }
  return arguments;
}

std::vector<MeasurementName> chosen(const std::vector<std::string>& only) {
  std::vector<MeasurementName> names;
  std::vector<bool> used(only.size());
  for (const MeasurementName& name : all_measurements()) {
    bool wanted = only.empty();
    for (size_t i = 0; i < only.size(); ++i) {
      if (only[i] != name.work && only[i] != label(name)) continue;
      wanted = used[i] = true;
    }
    if (wanted) names.push_back(name);
  }
  for (size_t i = 0; i < only.size(); ++i) {
    if (!used[i]) fail("no such measurement: " + only[i] + " (see --list)");
  }
  return names;
}

void measure_once(Subject& subject, const MeasurementName& name, unsigned round) {
  std::printf("{\"target\":%s,\"work\":\"%s\",\"depth\":%u,\"round\":%u", json_string(subject.target().name()).c_str(),
              name.work.c_str(), name.depth, round);
  try {
    const Outcome outcome = subject.measure(name);
    const Measurement& m = outcome.measurement;
    const double rate = m.seconds > 0 ? static_cast<double>(m.operations) / m.seconds : 0;
    std::printf(",\"operations\":%llu,\"seconds\":%.6f,\"perSecond\":%.1f,\"bytesPerSecond\":%.0f",
                static_cast<unsigned long long>(m.operations), m.seconds,
                rate * static_cast<double>(outcome.items_per_operation),
                rate * static_cast<double>(outcome.bytes_per_operation));
    std::printf(",\"p50Us\":%.2f,\"p99Us\":%.2f,\"flushSeconds\":%.6f}\n", m.p50_us, m.p99_us, outcome.flush_seconds);
  } catch (const FuseFailure& failure) {
    // The daemon lives, it just can't do this one.
    std::printf(",\"error\":%s}\n", json_string(failure.what()).c_str());
  }
  std::fflush(stdout);
}

void run_commanded(const Arguments& arguments) {
  std::map<std::string, std::unique_ptr<CommandedTarget>> targets;
  for (const auto& [name, socket, base] : arguments.targets) {
    targets.emplace(name, std::make_unique<CommandedTarget>(name, socket, base));
  }
  run_commands(std::cin, targets);
}

void run(const Arguments& arguments) {
  const std::vector<MeasurementName> names = chosen(arguments.only);
  std::vector<std::unique_ptr<Subject>> subjects;
  for (const TargetArguments& target : arguments.targets) {
    subjects.push_back(std::make_unique<Subject>(target.name, target.socket, target.base, arguments.suite));
  }
  std::fprintf(stderr, "preparing the tree through %s\n", arguments.targets.back().name.c_str());
  subjects.back()->prepare();
  for (const auto& subject : subjects) subject->open_tree();
  for (const MeasurementName& name : names) {
    std::fprintf(stderr, "%s\n", label(name).c_str());
    for (unsigned round = 0; round < arguments.rounds; ++round) {
      // In turns, and not always in the same order: what the machine does at a time hits all alike.
      for (size_t i = 0; i < subjects.size(); ++i) {
        measure_once(*subjects[(round + i) % subjects.size()], name, round);
      }
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  try {
    const Arguments arguments = parse(argc, argv);
    if (arguments.commands) {
      run_commanded(arguments);
    } else {
      run(arguments);
    }
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "ovfs-bench: %s\n", error.what());
    return 1;
  }
}
