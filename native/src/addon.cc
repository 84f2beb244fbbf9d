// The addon's entry: the device, its memory, and what is done with files of the host.
#include <napi.h>

#include "device_wrap.h"
#include "host_file_wrap.h"
#include "pool_wrap.h"

namespace {

Napi::Object init(Napi::Env env, Napi::Object exports) {
  exports.Set("Pool", ovfsd::PoolWrap::define(env));
  exports.Set("Device", ovfsd::DeviceWrap::define(env));
  exports.Set("storeFile", Napi::Function::New<ovfsd::store_file_async>(env, "storeFile"));
  return exports;
}

}  // namespace

NODE_API_MODULE(ovfsd_native, init)
