// The calls of `Device` that move data between files of the host and guest memory. Part of the N-API glue.
#include <cerrno>
#include <cstdlib>
#include <memory>

#include "device_wrap.h"
#include "host_tree.h"
#include "hot_arguments.h"

namespace ovfsd {
namespace {

/// What O_DIRECT asks of a buffer, whatever the disk.
constexpr size_t kBufferAlignment = 4096;

struct FreeBuffer {
  void operator()(uint8_t* buffer) const noexcept { std::free(buffer); }
};
using Buffer = std::unique_ptr<uint8_t, FreeBuffer>;

/// nullptr when there is no memory.
Buffer make_buffer(size_t size) {
  const size_t whole = (size + kBufferAlignment - 1) / kBufferAlignment * kBufferAlignment;
  return Buffer(static_cast<uint8_t*>(std::aligned_alloc(kBufferAlignment, whole)));
}

napi_value throw_bad_argument(napi_env env) {
  napi_throw_range_error(env, nullptr, "the slot is not in flight, or an argument is not in range");
  return nullptr;
}

napi_value number(napi_env env, int64_t value) {
  napi_value result = nullptr;
  napi_create_int64(env, value, &result);
  return result;
}

/// How a WRITE is done; the bits are those of src/passthrough/files.ts.
constexpr uint32_t kAppend = 1u << 0;
constexpr uint32_t kKillIds = 1u << 1;

struct Transfer {
  uint32_t slot;
  int fd;
  int64_t offset;
  uint32_t length;
  bool append = false;
  bool kill_ids = false;
};

/// Moves data between a file and a buffer in a thread. Guest memory is only touched on the loop: the front-end may take it
/// away at any time. JavaScript keeps the slot and the descriptor until the promise is settled.
class TransferWorker : public Napi::AsyncWorker {
 public:
  TransferWorker(Napi::Env env, napi_value device, const Transfer& transfer)
      : Napi::AsyncWorker(env),
        deferred_(Napi::Promise::Deferred::New(env)),
        transfer_(transfer),
        device_(Napi::Persistent(Napi::Object(env, device))) {}
  Napi::Promise promise() const { return deferred_.Promise(); }
  void OnOK() override {
    const Napi::HandleScope scope(Env());
    finish();
    deferred_.Resolve(Napi::Number::New(Env(), static_cast<double>(result_)));
  }

 protected:
  virtual void finish() {}
  const Transfer& transfer() const { return transfer_; }

  int64_t result_ = -ENOMEM;
  Buffer buffer_;

 private:
  Napi::Promise::Deferred deferred_;
  Transfer transfer_;
  Napi::ObjectReference device_;  // it owns the slot
};

class ReadWorker : public TransferWorker {
 public:
  ReadWorker(Napi::Env env, napi_value device, const Transfer& transfer, RequestPath& requests)
      : TransferWorker(env, device, transfer), requests_(requests) {}
  void Execute() override {
    buffer_ = make_buffer(transfer().length);
    if (buffer_ == nullptr) return;
    result_ = host_tree::read(transfer().fd, buffer_.get(), transfer().length, transfer().offset);
  }

 protected:
  void finish() override {
    if (result_ > 0) requests_.push(transfer().slot, buffer_.get(), static_cast<uint32_t>(result_));
  }

