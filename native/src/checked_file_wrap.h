// `checked_file.h` for JavaScript, on the threads of libuv's pool.
#pragma once

#include <napi.h>

namespace ovfsd {

/// writeChecked(file, data: Uint8Array, offset, checksums: Uint32Array): Promise<void>
Napi::Value write_checked_async(const Napi::CallbackInfo& info);

/// readChecked(file, data: Uint8Array, offset, checksums: Uint32Array): Promise<void>
Napi::Value read_checked_async(const Napi::CallbackInfo& info);

}  // namespace ovfsd
