#include "front_end_object.h"

#include <sys/types.h>
#include <unistd.h>

#include <cerrno>
#include <stdexcept>
#include <system_error>

#include "promise_task.h"

namespace ovfs_frontend {

namespace {

uv_loop_t* loop_of(Napi::Env env) {
  uv_loop_t* loop = nullptr;
  if (napi_get_uv_event_loop(env, &loop) != napi_ok) throw std::runtime_error("no event loop");
  return loop;
}

std::span<const uint8_t> bytes_argument(const Napi::Value& value) {
  const auto array = value.As<Napi::Uint8Array>();
  return {array.Data(), array.ByteLength()};
}

std::span<const uint32_t> words_argument(const Napi::Value& value) {
  const auto array = value.As<Napi::Uint32Array>();
  return {array.Data(), array.ElementLength()};
}

Napi::Uint8Array copy_bytes(Napi::Env env, std::span<const uint8_t> bytes) {
  return Napi::Buffer<uint8_t>::Copy(env, bytes.data(), bytes.size());
}

FrontEndOptions options_argument(const Napi::Object& object) {
  FrontEndOptions options;
  options.socket_path = object.Get("socketPath").As<Napi::String>().Utf8Value();
  options.memory_bytes = static_cast<uint64_t>(object.Get("memoryBytes").ToNumber().Int64Value());
  options.regions = object.Get("regions").ToNumber().Uint32Value();
  options.add_mem_reg = object.Get("addMemReg").ToBoolean();
  options.queues = object.Get("queues").ToNumber().Uint32Value();
  options.queue_size = static_cast<uint16_t>(object.Get("queueSize").ToNumber().Uint32Value());
  options.indirect_desc = object.Get("indirectDesc").ToBoolean();
  options.event_idx = object.Get("eventIdx").ToBoolean();
  options.ack_all = object.Get("ackAll").ToBoolean();
  options.reply_timeout_ms = object.Get("replyTimeoutMs").ToNumber().Int32Value();
  return options;
}

}  // namespace

Napi::Function FrontEndObject::define(Napi::Env env) {
  using Self = FrontEndObject;
  return DefineClass(env, "NativeFrontEnd",
                     {
                         InstanceMethod<&Self::negotiate>("negotiate"),
                         InstanceMethod<&Self::negotiate_features>("negotiateFeatures"),
                         InstanceMethod<&Self::share_memory>("shareMemory"),
                         InstanceMethod<&Self::start_vring>("startVring"),
                         InstanceMethod<&Self::stop_vring>("stopVring"),
                         InstanceMethod<&Self::negotiated>("negotiated"),
                         InstanceMethod<&Self::submit>("submit"),
                         InstanceMethod<&Self::publish>("publish"),
                         InstanceMethod<&Self::send_bytes>("sendBytes"),
                         InstanceMethod<&Self::receive>("receive"),
                         InstanceMethod<&Self::read_memory>("readMemory"),
                         InstanceMethod<&Self::write_memory>("writeMemory"),
                         InstanceMethod<&Self::truncate_memory>("truncateMemory"),
                         InstanceMethod<&Self::memory_layout>("memoryLayout"),
                         InstanceMethod<&Self::vring_layout>("vringLayout"),
                         InstanceMethod<&Self::kick>("kick"),
                         InstanceMethod<&Self::reap_now>("reap"),
                         InstanceMethod<&Self::take_over>("takeOver"),
                         InstanceMethod<&Self::watch_disconnect>("watchDisconnect"),
                         InstanceMethod<&Self::close_from_js>("close"),
                     });
}

FrontEndObject::FrontEndObject(const Napi::CallbackInfo& info) : Napi::ObjectWrap<FrontEndObject>(info) {
  const auto options = info[0].As<Napi::Object>();
  front_end_ = std::make_shared<FrontEnd>(options_argument(options));
  on_burst_ = Napi::Persistent(options.Get("onBurst").As<Napi::Function>());
  on_disconnect_ = Napi::Persistent(options.Get("onDisconnect").As<Napi::Function>());
  context_.emplace(info.Env(), "ovfs_frontend");
  allocator_.emplace(front_end_->memory(), front_end_->buffers_offset(), front_end_->memory().size());
  taken_over_.assign(front_end_->options().queues, false);
  uv_loop_t* loop = loop_of(info.Env());
  for (uint32_t queue = 0; queue < front_end_->options().queues; ++queue) {
    DriverVring& vring = front_end_->vring(queue);
    requests_.push_back(std::make_unique<RequestTable>(front_end_->memory(), *allocator_, vring,
                                                       front_end_->options().indirect_desc));
    call_polls_.push_back(
        std::make_unique<LoopPoll>(loop, vring.call_fd(), UV_READABLE, [this, queue] { on_call(queue); }));
  }
  hangup_poll_ = std::make_unique<LoopPoll>(loop, front_end_->connection().fd(), UV_DISCONNECT, [this] { on_hangup(); });
}

FrontEnd& FrontEndObject::front_end() {
  if (!front_end_) throw std::runtime_error("the front-end is closed");
  return *front_end_;
}

uint32_t FrontEndObject::queue_argument(const Napi::Value& value) {
  const uint32_t queue = value.ToNumber().Uint32Value();
  if (queue >= front_end().options().queues) throw std::invalid_argument("no such queue: " + std::to_string(queue));
  return queue;
}

void FrontEndObject::check_memory_whole() {
  if (memory_truncated_) throw std::runtime_error("guest memory was truncated");
}

// ---- set-up ----

Napi::Value FrontEndObject::negotiate(const Napi::CallbackInfo& info) {
  front_end();
  return PromiseTask::run(
      info.Env(), [front = front_end_] { front->negotiate(); }, [](Napi::Env env) { return env.Undefined(); });
}

Napi::Value FrontEndObject::negotiate_features(const Napi::CallbackInfo& info) {
  front_end();
  return PromiseTask::run(
      info.Env(), [front = front_end_] { front->negotiate_features(); }, [](Napi::Env env) { return env.Undefined(); });
}

Napi::Value FrontEndObject::share_memory(const Napi::CallbackInfo& info) {
  front_end();
  return PromiseTask::run(
      info.Env(), [front = front_end_] { front->share_memory(); }, [](Napi::Env env) { return env.Undefined(); });
}

Napi::Value FrontEndObject::start_vring(const Napi::CallbackInfo& info) {
  const uint32_t queue = queue_argument(info[0]);
  const auto base = static_cast<uint16_t>(info[1].ToNumber().Uint32Value());
  if (info[2].ToBoolean()) {
    if (front_end().vring(queue).in_flight() != 0) throw std::runtime_error("the vring has requests in flight");
    check_memory_whole();
    front_end().vring(queue).reset(base);
  }
  return PromiseTask::run(
      info.Env(), [front = front_end_, queue, base] { front->start_vring(queue, base); },
      [](Napi::Env env) { return env.Undefined(); });
}

Napi::Value FrontEndObject::stop_vring(const Napi::CallbackInfo& info) {
  const uint32_t queue = queue_argument(info[0]);
  auto base = std::make_shared<uint16_t>();
  return PromiseTask::run(
      info.Env(), [front = front_end_, queue, base] { *base = front->stop_vring(queue); },
      [base](Napi::Env env) -> Napi::Value { return Napi::Number::New(env, *base); });
}

Napi::Value FrontEndObject::negotiated(const Napi::CallbackInfo& info) {
  auto result = Napi::Object::New(info.Env());
  result.Set("deviceFeatures", Napi::BigInt::New(info.Env(), front_end().device_features()));
  result.Set("features", Napi::BigInt::New(info.Env(), front_end().features()));
  result.Set("protocolFeatures", Napi::BigInt::New(info.Env(), front_end().protocol_features()));
  result.Set("maxQueues", Napi::Number::New(info.Env(), static_cast<double>(front_end().max_queues())));
  return result;
}

// ---- requests ----

Napi::Value FrontEndObject::submit(const Napi::CallbackInfo& info) {
  check_memory_whole();
  const uint32_t queue = queue_argument(info[0]);
  const auto id = static_cast<uint64_t>(info[1].ToNumber().Int64Value());
  const bool added =
      requests_[queue]->submit(id, bytes_argument(info[2]), words_argument(info[3]), words_argument(info[4]));
  if (added) update_ref(queue);
  return Napi::Boolean::New(info.Env(), added);
}

void FrontEndObject::publish(const Napi::CallbackInfo& info) {
  check_memory_whole();
  DriverVring& vring = front_end().vring(queue_argument(info[0]));
  vring.publish();
  if (vring.kick_needed()) vring.kick();
}

void FrontEndObject::on_call(uint32_t queue) {
  uint64_t count = 0;
  if (::read(front_end_->vring(queue).call_fd(), &count, sizeof(count)) == sizeof(count)) drain(queue);
}

void FrontEndObject::drain(uint32_t queue) {
  if (memory_truncated_ || taken_over_[queue]) {
    deliver(queue, {}, {});
    return;
  }
  DriverVring& vring = front_end_->vring(queue);
  std::vector<Completion> completions;
  std::string broken;
  try {
    do {
      while (std::optional<Completion> completion = requests_[queue]->reap()) {
        completions.push_back(std::move(*completion));
      }
    } while (vring.enable_call());
  } catch (const std::exception& error) {
    broken = error.what();
    call_polls_[queue]->stop();
  }
  update_ref(queue);
  deliver(queue, completions, broken);
}

void FrontEndObject::reap_now(const Napi::CallbackInfo& info) {
  const uint32_t queue = queue_argument(info[0]);
  const uint64_t one = 1;
  if (::write(front_end().vring(queue).call_fd(), &one, sizeof(one)) < 0) {
    throw std::system_error(errno, std::generic_category(), "write call eventfd");
  }
}

void FrontEndObject::deliver(uint32_t queue, const std::vector<Completion>& completions, const std::string& broken) {
  const Napi::Env env = Env();
  const Napi::HandleScope scope(env);
  auto list = Napi::Array::New(env, completions.size());
  for (size_t i = 0; i < completions.size(); ++i) {
    const Completion& completion = completions[i];
    auto entry = Napi::Object::New(env);
    entry.Set("id", Napi::Number::New(env, static_cast<double>(completion.id)));
    entry.Set("usedBytes", Napi::Number::New(env, completion.used_bytes));
    entry.Set("data", copy_bytes(env, completion.data));
    entry.Set("violation", Napi::String::New(env, completion.violation));
    list.Set(static_cast<uint32_t>(i), entry);
  }
  try {
    on_burst_.MakeCallback(env.Global(),
                           std::vector<napi_value>{Napi::Number::New(env, queue), list, Napi::String::New(env, broken)},
                           *context_);
  } catch (const Napi::Error& error) {
    napi_fatal_exception(env, error.Value());
  }
}

// A request in flight keeps the process alive; an idle front-end does not.
void FrontEndObject::update_ref(uint32_t queue) {
  call_polls_[queue]->ref(!disconnected_ && front_end_->vring(queue).in_flight() != 0);
}

// ---- raw access ----

Napi::Value FrontEndObject::send_bytes(const Napi::CallbackInfo& info) {
  std::vector<int> fds;
  const auto list = info[1].As<Napi::Array>();
  for (uint32_t i = 0; i < list.Length(); ++i) fds.push_back(list.Get(i).ToNumber().Int32Value());
  const size_t sent = front_end().connection().send_bytes(bytes_argument(info[0]), fds);
  return Napi::Number::New(info.Env(), static_cast<double>(sent));
}

Napi::Value FrontEndObject::receive(const Napi::CallbackInfo& info) {
  front_end();
  const int timeout_ms = info[0].ToNumber().Int32Value();
  auto message = std::make_shared<std::optional<Message>>();
  return PromiseTask::run(
      info.Env(), [front = front_end_, message, timeout_ms] { *message = front->connection().receive(timeout_ms); },
      [message](Napi::Env env) -> Napi::Value {
        if (!*message) return env.Null();
        auto result = Napi::Object::New(env);
        result.Set("request", Napi::Number::New(env, (*message)->header.request));
        result.Set("flags", Napi::Number::New(env, (*message)->header.flags));
        result.Set("payload", copy_bytes(env, (*message)->payload));
        result.Set("fds", Napi::Number::New(env, static_cast<double>((*message)->fds.size())));
        return result;
      });
}

// pread and pwrite see the same pages as the mapping and fail softly after a truncation.
Napi::Value FrontEndObject::read_memory(const Napi::CallbackInfo& info) {
  const auto offset = static_cast<off_t>(info[0].ToNumber().Int64Value());
  std::vector<uint8_t> bytes(info[1].ToNumber().Uint32Value());
  const ssize_t count = ::pread(front_end().memory().fd(), bytes.data(), bytes.size(), offset);
  if (count < 0) throw std::system_error(errno, std::generic_category(), "pread guest memory");
  return copy_bytes(info.Env(), std::span(bytes).first(static_cast<size_t>(count)));
}

void FrontEndObject::write_memory(const Napi::CallbackInfo& info) {
  const auto offset = static_cast<off_t>(info[0].ToNumber().Int64Value());
  const std::span<const uint8_t> bytes = bytes_argument(info[1]);
  if (offset < 0 || static_cast<uint64_t>(offset) + bytes.size() > front_end().memory().size()) {
    throw std::out_of_range("outside guest memory");
  }
  if (::pwrite(front_end().memory().fd(), bytes.data(), bytes.size(), offset) != static_cast<ssize_t>(bytes.size())) {
    throw std::system_error(errno, std::generic_category(), "pwrite guest memory");
  }
}

void FrontEndObject::truncate_memory(const Napi::CallbackInfo& info) {
  memory_truncated_ = true;
  if (::ftruncate(front_end().memory().fd(), static_cast<off_t>(info[0].ToNumber().Int64Value())) != 0) {
    throw std::system_error(errno, std::generic_category(), "ftruncate guest memory");
  }
}

Napi::Value FrontEndObject::memory_layout(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const GuestMemory& memory = front_end().memory();
  auto regions = Napi::Array::New(env);
  for (const vhost_user::MemRegion& region : memory.regions()) {
    auto entry = Napi::Object::New(env);
    entry.Set("gpa", Napi::BigInt::New(env, region.guest_phys_addr));
    entry.Set("sizeBytes", Napi::Number::New(env, static_cast<double>(region.memory_size)));
    entry.Set("userAddr", Napi::BigInt::New(env, region.userspace_addr));
    entry.Set("mmapOffset", Napi::Number::New(env, static_cast<double>(region.mmap_offset)));
    regions.Set(regions.Length(), entry);
  }
  auto result = Napi::Object::New(env);
  result.Set("fd", Napi::Number::New(env, memory.fd()));
  result.Set("sizeBytes", Napi::Number::New(env, static_cast<double>(memory.size())));
  result.Set("buffersOffset", Napi::Number::New(env, static_cast<double>(front_end().buffers_offset())));
  result.Set("regions", regions);
  return result;
}

Napi::Value FrontEndObject::vring_layout(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const DriverVring& vring = front_end().vring(queue_argument(info[0]));
  auto result = Napi::Object::New(env);
  const auto set = [&](const char* name, double value) { result.Set(name, Napi::Number::New(env, value)); };
  set("size", vring.size());
  set("descTable", static_cast<double>(vring.layout().desc_table));
  set("availRing", static_cast<double>(vring.layout().avail_ring));
  set("usedRing", static_cast<double>(vring.layout().used_ring));
  set("kickFd", vring.kick_fd());
  set("callFd", vring.call_fd());
  set("errFd", vring.err_fd());
  return result;
}

void FrontEndObject::kick(const Napi::CallbackInfo& info) { front_end().vring(queue_argument(info[0])).kick(); }

void FrontEndObject::take_over(const Napi::CallbackInfo& info) {
  taken_over_[queue_argument(info[0])] = info[1].ToBoolean();
}

// ---- end ----

void FrontEndObject::on_hangup() {
  disconnected_ = true;
  hangup_poll_->stop();
  const Napi::Env env = Env();
  const Napi::HandleScope scope(env);
  // Completions that the back-end pushed before it went are still good.
  for (uint32_t queue = 0; queue < requests_.size(); ++queue) drain(queue);
  if (!front_end_) return;
  for (uint32_t queue = 0; queue < requests_.size(); ++queue) update_ref(queue);
  try {
    on_disconnect_.MakeCallback(env.Global(), std::vector<napi_value>{}, *context_);
  } catch (const Napi::Error& error) {
    napi_fatal_exception(env, error.Value());
  }
}

void FrontEndObject::watch_disconnect(const Napi::CallbackInfo& info) {
  front_end();
  hangup_poll_->ref(info[0].ToBoolean());
}

void FrontEndObject::close_from_js(const Napi::CallbackInfo&) { close(); }

void FrontEndObject::close() {
  if (!front_end_) return;
  hangup_poll_.reset();
  call_polls_.clear();
  requests_.clear();
  allocator_.reset();
  front_end_->connection().shutdown();
  // A worker that waits for a reply still holds it; the socket and the memory go with the last holder.
  front_end_.reset();
}

}  // namespace ovfs_frontend
