// Blocking work on libuv's thread pool, seen from JavaScript as a promise.
#pragma once

#include <napi.h>

#include <functional>
#include <utility>

namespace ovfs_frontend {

// The front-end waits for replies on a thread of the pool, so that a back-end living on this process's own loop can
// give them.
class PromiseTask : public Napi::AsyncWorker {
 public:
  using Work = std::function<void()>;
  using Result = std::function<Napi::Value(Napi::Env)>;

  // `work` runs on another thread and may throw; `result` then runs on the loop's thread.
  static Napi::Promise run(Napi::Env env, Work work, Result result) {
    auto* task = new PromiseTask(env, std::move(work), std::move(result));
    const Napi::Promise promise = task->deferred_.Promise();
    task->Queue();
    return promise;
  }

 protected:
  void Execute() override { work_(); }
  void OnOK() override {
    const Napi::HandleScope scope(Env());
    try {
      deferred_.Resolve(result_(Env()));
    } catch (const std::exception& error) {
      deferred_.Reject(Napi::Error::New(Env(), error.what()).Value());
    }
  }
  void OnError(const Napi::Error& error) override { deferred_.Reject(error.Value()); }

 private:
  PromiseTask(Napi::Env env, Work work, Result result)
      : Napi::AsyncWorker(env), deferred_(env), work_(std::move(work)), result_(std::move(result)) {}

  Napi::Promise::Deferred deferred_;
  Work work_;
  Result result_;
};

}  // namespace ovfs_frontend
