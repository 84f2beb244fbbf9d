// `Device` as JavaScript sees it (NativeDevice in src/virtio/native.ts), on libuv's loop. Part of the N-API glue.
#pragma once

#include <napi.h>
#include <uv.h>

#include <memory>
#include <string>

#include "device.h"

namespace ovfsd {

class DeviceWrap : public Napi::ObjectWrap<DeviceWrap>, private DeviceHost {
 public:
  static Napi::Function define(Napi::Env env);
  explicit DeviceWrap(const Napi::CallbackInfo& info);
  ~DeviceWrap() override;

 private:
  struct LoopHandles;

  // JavaScript's methods. The hot ones are plain N-API: no allocation, no wrapper objects.
  Napi::Value listen(const Napi::CallbackInfo& info);
  Napi::Value stats(const Napi::CallbackInfo& info);
  Napi::Value close(const Napi::CallbackInfo& info);
  static napi_value complete(napi_env env, napi_callback_info info);
  static napi_value pull(napi_env env, napi_callback_info info);
  static napi_value pull_bytes(napi_env env, napi_callback_info info);
  static napi_value push(napi_env env, napi_callback_info info);
  static napi_value push_bytes(napi_env env, napi_callback_info info);
  static napi_value push_zeros(napi_env env, napi_callback_info info);
  static napi_value read_file(napi_env env, napi_callback_info info);
  static napi_value read_file_later(napi_env env, napi_callback_info info);
  static napi_value write_file(napi_env env, napi_callback_info info);
  static napi_value write_file_later(napi_env env, napi_callback_info info);

  // DeviceHost
  void on_requests(Device& device, uint32_t ready_count) override;
  void on_event(DeviceEvent event, const std::string& detail, uint32_t value) override;

  void define_arena(Napi::Env env, Napi::Object self);
  void open_handles(Napi::Env env);
  void turn(bool descriptors_ready);
  void update_idle();
  void shut_down() noexcept;
  static void on_poll(uv_poll_t* handle, int status, int events);
  static void on_idle(uv_idle_t* handle);

  std::unique_ptr<Device> device_;
  LoopHandles* handles_ = nullptr;  // lives until libuv has let go of it, which may be later than this object
  Napi::FunctionReference on_requests_;
  Napi::FunctionReference on_event_;
  Napi::Reference<Napi::Value> resource_;  // of the async context
  napi_async_context async_context_ = nullptr;
};

}  // namespace ovfsd
