#include "host_process_wrap.h"

#include <string>
#include <system_error>
#include <vector>

#include "host_process.h"
#include "napi_error.h"
#include "system_call_filter.h"

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

Napi::Value filter_system_calls_call(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  if (info.Length() < 3 || !info[0].IsString() || !info[1].IsString() || !info[2].IsBoolean()) {
    throw Napi::TypeError::New(env, "filterSystemCalls(denied: string, sockets: string, fileHandles: boolean)");
  }
  const std::string denied = info[0].As<Napi::String>();
  const std::string sockets = info[1].As<Napi::String>();
  try {
    filter_system_calls(denied == "log" ? Denied::kLog : denied == "trap" ? Denied::kTrap : Denied::kKill,
                        sockets == "all" ? Sockets::kAll : sockets == "unix" ? Sockets::kUnix : Sockets::kNone,
                        info[2].As<Napi::Boolean>() ? FileHandles::kAllowed : FileHandles::kDenied);
  } catch (const std::system_error& error) {
    throw to_js_error(env, error);
  }
  return env.Undefined();
}

Napi::Value execute_call(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  if (info.Length() < 3 || !info[0].IsString() || !info[1].IsArray() || !info[2].IsArray()) {
    throw Napi::TypeError::New(env, "execute(path: string, args: string[], descriptors: number[])");
  }
  const auto list = info[1].As<Napi::Array>();
  std::vector<std::string> args;
  for (uint32_t at = 0; at < list.Length(); at++) args.push_back(list.Get(at).ToString().Utf8Value());
  const auto numbers = info[2].As<Napi::Array>();
  std::vector<int> descriptors;
  for (uint32_t at = 0; at < numbers.Length(); at++) descriptors.push_back(numbers.Get(at).ToNumber().Int32Value());
  try {
    execute(info[0].As<Napi::String>().Utf8Value(), args, descriptors);
  } catch (const std::system_error& error) {
    throw to_js_error(env, error);
  }
}

}  // namespace ovfsd
