#include "pool_wrap.h"

#include <algorithm>
#include <cstring>

#include "napi_error.h"

namespace ovfsd {
namespace {

// POOL_WINDOW_BYTES in src/virtio/native.ts.
constexpr uint64_t kWindowBytes = uint64_t{1} << 30;

// Larger than any machine's memory; keeps offsets well within a JavaScript number's 53 bits.
constexpr double kMaxPoolBytes = 1ull << 46;

constexpr napi_type_tag kPoolTag = {0x6f7666736420706full, 0x6f6c2d7461672d31ull};

uint64_t offset_argument(const Napi::CallbackInfo& info, size_t index) {
  const double value = info[index].As<Napi::Number>().DoubleValue();
  if (!(value >= 0 && value <= kMaxPoolBytes)) throw range_error(info.Env(), "a pool offset or length is out of range");
  return static_cast<uint64_t>(value);
}

}  // namespace

Napi::Function PoolWrap::define(Napi::Env env) {
  return DefineClass(env, "Pool",
                     {
                         InstanceMethod<&PoolWrap::copy>("copy"),
                         InstanceMethod<&PoolWrap::zero>("zero"),
                         InstanceMethod<&PoolWrap::close>("close"),
                     });
}

PoolWrap::PoolWrap(const Napi::CallbackInfo& info) : Napi::ObjectWrap<PoolWrap>(info) {
  const Napi::Env env = info.Env();
  const double size = info[0].IsNumber() ? info[0].As<Napi::Number>().DoubleValue() : -1;
  if (!(size >= 1 && size <= kMaxPoolBytes) || size != static_cast<double>(static_cast<uint64_t>(size))) {
    throw range_error(env, "the pool's size must be a positive whole number of bytes");
  }
  try {
    memory_ = std::make_shared<SlabMemory>(static_cast<uint64_t>(size));
  } catch (const std::system_error& error) {
    throw to_js_error(env, error);
  }
  Napi::Object self = info.This().As<Napi::Object>();
  self.TypeTag(&kPoolTag);
  self.DefineProperties({
      Napi::PropertyDescriptor::Value("sizeBytes", Napi::Number::New(env, size), napi_enumerable),
      Napi::PropertyDescriptor::Value("windows", make_windows(env), napi_enumerable),
  });
}

Napi::Array PoolWrap::make_windows(Napi::Env env) {
  Napi::Array windows = Napi::Array::New(env);
  for (uint64_t offset = 0; offset < memory_->size_bytes(); offset += kWindowBytes) {
    const uint64_t length = std::min(kWindowBytes, memory_->size_bytes() - offset);
    // Each window holds the mapping: JavaScript can't have an ArrayBuffer whose memory is gone.
    auto* holder = new std::shared_ptr<SlabMemory>(memory_);
    Napi::ArrayBuffer window = Napi::ArrayBuffer::New(
        env, memory_->data() + offset, length, [](Napi::Env, void*, std::shared_ptr<SlabMemory>* hint) { delete hint; },
        holder);
    windows_.push_back(Napi::Persistent(window));
    windows.Set(static_cast<uint32_t>(offset / kWindowBytes), window);
  }
  windows.Freeze();
  return windows;
}

std::shared_ptr<SlabMemory> PoolWrap::memory_of(Napi::Env env, Napi::Value value) {
  if (!value.IsObject() || !value.As<Napi::Object>().CheckTypeTag(&kPoolTag)) {
    throw Napi::TypeError::New(env, "pool is not a Pool");
  }
  PoolWrap* wrap = Unwrap(value.As<Napi::Object>());
  if (wrap->memory_ == nullptr) throw Napi::TypeError::New(env, "the pool is closed");
  return wrap->memory_;
}

SlabMemory& PoolWrap::open_memory(Napi::Env env) const {
  if (memory_ == nullptr) throw Napi::Error::New(env, "the pool is closed");
  return *memory_;
}

Napi::Value PoolWrap::copy(const Napi::CallbackInfo& info) {
  const SlabMemory& memory = open_memory(info.Env());
  const uint64_t target = offset_argument(info, 0);
  const uint64_t source = offset_argument(info, 1);
  const uint64_t length = offset_argument(info, 2);
  if (!memory.holds(target, length) || !memory.holds(source, length))
    throw range_error(info.Env(), "copy beyond the pool");
  if (length > 0 && target < source + length && source < target + length)
    throw range_error(info.Env(), "copy of overlapping ranges");
  std::memcpy(memory.data() + target, memory.data() + source, length);
  return info.Env().Undefined();
}

Napi::Value PoolWrap::zero(const Napi::CallbackInfo& info) {
  const SlabMemory& memory = open_memory(info.Env());
  const uint64_t offset = offset_argument(info, 0);
  const uint64_t length = offset_argument(info, 1);
  if (!memory.holds(offset, length)) throw range_error(info.Env(), "zero beyond the pool");
  std::memset(memory.data() + offset, 0, length);
  return info.Env().Undefined();
}

Napi::Value PoolWrap::close(const Napi::CallbackInfo& info) {
  // Detached first: from here on JavaScript's views are empty. The mapping goes with the last device that uses it.
  for (Napi::Reference<Napi::ArrayBuffer>& window : windows_) window.Value().Detach();
  windows_.clear();
  memory_.reset();
  return info.Env().Undefined();
}

}  // namespace ovfsd
