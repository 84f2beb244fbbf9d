// How the launcher says that it can't.
#pragma once

#include <cerrno>
#include <string>
#include <system_error>

namespace ovfsd::launcher {

[[noreturn]] inline void fail(const std::string& what) {
  throw std::system_error(errno, std::generic_category(), what);
}

/// What a system call returned, if that is no error.
template <class Result>
Result must(Result result, const std::string& what) {
  if (result < 0) fail(what);
  return result;
}

}  // namespace ovfsd::launcher
