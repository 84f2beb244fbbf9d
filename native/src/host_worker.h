// A call of the host on a thread of libuv's pool, whose result is handed to JavaScript. Part of the N-API glue.
#pragma once

#include <napi.h>

#include <functional>
#include <string>
#include <utility>

#include "host_directory.h"
#include "host_error.h"

namespace ovfsd {

template <typename Result>
class HostWorker : public Napi::AsyncWorker {
 public:
  using Call = std::function<int(Result*)>;
  using Convert = Napi::Value (*)(Napi::Env, const Result&);

  // `kept` is what the call reads or fills: JavaScript's, which does not touch it meanwhile.
  static Napi::Promise start(Napi::Env env, std::string what, Call call, Convert convert, Napi::Object kept = {}) {
    auto* worker = new HostWorker(env, std::move(what), std::move(call), convert);
    if (!kept.IsEmpty()) worker->kept_ = Napi::Persistent(kept);
    const Napi::Promise promise = worker->deferred_.Promise();
    worker->Queue();
    return promise;
  }

 private:
  HostWorker(Napi::Env env, std::string what, Call call, Convert convert)
      : Napi::AsyncWorker(env),
        deferred_(Napi::Promise::Deferred::New(env)),
        what_(std::move(what)),
        call_(std::move(call)),
        convert_(convert) {}

  void Execute() override { error_ = call_(&result_); }

  void OnOK() override {
    const Napi::Env env = Env();
    const Napi::HandleScope scope(env);
    try {
      if (error_ == 0)
        deferred_.Resolve(convert_(env, result_));
      else
        deferred_.Reject(failure(env).Value());
    } catch (const Napi::Error& error) {
      deferred_.Reject(error.Value());  // a listing that no string can hold
    }
  }

  // Something was thrown, as when there is no memory: whoever waits hears of it.
  void OnError(const Napi::Error& error) override { deferred_.Reject(error.Value()); }

  // `isTorn`: the call has changed the file and can't tell what it has made of it.
  Napi::Error failure(Napi::Env env) const {
    Napi::Error error = host_error(env, error_, what_);
    if constexpr (requires { result_.is_torn; }) {
      if (result_.is_torn) error.Set("isTorn", Napi::Boolean::New(env, true));
    }
    return error;
  }

  Napi::Promise::Deferred deferred_;
  std::string what_;
  Call call_;
  Convert convert_;
  Napi::ObjectReference kept_;
  Result result_{};
  int error_ = 0;
};

struct Nothing {};

inline Napi::Value to_undefined(Napi::Env env, const Nothing&) { return env.Undefined(); }

inline Napi::Value to_stat(Napi::Env env, const HostStat& stat) { return host_stat_object(env, stat); }

// The arguments that name a place: the root, a path and whether the kernel keeps it beneath.
inline HostPlace place_of(const Napi::CallbackInfo& info, size_t path_index, size_t beneath_index) {
  if (!info[0].IsString() || !info[path_index].IsString() || !info[beneath_index].IsBoolean()) {
    throw Napi::TypeError::New(info.Env(), "a call of a host directory got an argument that it can't take");
  }
  return {info[0].As<Napi::String>(), info[path_index].As<Napi::String>(), info[beneath_index].As<Napi::Boolean>()};
}

}  // namespace ovfsd
