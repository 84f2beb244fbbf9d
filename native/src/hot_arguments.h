// The arguments of calls that happen for every request: plain N-API, no wrapper objects. Part of the N-API glue.
#pragma once

#include <node_api.h>

#include <cstddef>
#include <cstdint>

namespace ovfsd {

/// Reads up to `Count` arguments one after the other. After the first that is no good, `valid()` is false.
template <size_t Count>
class HotArguments {
 public:
  HotArguments(napi_env env, napi_callback_info info) : env_(env) {
    size_t count = Count;
    valid_ = napi_get_cb_info(env, info, &count, arguments_, &receiver_, &context_) == napi_ok && count >= Count;
  }

  bool valid() const noexcept { return valid_; }
  napi_value receiver() const noexcept { return receiver_; }
  /// What the function was made with.
  void* context() const noexcept { return context_; }

  /// A descriptor, or -1.
  int fd() { return static_cast<int>(number(-1, INT32_MAX)); }
  uint32_t u32() { return static_cast<uint32_t>(number(0, UINT32_MAX)); }
  /// Offsets, sizes and seconds.
  int64_t i53() { return static_cast<int64_t>(number(-kMaxSafeInteger, kMaxSafeInteger)); }

  struct Bytes {
    uint8_t* data = nullptr;
    size_t size = 0;
  };
  /// A Uint8Array.
  Bytes bytes() {
    void* data = nullptr;
    const size_t length = array(napi_uint8_array, data);
    return {static_cast<uint8_t*>(data), length};
  }
  /// [start, start + length) of a Uint8Array: three arguments.
  Bytes range() {
    const Bytes whole = bytes();
    const uint32_t start = u32();
    const uint32_t length = u32();
    if (start > whole.size || length > whole.size - start) valid_ = false;
    return valid_ ? Bytes{whole.data + start, length} : Bytes{};
  }
  /// A Uint32Array of at least so many words.
  uint32_t* words(size_t count) {
    void* data = nullptr;
    if (array(napi_uint32_array, data) < count) valid_ = false;
    return static_cast<uint32_t*>(data);
  }

 private:
  static constexpr double kMaxSafeInteger = 9007199254740991.0;

  double number(double least, double most) {
    double value = 0;
    if (!valid_ || napi_get_value_double(env_, arguments_[next_++], &value) != napi_ok ||
        !(value >= least && value <= most)) {
      valid_ = false;
      return 0;
    }
    return value;
  }

  size_t array(napi_typedarray_type wanted, void*& data) {
    napi_typedarray_type type;
    size_t length = 0;
    if (!valid_) return 0;
    const napi_value value = arguments_[next_++];
    // What is no typed array is napi_invalid_arg.
    valid_ = napi_get_typedarray_info(env_, value, &type, &length, &data, nullptr, nullptr) == napi_ok &&
             type == wanted;
    return valid_ ? length : 0;
  }

  napi_env env_;
  napi_value receiver_ = nullptr;
  void* context_ = nullptr;
  napi_value arguments_[Count];
  size_t next_ = 0;
  bool valid_ = false;
};

}  // namespace ovfsd
