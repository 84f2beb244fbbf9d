#include "host_file_wrap.h"

#include <system_error>
#include <utility>

#include "host_file.h"
#include "napi_error.h"

namespace ovfsd {
namespace {

// Runs on a thread of libuv's pool. The bytes stay JavaScript's, which does not change them meanwhile; the reference keeps them.
class StoreFileWorker : public Napi::AsyncWorker {
 public:
  StoreFileWorker(Napi::Env env, StoreFileRequest request, const Napi::Uint8Array& data)
      : Napi::AsyncWorker(env),
        deferred_(Napi::Promise::Deferred::New(env)),
        request_(std::move(request)),
        data_(Napi::Persistent(data.As<Napi::Object>())) {}

  Napi::Promise promise() const { return deferred_.Promise(); }

  void Execute() override { error_ = store_file(request_, &stored_); }

  void OnOK() override {
    const Napi::Env env = Env();
    const Napi::HandleScope scope(env);
    if (error_ != 0) {
      const std::system_error error(error_, std::system_category(), "storing " + request_.target);
      deferred_.Reject(to_js_error(env, error).Value());
      return;
    }
    Napi::Object result = Napi::Object::New(env);
    result.Set("seconds", Napi::Number::New(env, static_cast<double>(stored_.mtime_seconds)));
    result.Set("nanoseconds", Napi::Number::New(env, static_cast<double>(stored_.mtime_nanoseconds)));
    result.Set("sizeBytes", Napi::Number::New(env, static_cast<double>(stored_.size)));
    result.Set("version", Napi::String::New(env, stored_.version));
    deferred_.Resolve(result);
  }

 private:
  Napi::Promise::Deferred deferred_;
  StoreFileRequest request_;
  Napi::ObjectReference data_;
  StoredFile stored_;
  int error_ = 0;
};

}  // namespace

Napi::Value store_file_async(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  if (info.Length() < 4 || !info[0].IsString() || !info[1].IsString() || !info[2].IsTypedArray()) {
    throw Napi::TypeError::New(env, "storeFile(upload: string, target: string, data: Uint8Array, expected)");
  }
  const auto data = info[2].As<Napi::Uint8Array>();
  StoreFileRequest request;
  request.upload = info[0].As<Napi::String>().Utf8Value();
  request.target = info[1].As<Napi::String>().Utf8Value();
  request.data = data.Data();
  request.size = data.ByteLength();
  if (info[3].IsNull()) request.present = Present::kNothing;
  if (info[3].IsString()) {
    request.present = Present::kVersion;
    request.version = info[3].As<Napi::String>().Utf8Value();
  }
  auto* worker = new StoreFileWorker(env, std::move(request), data);
  const Napi::Promise promise = worker->promise();
  worker->Queue();
  return promise;
}

}  // namespace ovfsd
