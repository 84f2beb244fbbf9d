// The addon's entry: two classes, and nothing else.
#include <napi.h>

#include "device_wrap.h"
#include "pool_wrap.h"

namespace {

Napi::Object init(Napi::Env env, Napi::Object exports) {
  exports.Set("Pool", ovfsd::PoolWrap::define(env));
  exports.Set("Device", ovfsd::DeviceWrap::define(env));
  return exports;
}

}  // namespace

NODE_API_MODULE(ovfsd_native, init)
