#include "host_process_wrap.h"

#include <system_error>

#include "host_process.h"
#include "napi_error.h"

namespace ovfsd {

Napi::Value connect_datagram_call(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  if (info.Length() < 1 || !info[0].IsString()) throw Napi::TypeError::New(env, "connectDatagram(path: string)");
  try {
    return Napi::Number::New(env, connect_datagram(info[0].As<Napi::String>().Utf8Value()).release());
  } catch (const std::system_error& error) {
    throw to_js_error(env, error);
  }
}

Napi::Value limit_open_files_call(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  if (info.Length() < 1 || !info[0].IsNumber()) throw Napi::TypeError::New(env, "limitOpenFiles(limit: number)");
  const int64_t limit = info[0].As<Napi::Number>().Int64Value();
  if (limit < 1) throw Napi::RangeError::New(env, "the limit is not positive");
  try {
    limit_open_files(static_cast<uint64_t>(limit));
  } catch (const std::system_error& error) {
    throw to_js_error(env, error);
  }
  return env.Undefined();
}

}  // namespace ovfsd
