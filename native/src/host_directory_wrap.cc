#include "host_directory_wrap.h"

#include <functional>
#include <utility>
#include <vector>

#include "host_directory.h"
#include "host_error.h"

namespace ovfsd {
namespace {

/// Runs a call on a thread of libuv's pool and hands its result to JavaScript.
template <typename Result>
class HostWorker : public Napi::AsyncWorker {
 public:
  using Call = std::function<int(Result*)>;
  using Convert = Napi::Value (*)(Napi::Env, const Result&);

  static Napi::Promise start(Napi::Env env, std::string what, Call call, Convert convert) {
    auto* worker = new HostWorker(env, std::move(what), std::move(call), convert);
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
        deferred_.Reject(host_error(env, error_, what_).Value());
    } catch (const Napi::Error& error) {
      deferred_.Reject(error.Value());  // a listing that no string can hold
    }
  }

  // Something was thrown, as when there is no memory: whoever waits hears of it.
  void OnError(const Napi::Error& error) override { deferred_.Reject(error.Value()); }

  Napi::Promise::Deferred deferred_;
  std::string what_;
  Call call_;
  Convert convert_;
  Result result_{};
  int error_ = 0;
};

struct Nothing {};

Napi::Value to_undefined(Napi::Env env, const Nothing&) { return env.Undefined(); }

// As src/backends/native-addon.ts has them: of each entry its name and version in one text, each behind the other's NUL, and its numbers.
constexpr size_t kNumbersPerEntry = 4;

Napi::Value to_listing(Napi::Env env, const std::vector<HostEntry>& entries) {
  std::string text;
  auto numbers = Napi::Float64Array::New(env, entries.size() * kNumbersPerEntry);
  double* number = numbers.Data();
  for (const auto& [name, stat] : entries) {
    text += name;
    text += '\0';
    text += stat.version;
    text += '\0';
    *number++ = static_cast<double>(stat.kind);
    *number++ = static_cast<double>(stat.size);
    *number++ = static_cast<double>(stat.mtime_seconds);
    *number++ = static_cast<double>(stat.mtime_nanoseconds);
  }
  Napi::Object listing = Napi::Object::New(env);
  listing.Set("text", Napi::String::New(env, text));
  listing.Set("numbers", numbers);
  return listing;
}

Napi::Value to_stat(Napi::Env env, const HostStat& stat) { return host_stat_object(env, stat); }

HostPlace place_of(const Napi::CallbackInfo& info, size_t path_index, size_t beneath_index) {
  if (!info[0].IsString() || !info[path_index].IsString() || !info[beneath_index].IsBoolean()) {
    throw Napi::TypeError::New(info.Env(), "a call of a host directory got an argument that it can't take");
  }
  return {info[0].As<Napi::String>(), info[path_index].As<Napi::String>(), info[beneath_index].As<Napi::Boolean>()};
}

Napi::Value stat_call(const Napi::CallbackInfo& info) {
  const HostPlace place = place_of(info, 1, 2);
  return HostWorker<HostStat>::start(
      info.Env(), place.path, [place](HostStat* stat) { return stat_host_name(place, stat); }, to_stat);
}

/// A call that has no result.
template <int (*call)(const HostPlace&)>
Napi::Value change_call(const Napi::CallbackInfo& info) {
  const HostPlace place = place_of(info, 1, 2);
  return HostWorker<Nothing>::start(info.Env(), place.path, [place](Nothing*) { return call(place); }, to_undefined);
}

/// The same of two places.
template <int (*call)(const HostPlace&, const HostPlace&)>
Napi::Value change_two_call(const Napi::CallbackInfo& info) {
  const HostPlace from = place_of(info, 1, 3);
  const HostPlace to = place_of(info, 2, 3);
  return HostWorker<Nothing>::start(
      info.Env(), from.path, [from, to](Nothing*) { return call(from, to); }, to_undefined);
}

Napi::Value list_call(const Napi::CallbackInfo& info) {
  const HostPlace place = place_of(info, 1, 3);
  if (!info[2].IsNumber()) throw Napi::TypeError::New(info.Env(), "list(root, path, limit: number, beneath)");
  const uint32_t limit = info[2].As<Napi::Number>();
  return HostWorker<std::vector<HostEntry>>::start(
      info.Env(), place.path,
      [place, limit](std::vector<HostEntry>* entries) { return list_host_directory(place, limit, entries); }, to_listing);
}

}  // namespace

Napi::Object define_host_directory(Napi::Env env) {
  Napi::Object calls = Napi::Object::New(env);
  calls.Set("stat", Napi::Function::New<stat_call>(env, "stat"));
  calls.Set("removeFile", Napi::Function::New<change_call<remove_host_file>>(env, "removeFile"));
  calls.Set("removeDirectory", Napi::Function::New<change_call<remove_host_directory>>(env, "removeDirectory"));
  calls.Set("makeDirectory", Napi::Function::New<change_call<make_host_directory>>(env, "makeDirectory"));
  calls.Set("rename", Napi::Function::New<change_two_call<rename_host_name>>(env, "rename"));
  calls.Set("link", Napi::Function::New<change_two_call<link_host_name>>(env, "link"));
  calls.Set("list", Napi::Function::New<list_call>(env, "list"));
  return calls;
}

}  // namespace ovfsd
