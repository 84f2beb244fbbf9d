// The calls of host_directory.h as functions that return promises; see src/backends/local/host-directory.ts.
#pragma once

#include <napi.h>

namespace ovfsd {

Napi::Object define_host_directory(Napi::Env env);

}  // namespace ovfsd
