// Results of host_directory.h and host_file.h for JavaScript. Part of the N-API glue.
#pragma once

#include <napi.h>

#include <cerrno>
#include <string>
#include <system_error>

#include "host_directory.h"
#include "napi_error.h"

namespace ovfsd {

/// An error with `code`; with `leadsOut` where a link was met that leads out of the directory, or may, and `cannotConfine` without openat2.
inline Napi::Error host_error(Napi::Env env, int error, const std::string& what) {
  const int code = error == kLeadsOut ? EXDEV : error == kCannotConfine ? ENOSYS : error == kNoRoot ? EIO : error;
  const std::string where = error == kNoRoot ? what + ": the mount's root is missing" : what;
  Napi::Error result = to_js_error(env, std::system_error(code, std::system_category(), where));
  if (error == kLeadsOut) result.Set("leadsOut", Napi::Boolean::New(env, true));
  if (error == kCannotConfine) result.Set("cannotConfine", Napi::Boolean::New(env, true));
  return result;
}

inline Napi::Object host_stat_object(Napi::Env env, const HostStat& stat) {
  Napi::Object result = Napi::Object::New(env);
  result.Set("kind", Napi::Number::New(env, static_cast<double>(stat.kind)));
  result.Set("seconds", Napi::Number::New(env, static_cast<double>(stat.mtime_seconds)));
  result.Set("nanoseconds", Napi::Number::New(env, static_cast<double>(stat.mtime_nanoseconds)));
  result.Set("sizeBytes", Napi::Number::New(env, static_cast<double>(stat.size)));
  result.Set("version", Napi::String::New(env, stat.version));
  return result;
}

}  // namespace ovfsd
