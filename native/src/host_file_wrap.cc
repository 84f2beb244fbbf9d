#include "host_file_wrap.h"

#include "host_data.h"
#include "host_file.h"
#include "host_worker.h"

namespace ovfsd {
namespace {

[[noreturn]] void refuse(Napi::Env env) {
  throw Napi::TypeError::New(env, "a call of a host file got an argument that it can't take");
}

std::string string_of(Napi::Env env, const Napi::Value& value) {
  if (!value.IsString()) refuse(env);
  return value.As<Napi::String>();
}

int64_t integer_of(Napi::Env env, const Napi::Value& value) {
  if (!value.IsNumber()) refuse(env);
  return value.As<Napi::Number>().Int64Value();
}

Napi::Uint8Array bytes_of(Napi::Env env, const Napi::Value& value) {
  if (!value.IsTypedArray() || value.As<Napi::TypedArray>().TypedArrayType() != napi_uint8_array) refuse(env);
  return value.As<Napi::Uint8Array>();
}

timespec time_of(Napi::Env env, const Napi::Value& value) {
  if (!value.IsObject()) refuse(env);
  const auto time = value.As<Napi::Object>();
  return {static_cast<time_t>(integer_of(env, time.Get("seconds"))),
          static_cast<long>(integer_of(env, time.Get("nanoseconds")))};
}

// HostPublish in src/backends/native-addon.ts.
PublishRequest request_of(Napi::Env env, const Napi::Value& value) {
  if (!value.IsObject()) refuse(env);
  const auto given = value.As<Napi::Object>();
  const std::string root = string_of(env, given.Get("root"));
  const bool beneath = given.Get("beneath").ToBoolean();
  PublishRequest request;
  request.upload = {root, string_of(env, given.Get("upload")), beneath};
  request.target = {root, string_of(env, given.Get("path")), beneath};
  request.syncs_directory = given.Get("syncsDirectory").ToBoolean();
  const Napi::Value expected = given.Get("expected");
  if (expected.IsNull()) request.present = Present::kNothing;
  if (expected.IsString()) {
    request.present = Present::kVersion;
    request.version = expected.As<Napi::String>().Utf8Value();
  }
  if (const Napi::Value mtime = given.Get("mtime"); !mtime.IsUndefined()) request.mtime = time_of(env, mtime);
  return request;
}

Napi::Value to_published(Napi::Env env, const Published& published) {
  Napi::Object result = host_stat_object(env, published.stat);
  result.Set("syncError", published.sync_error == 0 ? env.Null()
                                                    : host_error(env, published.sync_error, "fsync of a directory").Value());
  return result;
}

Napi::Value to_appended(Napi::Env env, const HostAppend& append) { return host_stat_object(env, append.stat); }

Napi::Value to_time_change(Napi::Env env, const HostTimeChange& change) {
  Napi::Object result = Napi::Object::New(env);
  result.Set("previousVersion", Napi::String::New(env, change.previous_version));
  result.Set("stat", host_stat_object(env, change.stat));
  return result;
}

// read(root, path, beneath, version, offset, data)
Napi::Value read_call(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const HostPlace place = place_of(info, 1, 2);
  const std::string version = string_of(env, info[3]);
  const int64_t offset = integer_of(env, info[4]);
  const auto bytes = bytes_of(env, info[5]);
  uint8_t* data = const_cast<uint8_t*>(bytes.Data());
  const size_t size = bytes.ByteLength();
  return HostWorker<Nothing>::start(
      env, place.path, [=](Nothing*) { return read_host_file(place, version, offset, data, size); }, to_undefined, bytes);
}

// append(root, path, beneath, version, sizeBytes, data)
Napi::Value append_call(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const HostPlace place = place_of(info, 1, 2);
  const std::string version = string_of(env, info[3]);
  const int64_t end = integer_of(env, info[4]);
  const auto bytes = bytes_of(env, info[5]);
  const uint8_t* data = bytes.Data();
  const size_t size = bytes.ByteLength();
  return HostWorker<HostAppend>::start(
      env, place.path,
      [=](HostAppend* result) { return append_host_file(place, version, end, data, size, result); }, to_appended, bytes);
}

// setTime(root, path, beneath, mtime)
Napi::Value set_time_call(const Napi::CallbackInfo& info) {
  const HostPlace place = place_of(info, 1, 2);
  const timespec mtime = time_of(info.Env(), info[3]);
  return HostWorker<HostTimeChange>::start(
      info.Env(), place.path, [=](HostTimeChange* change) { return set_host_time(place, mtime, change); }, to_time_change);
}

// store(request, data)
Napi::Value store_call(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const PublishRequest request = request_of(env, info[0]);
  const auto bytes = bytes_of(env, info[1]);
  const uint8_t* data = bytes.Data();
  const size_t size = bytes.ByteLength();
  return HostWorker<Published>::start(
      env, request.target.path, [=](Published* published) { return store_file(request, data, size, published); },
      to_published, bytes);
}

// copy(request, from, version)
Napi::Value copy_call(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const PublishRequest request = request_of(env, info[0]);
  const HostPlace from = {request.target.root, string_of(env, info[1]), request.target.beneath};
  const std::string version = string_of(env, info[2]);
  return HostWorker<Published>::start(
      env, from.path, [=](Published* published) { return copy_host_file(from, version, request, published); }, to_published);
}

// openUpload(request): its descriptor, which is the caller's to close
Napi::Value open_upload_call(const Napi::CallbackInfo& info) {
  const PublishRequest request = request_of(info.Env(), info[0]);
  return HostWorker<int>::start(
      info.Env(), request.target.path,
      [request](int* fd) {
        UniqueFd opened;
        const int error = open_host_upload(request, &opened);
        *fd = opened.release();
        return error;
      },
      [](Napi::Env env, const int& fd) -> Napi::Value { return Napi::Number::New(env, fd); });
}

// publish(request, fd)
Napi::Value publish_call(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const PublishRequest request = request_of(env, info[0]);
  const int fd = static_cast<int>(integer_of(env, info[1]));
  return HostWorker<Published>::start(
      env, request.target.path, [=](Published* published) { return publish_host_file(fd, request, published); },
      to_published);
}

}  // namespace

Napi::Object define_host_file(Napi::Env env) {
  Napi::Object calls = Napi::Object::New(env);
  calls.Set("read", Napi::Function::New<read_call>(env, "read"));
  calls.Set("append", Napi::Function::New<append_call>(env, "append"));
  calls.Set("setTime", Napi::Function::New<set_time_call>(env, "setTime"));
  calls.Set("store", Napi::Function::New<store_call>(env, "store"));
  calls.Set("copy", Napi::Function::New<copy_call>(env, "copy"));
  calls.Set("openUpload", Napi::Function::New<open_upload_call>(env, "openUpload"));
  calls.Set("publish", Napi::Function::New<publish_call>(env, "publish"));
  return calls;
}

}  // namespace ovfsd