 private:
  RequestPath& requests_;  // lives as long as the device's object
};

class WriteWorker : public TransferWorker {
 public:
  WriteWorker(Napi::Env env, napi_value device, const Transfer& transfer, Buffer data)
      : TransferWorker(env, device, transfer) {
    buffer_ = std::move(data);
  }
  void Execute() override {
    const Transfer& whole = transfer();
    result_ = host_tree::write(whole.fd, buffer_.get(), whole.length, whole.offset, whole.append, whole.kill_ids);
  }
};

/// slot, fd, offset, length.
template <size_t Count>
Transfer transfer_of(HotArguments<Count>& arguments) {
  Transfer transfer;
  transfer.slot = arguments.u32();
  transfer.fd = arguments.fd();
  transfer.offset = arguments.i53();
  transfer.length = arguments.u32();
  return transfer;
}

DeviceWrap* unwrap(napi_env env, napi_value receiver) {
  void* wrapped = nullptr;
  return napi_unwrap(env, receiver, &wrapped) == napi_ok ? static_cast<DeviceWrap*>(wrapped) : nullptr;
}

}  // namespace

napi_value DeviceWrap::read_file(napi_env env, napi_callback_info info) {
  HotArguments<4> arguments(env, info);
  const Transfer transfer = transfer_of(arguments);
  DeviceWrap* self = unwrap(env, arguments.receiver());
  if (!arguments.valid() || self == nullptr || transfer.offset < 0) return throw_bad_argument(env);
  RequestPath& requests = self->device_->requests();
  if (!requests.holds(transfer.slot)) return throw_bad_argument(env);
  return number(env, requests.read_file(transfer.slot, transfer.fd, static_cast<uint64_t>(transfer.offset),
                                        transfer.length));
}

napi_value DeviceWrap::read_file_later(napi_env env, napi_callback_info info) {
  HotArguments<4> arguments(env, info);
  Transfer transfer = transfer_of(arguments);
  DeviceWrap* self = unwrap(env, arguments.receiver());
  if (!arguments.valid() || self == nullptr || transfer.offset < 0) return throw_bad_argument(env);
  RequestPath& requests = self->device_->requests();
  if (!requests.holds(transfer.slot)) return throw_bad_argument(env);
  const uint32_t done = requests.pushed_bytes(transfer.slot);
  if (done > transfer.length) return throw_bad_argument(env);
  transfer.offset += done;
  transfer.length -= done;
  auto* worker = new ReadWorker(env, arguments.receiver(), transfer, requests);
  const Napi::Promise promise = worker->promise();
  worker->Queue();
  return promise;
}

napi_value DeviceWrap::write_file(napi_env env, napi_callback_info info) {
  HotArguments<7> arguments(env, info);
  const Transfer transfer = transfer_of(arguments);
  const int64_t payload_offset = arguments.i53();
  const uint32_t how = arguments.u32();
  const bool may_wait = arguments.u32() != 0;
  DeviceWrap* self = unwrap(env, arguments.receiver());
  if (!arguments.valid() || self == nullptr || transfer.offset < 0 || payload_offset < 0) {
    return throw_bad_argument(env);
  }
  RequestPath& requests = self->device_->requests();
  if (!requests.holds(transfer.slot)) return throw_bad_argument(env);
  return number(env, requests.write_file(transfer.slot, static_cast<uint64_t>(payload_offset), transfer.fd,
                                         static_cast<uint64_t>(transfer.offset), transfer.length, (how & kAppend) != 0,
                                         may_wait, (how & kKillIds) != 0));
}

napi_value DeviceWrap::write_file_later(napi_env env, napi_callback_info info) {
  HotArguments<6> arguments(env, info);
  Transfer transfer = transfer_of(arguments);
  const int64_t payload_offset = arguments.i53();
  const uint32_t how = arguments.u32();
  transfer.append = (how & kAppend) != 0;
  transfer.kill_ids = (how & kKillIds) != 0;
  DeviceWrap* self = unwrap(env, arguments.receiver());
  if (!arguments.valid() || self == nullptr || transfer.offset < 0 || payload_offset < 0) {
    return throw_bad_argument(env);
  }
  RequestPath& requests = self->device_->requests();
  if (!requests.holds(transfer.slot)) return throw_bad_argument(env);
  Napi::Promise::Deferred refused = Napi::Promise::Deferred::New(env);
  Buffer data = make_buffer(transfer.length);
  const uint32_t pulled = data == nullptr ? 0
                                          : requests.pull(transfer.slot, static_cast<uint64_t>(payload_offset),
                                                          data.get(), transfer.length);
  if (pulled != transfer.length) {
    // The front-end took its memory away, or there is none of ours.
    refused.Resolve(Napi::Number::New(env, data == nullptr ? -ENOMEM : -EIO));
    return refused.Promise();
  }
  auto* worker = new WriteWorker(env, arguments.receiver(), transfer, std::move(data));
  const Napi::Promise promise = worker->promise();
  worker->Queue();
  return promise;
}

}  // namespace ovfsd
