// The hot calls of `Device`: plain N-API, no allocation, no wrapper objects. Part of the N-API glue.
#include <algorithm>

#include "device_wrap.h"

namespace ovfsd {
namespace {

napi_value throw_range(napi_env env, const char* message) {
  napi_throw_range_error(env, nullptr, message);
  return nullptr;
}

napi_value number(napi_env env, uint32_t value) {
  napi_value result = nullptr;
  napi_create_uint32(env, value, &result);
  return result;
}

/// The arguments of a hot call. Methods of a class made by napi_define_class can only be called on its own instances,
/// so the unwrapped pointer is what we wrapped.
template <size_t Count>
struct HotCall {
  napi_value arguments[Count];
  DeviceWrap* self = nullptr;
  bool valid = false;

  HotCall(napi_env env, napi_callback_info info) {
    size_t count = Count;
    napi_value receiver;
    void* wrapped = nullptr;
    if (napi_get_cb_info(env, info, &count, arguments, &receiver, nullptr) != napi_ok) return;
    if (napi_unwrap(env, receiver, &wrapped) != napi_ok) return;
    self = static_cast<DeviceWrap*>(wrapped);
    valid = true;
  }
};

bool get_u32(napi_env env, napi_value value, uint32_t& target) {
  // A double, because napi_get_value_uint32 wraps what is out of range.
  double number;
  if (napi_get_value_double(env, value, &number) != napi_ok || !(number >= 0 && number <= UINT32_MAX)) return false;
  target = static_cast<uint32_t>(number);
  return true;
}

bool get_u53(napi_env env, napi_value value, uint64_t& target) {
  constexpr double kMaxSafeInteger = 9007199254740991.0;
  double number;
  if (napi_get_value_double(env, value, &number) != napi_ok || !(number >= 0 && number <= kMaxSafeInteger))
    return false;
  target = static_cast<uint64_t>(number);
  return true;
}

bool get_bytes(napi_env env, napi_value value, uint8_t*& data, size_t& length) {
  bool is_typed_array = false;
  napi_typedarray_type type;
  void* raw = nullptr;
  if (napi_is_typedarray(env, value, &is_typed_array) != napi_ok || !is_typed_array) return false;
  if (napi_get_typedarray_info(env, value, &type, &length, &raw, nullptr, nullptr) != napi_ok ||
      type != napi_uint8_array)
    return false;
  data = static_cast<uint8_t*>(raw);
  return true;
}

constexpr const char* kBadSlot = "the slot is not in flight";
constexpr const char* kBadArgument = "an argument is not a number in range";
constexpr const char* kBeyondPool = "the range is not within the pool";
constexpr const char* kBadArray = "the array is not a Uint8Array or too short";

}  // namespace

napi_value DeviceWrap::complete(napi_env env, napi_callback_info info) {
  const HotCall<1> call(env, info);
  uint32_t count;
  if (!call.valid || !get_u32(env, call.arguments[0], count)) return throw_range(env, kBadArgument);
  if (!call.self->device_->complete(count)) {
    napi_throw_error(env, nullptr, "complete was called within onRequests: return the count instead");
    return nullptr;
  }
  call.self->update_idle();
  return nullptr;
}

napi_value DeviceWrap::pull(napi_env env, napi_callback_info info) {
  const HotCall<4> call(env, info);
  uint32_t slot;
  uint32_t length;
  uint64_t payload_offset;
  uint64_t pool_offset;
  if (!call.valid || !get_u32(env, call.arguments[0], slot) || !get_u53(env, call.arguments[1], payload_offset) ||
      !get_u53(env, call.arguments[2], pool_offset) || !get_u32(env, call.arguments[3], length)) {
    return throw_range(env, kBadArgument);
  }
  Device& device = *call.self->device_;
  if (!device.requests().holds(slot)) return throw_range(env, kBadSlot);
  if (device.closed()) return number(env, 0);
  if (!device.pool()->holds(pool_offset, length)) return throw_range(env, kBeyondPool);
  return number(env, device.requests().pull(slot, payload_offset, device.pool()->data() + pool_offset, length));
}

napi_value DeviceWrap::pull_bytes(napi_env env, napi_callback_info info) {
  const HotCall<3> call(env, info);
  uint32_t slot;
  uint64_t payload_offset;
  uint8_t* data;
  size_t length;
  if (!call.valid || !get_u32(env, call.arguments[0], slot) || !get_u53(env, call.arguments[1], payload_offset)) {
    return throw_range(env, kBadArgument);
  }
  if (!get_bytes(env, call.arguments[2], data, length)) return throw_range(env, kBadArray);
  Device& device = *call.self->device_;
  if (!device.requests().holds(slot)) return throw_range(env, kBadSlot);
  const auto wanted = static_cast<uint32_t>(std::min<size_t>(length, UINT32_MAX));
  return number(env, device.requests().pull(slot, payload_offset, data, wanted));
}

napi_value DeviceWrap::push(napi_env env, napi_callback_info info) {
  const HotCall<3> call(env, info);
  uint32_t slot;
  uint32_t length;
  uint64_t pool_offset;
  if (!call.valid || !get_u32(env, call.arguments[0], slot) || !get_u53(env, call.arguments[1], pool_offset) ||
      !get_u32(env, call.arguments[2], length)) {
    return throw_range(env, kBadArgument);
  }
  Device& device = *call.self->device_;
  if (!device.requests().holds(slot)) return throw_range(env, kBadSlot);
  if (device.closed()) return number(env, 0);
  if (!device.pool()->holds(pool_offset, length)) return throw_range(env, kBeyondPool);
  return number(env, device.requests().push(slot, device.pool()->data() + pool_offset, length));
}

napi_value DeviceWrap::push_bytes(napi_env env, napi_callback_info info) {
  const HotCall<3> call(env, info);
  uint32_t slot;
  uint32_t length;
  uint8_t* data;
  size_t available;
  if (!call.valid || !get_u32(env, call.arguments[0], slot) || !get_u32(env, call.arguments[2], length)) {
    return throw_range(env, kBadArgument);
  }
  if (!get_bytes(env, call.arguments[1], data, available) || length > available) return throw_range(env, kBadArray);
  Device& device = *call.self->device_;
  if (!device.requests().holds(slot)) return throw_range(env, kBadSlot);
  return number(env, device.requests().push(slot, data, length));
}

napi_value DeviceWrap::push_zeros(napi_env env, napi_callback_info info) {
  const HotCall<2> call(env, info);
  uint32_t slot;
  uint32_t length;
  if (!call.valid || !get_u32(env, call.arguments[0], slot) || !get_u32(env, call.arguments[1], length)) {
    return throw_range(env, kBadArgument);
  }
  Device& device = *call.self->device_;
  if (!device.requests().holds(slot)) return throw_range(env, kBadSlot);
  return number(env, device.requests().push_zeros(slot, length));
}

}  // namespace ovfsd
