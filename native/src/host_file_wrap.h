// `host_data` and `host_file` as JavaScript sees them (HostFileCalls in src/backends/native-addon.ts). Part of the N-API glue.
#pragma once

#include <napi.h>

namespace ovfsd {

/// An object with a function for each call.
Napi::Object define_host_file(Napi::Env env);

}  // namespace ovfsd
