// The addon's entry: the device, its memory, and what is done with files of the host.
#include <napi.h>

#include "allocator.h"
#include "checked_file_wrap.h"
#include "device_wrap.h"
#include "host_directory_wrap.h"
#include "host_file_wrap.h"
#include "host_process_wrap.h"
#include "host_tree_wrap.h"
#include "pool_wrap.h"

namespace {

// discard(buffer: ArrayBuffer): give its memory back now; see src/backends/disposable.ts.
void discard(const Napi::CallbackInfo& info) {
  if (info.Length() < 1 || !info[0].IsArrayBuffer()) {
    throw Napi::TypeError::New(info.Env(), "discard(buffer: ArrayBuffer)");
  }
  auto buffer = info[0].As<Napi::ArrayBuffer>();
  if (!buffer.IsDetached()) buffer.Detach();
}

Napi::Object init(Napi::Env env, Napi::Object exports) {
  ovfsd::limit_kept_memory();
  exports.Set("Pool", ovfsd::PoolWrap::define(env));
  exports.Set("Device", ovfsd::DeviceWrap::define(env));
  exports.Set("host", ovfsd::define_host_calls(env));
  exports.Set("hostDirectory", ovfsd::define_host_directory(env));
  exports.Set("hostFile", ovfsd::define_host_file(env));
  exports.Set("readChecked", Napi::Function::New<ovfsd::read_checked_async>(env, "readChecked"));
  exports.Set("writeChecked", Napi::Function::New<ovfsd::write_checked_async>(env, "writeChecked"));
  exports.Set("discard", Napi::Function::New<discard>(env, "discard"));
  exports.Set("connectDatagram", Napi::Function::New<ovfsd::connect_datagram_call>(env, "connectDatagram"));
  exports.Set("limitOpenFiles", Napi::Function::New<ovfsd::limit_open_files_call>(env, "limitOpenFiles"));
  exports.Set("filterSystemCalls",
              Napi::Function::New<ovfsd::filter_system_calls_call>(env, "filterSystemCalls"));
  exports.Set("execute", Napi::Function::New<ovfsd::execute_call>(env, "execute"));
  return exports;
}

}  // namespace

NODE_API_MODULE(ovfsd_native, init)
