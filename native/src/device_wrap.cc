#include "device_wrap.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "napi_error.h"
#include "pool_wrap.h"

namespace ovfsd {

/// What libuv holds pointers to. Freed when both handles are closed.
struct DeviceWrap::LoopHandles {
  uv_poll_t poll;
  uv_idle_t idle;
  DeviceWrap* owner;  // nullptr once the device is closed
  int open = 2;
  // Keeps the environment's teardown waiting until the handles are closed.
  napi_async_cleanup_hook_handle cleanup = nullptr;
  // Outlives `close`, because that may be called from within a scope that uses it.
  napi_env env;
  napi_async_context async_context = nullptr;

  static void on_closed(uv_handle_t* handle) {
    auto* self = static_cast<LoopHandles*>(handle->data);
    if (--self->open > 0) return;
    if (self->async_context != nullptr) napi_async_destroy(self->env, self->async_context);
    if (self->cleanup != nullptr) napi_remove_async_cleanup_hook(self->cleanup);
    delete self;
  }
};

namespace {

uint32_t option(const Napi::Object& options, const char* name, uint32_t least, uint32_t most) {
  const Napi::Value value = options.Get(name);
  const double number = value.IsNumber() ? value.As<Napi::Number>().DoubleValue() : -1;
  if (!(number >= least && number <= most) || number != std::floor(number)) {
    throw range_error(options.Env(), std::string(name) + " must be a whole number from " + std::to_string(least) +
                                         " to " + std::to_string(most));
  }
  return static_cast<uint32_t>(number);
}

Napi::Function callback(const Napi::Object& options, const char* name) {
  const Napi::Value value = options.Get(name);
  if (!value.IsFunction()) throw Napi::TypeError::New(options.Env(), std::string(name) + " must be a function");
  return value.As<Napi::Function>();
}

DeviceConfig config_of(const Napi::Object& options) {
  DeviceConfig config;
  config.request_queues = option(options, "requestQueues", 1, Device::kMaxRequestQueues);
  config.slots = option(options, "slots", Device::kMinSlots, Device::kMaxSlots);
  if ((config.slots & (config.slots - 1)) != 0) throw range_error(options.Env(), "slots must be a power of two");
  config.poll_window_us = option(options, "pollWindowUs", 0, Device::kMaxPollWindowUs);
  return config;
}

}  // namespace

Napi::Function DeviceWrap::define(Napi::Env env) {
  const auto hot = [](const char* name, napi_callback function) {
    napi_property_descriptor descriptor = {};
    descriptor.utf8name = name;
    descriptor.method = function;
    descriptor.attributes = napi_default_method;
    return Napi::ClassPropertyDescriptor<DeviceWrap>(descriptor);
  };
  return DefineClass(env, "Device",
                     {
                         InstanceMethod<&DeviceWrap::listen>("listen"),
                         InstanceMethod<&DeviceWrap::stats>("stats"),
                         InstanceMethod<&DeviceWrap::close>("close"),
                         hot("complete", &DeviceWrap::complete),
                         hot("pull", &DeviceWrap::pull),
                         hot("pullBytes", &DeviceWrap::pull_bytes),
                         hot("push", &DeviceWrap::push),
                         hot("pushBytes", &DeviceWrap::push_bytes),
                         hot("pushZeros", &DeviceWrap::push_zeros),
                         hot("readFile", &DeviceWrap::read_file),
                         hot("readFileLater", &DeviceWrap::read_file_later),
                         hot("writeFile", &DeviceWrap::write_file),
                         hot("writeFileLater", &DeviceWrap::write_file_later),
                     });
}

DeviceWrap::DeviceWrap(const Napi::CallbackInfo& info) : Napi::ObjectWrap<DeviceWrap>(info) {
  const Napi::Env env = info.Env();
  if (!info[0].IsObject()) throw Napi::TypeError::New(env, "options must be an object");
  const Napi::Object options = info[0].As<Napi::Object>();
  const DeviceConfig config = config_of(options);
  on_requests_ = Napi::Persistent(callback(options, "onRequests"));
  on_event_ = Napi::Persistent(callback(options, "onEvent"));
  std::shared_ptr<SlabMemory> pool = PoolWrap::memory_of(env, options.Get("pool"));
  try {
    device_ = std::make_unique<Device>(config, std::move(pool), static_cast<DeviceHost&>(*this));
  } catch (const std::system_error& error) {
    throw to_js_error(env, error);
  }
  define_arena(env, info.This().As<Napi::Object>());
}

DeviceWrap::~DeviceWrap() { shut_down(); }

void DeviceWrap::define_arena(Napi::Env env, Napi::Object self) {
  RequestArena& arena = device_->requests().arena();
  const ArenaLayout& layout = arena.layout();
  auto* holder = new std::shared_ptr<uint8_t[]>(arena.memory());
  Napi::ArrayBuffer buffer = Napi::ArrayBuffer::New(
      env, arena.memory().get(), layout.total_bytes,
      [](Napi::Env, void*, std::shared_ptr<uint8_t[]>* hint) { delete hint; }, holder);
  Napi::Object offsets = Napi::Object::New(env);
  const auto set = [&](const char* name, size_t value) {
    offsets.Set(name, Napi::Number::New(env, static_cast<double>(value)));
  };
  set("requestOffset", layout.request);
  set("replyOffset", layout.reply);
  set("metaOffset", layout.meta);
  set("readyOffset", layout.ready);
  set("doneOffset", layout.done);
  set("burstOffset", layout.burst);
  offsets.Freeze();
  self.DefineProperties({
      Napi::PropertyDescriptor::Value("arena", buffer, napi_enumerable),
      Napi::PropertyDescriptor::Value("layout", offsets, napi_enumerable),
  });
}

// ---- the event loop -----------------------------------------------------------------------------------------------

void DeviceWrap::open_handles(Napi::Env env) {
  uv_loop_t* loop = nullptr;
  if (napi_get_uv_event_loop(env, &loop) != napi_ok) throw Napi::Error::New(env, "no event loop");
  auto handles = std::make_unique<LoopHandles>();
  handles->owner = this;
  handles->env = env;
  const int rc = uv_poll_init(loop, &handles->poll, device_->poll_fd());
  if (rc != 0) throw to_js_error(env, std::system_error(-rc, std::generic_category(), "uv_poll_init"));
  uv_idle_init(loop, &handles->idle);
  handles_ = handles.release();
  handles_->poll.data = handles_->idle.data = handles_;
  uv_poll_start(&handles_->poll, UV_READABLE, &DeviceWrap::on_poll);

  napi_add_async_cleanup_hook(
      env,
      [](napi_async_cleanup_hook_handle, void* data) {
        auto* self = static_cast<LoopHandles*>(data);
        if (self->owner != nullptr) self->owner->shut_down();
      },
      handles_, &handles_->cleanup);

  const Napi::Object resource = Napi::Object::New(env);
  resource_ = Napi::Persistent<Napi::Value>(resource);
  napi_async_init(env, resource, Napi::String::New(env, "ovfsd:device"), &async_context_);
  handles_->async_context = async_context_;
  // While it listens, the device is in use even if JavaScript keeps no reference to it.
  Ref();
}

void DeviceWrap::shut_down() noexcept {
  if (device_ == nullptr || device_->closed()) return;
  LoopHandles* handles = std::exchange(handles_, nullptr);
  if (handles != nullptr) {
    handles->owner = nullptr;
    uv_close(reinterpret_cast<uv_handle_t*>(&handles->poll), &LoopHandles::on_closed);
    uv_close(reinterpret_cast<uv_handle_t*>(&handles->idle), &LoopHandles::on_closed);
  }
  device_->close();
}

void DeviceWrap::on_poll(uv_poll_t* handle, int, int) {
  auto* handles = static_cast<LoopHandles*>(handle->data);
  if (handles->owner != nullptr) handles->owner->turn(true);
}

void DeviceWrap::on_idle(uv_idle_t* handle) {
  auto* handles = static_cast<LoopHandles*>(handle->data);
  if (handles->owner != nullptr) handles->owner->turn(false);
}

void DeviceWrap::turn(bool descriptors_ready) {
  const Napi::HandleScope scope(Env());
  [[maybe_unused]] const Napi::Object alive = Value();  // JavaScript may close and forget the device within the turn
  device_->turn(descriptors_ready);
  update_idle();
}

void DeviceWrap::update_idle() {
  if (handles_ == nullptr) return;
  // An active idle handle makes the loop go round without sleeping: timers and I/O get their turn in between.
  if (device_->wants_turn()) {
    uv_idle_start(&handles_->idle, &DeviceWrap::on_idle);
  } else {
    uv_idle_stop(&handles_->idle);
  }
}

// ---- calls into JavaScript ----------------------------------------------------------------------------------------

namespace {

/// napi_callback_scope as an object: nextTick and the microtasks run when it ends.
class CallbackScope {
 public:
  CallbackScope(napi_env env, napi_value resource, napi_async_context context) : env_(env) {
    if (napi_open_callback_scope(env, resource, context, &scope_) != napi_ok) scope_ = nullptr;
  }
  ~CallbackScope() {
    if (scope_ != nullptr) napi_close_callback_scope(env_, scope_);
  }
  CallbackScope(const CallbackScope&) = delete;
  CallbackScope& operator=(const CallbackScope&) = delete;

