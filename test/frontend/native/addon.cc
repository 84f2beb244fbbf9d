#include <napi.h>

#include "fuse_sizes.h"
#include "front_end_object.h"

namespace {

Napi::Object init(Napi::Env env, Napi::Object exports) {
  exports.Set("NativeFrontEnd", ovfs_frontend::FrontEndObject::define(env));
  exports.Set("fuseStructBytes", ovfs_frontend::fuse_struct_bytes(env));
  return exports;
}

}  // namespace

NODE_API_MODULE(ovfsd_frontend, init)
