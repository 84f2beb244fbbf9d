// From C++ errors to JavaScript errors. Part of the N-API glue.
#pragma once

#include <napi.h>
#include <uv.h>

#include <cerrno>
#include <string>
#include <system_error>

namespace ovfsd {

/// The names that libuv has, and one that it lacks.
/// libuv does not know all of Linux's.
inline const char* error_name(int error) {
  switch (error) {
    case ESTALE:
      return "ESTALE";
    case EDQUOT:
      return "EDQUOT";
    default:
      return uv_err_name(-error);
  }
}

/// An Error with `code` ("EADDRINUSE") and `errno`, as Node's own system errors have.
inline Napi::Error to_js_error(Napi::Env env, const std::system_error& error) {
  Napi::Error result = Napi::Error::New(env, error.what());
  result.Set("code", Napi::String::New(env, error_name(error.code().value())));
  result.Set("errno", Napi::Number::New(env, -error.code().value()));
  return result;
}

inline Napi::Error range_error(Napi::Env env, const std::string& message) {
  return Napi::RangeError::New(env, message);
}

}  // namespace ovfsd
