#include "checked_file_wrap.h"

#include "checked_file.h"
#include "host_error.h"

namespace ovfsd {
namespace {

enum class Direction { kRead, kWrite };

// The memory stays JavaScript's, which does not touch it meanwhile; the references keep it.
class CheckedWorker : public Napi::AsyncWorker {
 public:
  CheckedWorker(Napi::Env env, Direction direction, int file, Napi::Uint8Array data, off_t offset,
                Napi::Uint32Array checksums)
      : Napi::AsyncWorker(env),
        deferred_(Napi::Promise::Deferred::New(env)),
        direction_(direction),
        file_(file),
        offset_(offset),
        data_(data.Data()),
        size_(data.ByteLength()),
        checksums_(checksums.Data()),
        kept_data_(Napi::Persistent(data.As<Napi::Object>())),
        kept_checksums_(Napi::Persistent(checksums.As<Napi::Object>())) {}

  Napi::Promise promise() const { return deferred_.Promise(); }

  void Execute() override {
    error_ = direction_ == Direction::kRead ? read_checked(file_, data_, size_, offset_, checksums_)
                                            : write_checked(file_, data_, size_, offset_, checksums_);
  }

  void OnOK() override {
    const Napi::Env env = Env();
    const Napi::HandleScope scope(env);
    if (error_ == 0)
      deferred_.Resolve(env.Undefined());
    else
      deferred_.Reject(host_error(env, error_, "a block of the cache").Value());
  }

  void OnError(const Napi::Error& error) override { deferred_.Reject(error.Value()); }

 private:
  Napi::Promise::Deferred deferred_;
  Direction direction_;
  int file_;
  off_t offset_;
  uint8_t* data_;
  size_t size_;
  uint32_t* checksums_;
  Napi::ObjectReference kept_data_;
  Napi::ObjectReference kept_checksums_;
  int error_ = 0;
};

Napi::Value start(const Napi::CallbackInfo& info, Direction direction) {
  const Napi::Env env = info.Env();
  if (info.Length() < 4 || !info[0].IsNumber() || !info[1].IsTypedArray() || !info[2].IsNumber() || !info[3].IsTypedArray()) {
    throw Napi::TypeError::New(env, "(file: number, data: Uint8Array, offset: number, checksums: Uint32Array)");
  }
  const auto data = info[1].As<Napi::Uint8Array>();
  const auto checksums = info[3].As<Napi::Uint32Array>();
  if (checksums.ElementLength() * kCheckedChunkBytes < data.ByteLength()) {
    throw Napi::RangeError::New(env, "too few checksums");
  }
  auto* worker = new CheckedWorker(env, direction, info[0].As<Napi::Number>().Int32Value(), data,
                                   info[2].As<Napi::Number>().Int64Value(), checksums);
  const Napi::Promise promise = worker->promise();
  worker->Queue();
  return promise;
}

}  // namespace

Napi::Value write_checked_async(const Napi::CallbackInfo& info) { return start(info, Direction::kWrite); }

Napi::Value read_checked_async(const Napi::CallbackInfo& info) { return start(info, Direction::kRead); }

}  // namespace ovfsd
