// host_process.h for JavaScript. Part of the N-API glue.
#pragma once

#include <napi.h>

namespace ovfsd {

Napi::Value connect_datagram_call(const Napi::CallbackInfo& info);
Napi::Value execute_call(const Napi::CallbackInfo& info);
Napi::Value filter_system_calls_call(const Napi::CallbackInfo& info);
Napi::Value limit_open_files_call(const Napi::CallbackInfo& info);

}  // namespace ovfsd
