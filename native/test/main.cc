// Runs every test, or those whose name contains the first argument.
#include <signal.h>

#include <chrono>
#include <cstdio>
#include <cstring>

#include "check.h"

int main(int argc, char** argv) {
  using Clock = std::chrono::steady_clock;
  // As Node does; the device itself sends with MSG_NOSIGNAL.
  ::signal(SIGPIPE, SIG_IGN);
  int failed = 0;
  int ran = 0;
  for (const auto& test : ovfsd::test::test_cases()) {
    if (argc > 1 && std::strstr(test.name, argv[1]) == nullptr) continue;
    ++ran;
    const auto start = Clock::now();
    try {
      test.run();
      const auto ms = std::chrono::duration_cast<std::chrono::milliseconds>(Clock::now() - start).count();
      std::printf("ok      %s (%lld ms)\n", test.name, static_cast<long long>(ms));
    } catch (const std::exception& error) {
      ++failed;
      std::printf("FAILED  %s\n        %s\n", test.name, error.what());
    }
    std::fflush(stdout);
  }
  std::printf("%d tests, %d failed\n", ran, failed);
  return failed == 0 && ran > 0 ? 0 : 1;
}
