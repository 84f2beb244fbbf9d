// A test framework of one screen: TEST registers, CHECK throws.
#pragma once

#include <functional>
#include <sstream>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <vector>

namespace ovfsd::test {

struct TestCase {
  const char* name;
  std::function<void()> run;
};

inline std::vector<TestCase>& test_cases() {
  static std::vector<TestCase> cases;
  return cases;
}

struct Registration {
  Registration(const char* name, std::function<void()> run) { test_cases().push_back({name, std::move(run)}); }
};

class CheckFailed : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

[[noreturn]] inline void fail(const char* file, int line, const std::string& what) {
  throw CheckFailed(std::string(file) + ":" + std::to_string(line) + ": " + what);
}

template <typename A, typename B>
void check_equal(const A& actual, const B& expected, const char* text, const char* file, int line) {
  if (actual == expected) return;
  std::ostringstream message;
  if constexpr (std::is_arithmetic_v<A>) {
    message << text << ": got " << +actual << ", expected " << +expected;  // + shows a byte as a number
  } else {
    message << text << ": got \"" << actual << "\", expected \"" << expected << '"';
  }
  fail(file, line, message.str());
}

}  // namespace ovfsd::test

#define OVFSD_JOIN2(a, b) a##b
#define OVFSD_JOIN(a, b) OVFSD_JOIN2(a, b)
#define TEST_NAMED(name, function)                                                              \
  static void function();                                                                       \
  static const ::ovfsd::test::Registration OVFSD_JOIN(function, _registration){name, function}; \
  static void function()
#define TEST(name) TEST_NAMED(name, OVFSD_JOIN(test_at_line_, __LINE__))
#define CHECK(condition)                                                   \
  do {                                                                     \
    if (!(condition)) ::ovfsd::test::fail(__FILE__, __LINE__, #condition); \
  } while (false)
#define CHECK_EQ(actual, expected) ::ovfsd::test::check_equal(actual, expected, #actual, __FILE__, __LINE__)
