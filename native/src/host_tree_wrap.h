// `host_tree` as JavaScript sees it (HostCalls in src/passthrough/host-calls.ts). Part of the N-API glue.
#pragma once

#include <napi.h>

namespace ovfsd {

/// An object with a function for each call.
Napi::Object define_host_calls(Napi::Env env);

}  // namespace ovfsd
