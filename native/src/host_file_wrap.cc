#include "host_file_wrap.h"

#include <utility>

#include "host_error.h"
#include "host_file.h"

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
    if (error_ == 0)
      deferred_.Resolve(host_stat_object(env, stored_));
    else
      deferred_.Reject(host_error(env, error_, "storing " + request_.target.path).Value());
  }

  // Something was thrown, as when there is no memory: whoever waits hears of it.
  void OnError(const Napi::Error& error) override { deferred_.Reject(error.Value()); }

 private:
  Napi::Promise::Deferred deferred_;
  StoreFileRequest request_;
  Napi::ObjectReference data_;
  HostStat stored_;
  int error_ = 0;
};

}  // namespace

Napi::Value store_file_async(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  if (info.Length() < 6 || !info[0].IsString() || !info[1].IsString() || !info[2].IsString() || !info[3].IsBoolean() ||
      !info[4].IsTypedArray()) {
    throw Napi::TypeError::New(env, "storeFile(upload, root, path: string, beneath: boolean, data: Uint8Array, expected)");
  }
  const auto data = info[4].As<Napi::Uint8Array>();
  StoreFileRequest request;
  request.upload = {info[1].As<Napi::String>(), info[0].As<Napi::String>(), info[3].As<Napi::Boolean>()};
  request.target = {info[1].As<Napi::String>(), info[2].As<Napi::String>(), info[3].As<Napi::Boolean>()};
  request.data = data.Data();
  request.size = data.ByteLength();
  if (info[5].IsNull()) request.present = Present::kNothing;
  if (info[5].IsString()) {
    request.present = Present::kVersion;
    request.version = info[5].As<Napi::String>().Utf8Value();
  }
  auto* worker = new StoreFileWorker(env, std::move(request), data);
  const Napi::Promise promise = worker->promise();
  worker->Queue();
  return promise;
}

}  // namespace ovfsd
