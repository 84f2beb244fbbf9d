// storeFile(upload, root, path, beneath, data, expected) -> Promise; see src/backends/local/host-directory.ts.
#pragma once

#include <napi.h>

namespace ovfsd {

Napi::Value store_file_async(const Napi::CallbackInfo& info);

}  // namespace ovfsd
