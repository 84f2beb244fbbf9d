// FrontEnd as a JavaScript object; test/frontend/front-end.ts documents every method.
#pragma once

#include <napi.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "front_end.h"
#include "loop_poll.h"
#include "request_table.h"

namespace ovfs_frontend {

class FrontEndObject : public Napi::ObjectWrap<FrontEndObject> {
 public:
  static Napi::Function define(Napi::Env env);
  explicit FrontEndObject(const Napi::CallbackInfo& info);
  ~FrontEndObject() override { close(); }

 private:
  // Set-up.
  Napi::Value negotiate(const Napi::CallbackInfo& info);
  Napi::Value negotiate_features(const Napi::CallbackInfo& info);
  Napi::Value share_memory(const Napi::CallbackInfo& info);
  Napi::Value start_vring(const Napi::CallbackInfo& info);
  Napi::Value stop_vring(const Napi::CallbackInfo& info);
  Napi::Value negotiated(const Napi::CallbackInfo& info);
  // Requests.
  Napi::Value submit(const Napi::CallbackInfo& info);
  void publish(const Napi::CallbackInfo& info);
  // Raw access.
  Napi::Value send_bytes(const Napi::CallbackInfo& info);
  Napi::Value receive(const Napi::CallbackInfo& info);
  Napi::Value read_memory(const Napi::CallbackInfo& info);
  void write_memory(const Napi::CallbackInfo& info);
  void truncate_memory(const Napi::CallbackInfo& info);
  Napi::Value memory_layout(const Napi::CallbackInfo& info);
  Napi::Value vring_layout(const Napi::CallbackInfo& info);
  void kick(const Napi::CallbackInfo& info);
  void reap_now(const Napi::CallbackInfo& info);
  void take_over(const Napi::CallbackInfo& info);
  // End.
  void watch_disconnect(const Napi::CallbackInfo& info);
  void close_from_js(const Napi::CallbackInfo& info);
  void close();

  // Throws into JavaScript when the object is closed.
  FrontEnd& front_end();
  uint32_t queue_argument(const Napi::Value& value);
  // Throws when the memory was truncated: touching the mapping would be SIGBUS.
  void check_memory_whole();
  void on_call(uint32_t queue);
  // Reap and deliver all completions.
  void drain(uint32_t queue);
  void on_hangup();
  void deliver(uint32_t queue, const std::vector<Completion>& completions, const std::string& broken);
  void update_ref(uint32_t queue);

  std::shared_ptr<FrontEnd> front_end_;
  std::optional<BufferAllocator> allocator_;
  std::vector<std::unique_ptr<RequestTable>> requests_;
  // Vrings that JavaScript writes by hand: their used rings are not ours to read.
  std::vector<bool> taken_over_;
  std::vector<std::unique_ptr<LoopPoll>> call_polls_;
  std::unique_ptr<LoopPoll> hangup_poll_;
  std::optional<Napi::AsyncContext> context_;
  Napi::FunctionReference on_burst_;
  Napi::FunctionReference on_disconnect_;
  bool memory_truncated_ = false;
  bool disconnected_ = false;
};

}  // namespace ovfs_frontend
