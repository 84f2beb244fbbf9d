#include "host_directory_wrap.h"

#include <cstdlib>
#include <string>
#include <vector>

#include "host_directory.h"
#include "host_file.h"
#include "host_worker.h"

namespace ovfsd {
namespace {

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

Napi::Value to_page(Napi::Env env, const HostPage& page) {
  Napi::Object listing = to_listing(env, page.entries).As<Napi::Object>();
  // As text: an offset may have all of its 64 bits.
  listing.Set("next", page.is_end ? env.Null() : Napi::String::New(env, std::to_string(page.next)).As<Napi::Value>());
  // Its owner is the caller from now on.
  listing.Set("opened", Napi::Number::New(env, page.is_end ? -1 : page.opened.release()));
  return listing;
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

// listPage(root, path, fd, from, limit, beneath)
Napi::Value list_page_call(const Napi::CallbackInfo& info) {
  const HostPlace place = place_of(info, 1, 5);
  if (!info[2].IsNumber() || !info[3].IsString() || !info[4].IsNumber())
    throw Napi::TypeError::New(info.Env(), "listPage(root, path, fd: number, from: string, limit: number, beneath)");
  const int32_t fd = info[2].As<Napi::Number>();
  const int64_t from = std::strtoll(info[3].As<Napi::String>().Utf8Value().c_str(), nullptr, 10);
  const uint32_t limit = info[4].As<Napi::Number>();
  return HostWorker<HostPage>::start(
      info.Env(), place.path, [=](HostPage* page) { return list_host_page(place, fd, from, limit, page); }, to_page);
}

Napi::Value to_usage(Napi::Env env, const HostUsage& usage) {
  Napi::Object result = Napi::Object::New(env);
  const auto set = [&](const char* name, uint64_t value) {
    result.Set(name, Napi::Number::New(env, static_cast<double>(value)));
  };
  set("blockSizeBytes", usage.block_size);
  set("totalBlocks", usage.blocks);
  set("freeBlocks", usage.free_blocks);
  set("availableBlocks", usage.available_blocks);
  set("totalFiles", usage.files);
  set("freeFiles", usage.free_files);
  return result;
}

Napi::Value usage_call(const Napi::CallbackInfo& info) {
  const HostPlace place = place_of(info, 1, 2);
  return HostWorker<HostUsage>::start(
      info.Env(), place.root, [place](HostUsage* usage) { return host_usage(place, usage); }, to_usage);
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
  calls.Set("sync", Napi::Function::New<change_call<sync_host_directory>>(env, "sync"));
  calls.Set("usage", Napi::Function::New<usage_call>(env, "usage"));
  calls.Set("listPage", Napi::Function::New<list_page_call>(env, "listPage"));
  calls.Set("list", Napi::Function::New<list_call>(env, "list"));
  return calls;
}

}  // namespace ovfsd
