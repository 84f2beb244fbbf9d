// `Pool` as JavaScript sees it (NativePool in src/virtio/native.ts). Part of the N-API glue.
#pragma once

#include <napi.h>

#include <memory>
#include <vector>

#include "slab_memory.h"

namespace ovfsd {

class PoolWrap : public Napi::ObjectWrap<PoolWrap> {
 public:
  static Napi::Function define(Napi::Env env);
  explicit PoolWrap(const Napi::CallbackInfo& info);

  /// The pool behind a JavaScript value. @throws Napi::TypeError when it is no Pool or a closed one.
  static std::shared_ptr<SlabMemory> memory_of(Napi::Env env, Napi::Value value);

 private:
  Napi::Value copy(const Napi::CallbackInfo& info);
  Napi::Value zero(const Napi::CallbackInfo& info);
  Napi::Value close(const Napi::CallbackInfo& info);
  Napi::Array make_windows(Napi::Env env);
  SlabMemory& open_memory(Napi::Env env) const;

  // Shared with the windows (until they are detached or collected) and with the devices that copy to and from the pool.
  std::shared_ptr<SlabMemory> memory_;
  std::vector<Napi::Reference<Napi::ArrayBuffer>> windows_;
};

}  // namespace ovfsd