 private:
  napi_env env_;
  napi_callback_scope scope_ = nullptr;
};

/// An exception has nobody to go to here: make it an 'uncaughtException', as Node does with its own callbacks.
void report_exception(napi_env env) {
  bool pending = false;
  napi_is_exception_pending(env, &pending);
  if (!pending) return;
  napi_value error;
  if (napi_get_and_clear_last_exception(env, &error) == napi_ok) napi_fatal_exception(env, error);
}

}  // namespace

void DeviceWrap::on_requests(Device& device, uint32_t ready_count) {
  const napi_env env = Env();
  const Napi::HandleScope handle_scope(env);
  const CallbackScope callback_scope(env, resource_.Value(), async_context_);
  napi_value result = nullptr;
  napi_value argument = Napi::Number::New(env, ready_count);
  uint32_t done = 0;
  if (napi_call_function(env, Value(), on_requests_.Value(), 1, &argument, &result) == napi_ok &&
      napi_get_value_uint32(env, result, &done) != napi_ok) {
    done = 0;
  }
  // Before the scope ends: what was answered at once goes to the guest ahead of nextTick and the microtasks.
  device.finish_burst(done);
  report_exception(env);
}

void DeviceWrap::on_event(DeviceEvent event, const std::string& detail, uint32_t value) {
  const napi_env env = Env();
  const Napi::HandleScope handle_scope(env);
  const CallbackScope callback_scope(env, resource_.Value(), async_context_);
  napi_value arguments[3] = {Napi::String::New(env, event_name(event)), Napi::String::New(env, detail),
                             Napi::Number::New(env, value)};
  napi_value result;
  if (napi_call_function(env, Value(), on_event_.Value(), 3, arguments, &result) != napi_ok) report_exception(env);
}

namespace {

/// Ids as numbers.
template <class Id>
std::vector<Id> ids(const Napi::Object& object, const char* name) {
  const Napi::Value value = object.Get(name);
  if (!value.IsArray()) throw Napi::TypeError::New(object.Env(), std::string(name) + " must be an array");
  const Napi::Array array = value.As<Napi::Array>();
  std::vector<Id> result;
  for (uint32_t i = 0; i < array.Length(); i++) result.push_back(array.Get(i).ToNumber().Uint32Value());
  return result;
}

AllowedPeers allowed_peers(const Napi::Object& peers) { return {ids<uid_t>(peers, "users"), ids<gid_t>(peers, "groups")}; }

}  // namespace

// ---- JavaScript's methods -----------------------------------------------------------------------------------------

Napi::Value DeviceWrap::listen(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  if (device_->closed()) throw Napi::Error::New(env, "the device is closed");
  if (device_->listening()) throw Napi::Error::New(env, "the device listens already");
  if (!info[0].IsObject()) throw Napi::TypeError::New(env, "the target must be an object");
  const Napi::Object target = info[0].As<Napi::Object>();
  if (info[1].IsObject()) device_->allow_only(allowed_peers(info[1].As<Napi::Object>()));
  try {
    if (target.Has("path")) {
      const Napi::Value path = target.Get("path");
      if (!path.IsString()) throw Napi::TypeError::New(env, "path must be a string");
      constexpr uint32_t kAllModes = 07777;
      device_->listen(path.As<Napi::String>().Utf8Value(), static_cast<mode_t>(option(target, "mode", 0, kAllModes)));
    } else {
      device_->listen(static_cast<int>(option(target, "fd", 0, INT32_MAX)));
    }
  } catch (const std::system_error& error) {
    throw to_js_error(env, error);
  }
  try {
    open_handles(env);
  } catch (...) {
    device_->close();  // it would listen with nobody to run it
    throw;
  }
  return env.Undefined();
}

Napi::Value DeviceWrap::stats(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const RequestCounters& counters = device_->requests().counters();
  Napi::Object result = Napi::Object::New(env);
  const auto set = [&](const char* name, uint64_t value) {
    result.Set(name, Napi::Number::New(env, static_cast<double>(value)));
  };
  set("slotsInFlight", device_->requests().arena().in_flight());
  set("mappedRegions", device_->mapped_regions());
  set("bursts", device_->bursts());
  set("requests", counters.requests);
  set("calls", counters.calls);
  set("refusedRequests", counters.refused_requests);
  set("ignoredCompletions", counters.ignored_completions);
  return result;
}

Napi::Value DeviceWrap::close(const Napi::CallbackInfo& info) {
  const bool listened = handles_ != nullptr;
  shut_down();
  // The callbacks usually refer to the device: let the ring of references go.
  on_requests_.Reset();
  on_event_.Reset();
  if (listened) Unref();
  return info.Env().Undefined();
}

}  // namespace ovfsd
