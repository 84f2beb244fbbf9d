// A uv_poll handle with one owner.
#pragma once

#include <uv.h>

#include <functional>
#include <stdexcept>
#include <string>

namespace ovfs_frontend {

// Watches one fd on Node's loop. Does not keep the loop alive until `ref(true)`. The fd must outlive this object.
class LoopPoll {
 public:
  using Callback = std::function<void()>;

  LoopPoll(uv_loop_t* loop, int fd, int events, Callback callback) : state_(new State{{}, std::move(callback)}) {
    if (const int status = uv_poll_init(loop, &state_->handle, fd); status != 0) {
      delete state_;
      throw std::runtime_error(std::string("uv_poll_init: ") + uv_strerror(status));
    }
    state_->handle.data = state_;
    uv_poll_start(&state_->handle, events, [](uv_poll_t* handle, int, int) {
      // The callback may destroy the LoopPoll: keep what it captured alive until it returns.
      const Callback run = static_cast<State*>(handle->data)->callback;
      run();
    });
    ref(false);
  }
  // libuv frees the handle on its next turn; the callback is never called again.
  ~LoopPoll() {
    uv_poll_stop(&state_->handle);
    uv_close(reinterpret_cast<uv_handle_t*>(&state_->handle),
             [](uv_handle_t* handle) { delete static_cast<State*>(handle->data); });
  }
  LoopPoll(const LoopPoll&) = delete;
  LoopPoll& operator=(const LoopPoll&) = delete;

  void stop() { uv_poll_stop(&state_->handle); }
  void ref(bool on) {
    auto* handle = reinterpret_cast<uv_handle_t*>(&state_->handle);
    if (on) {
      uv_ref(handle);
    } else {
      uv_unref(handle);
    }
  }

 private:
  struct State {
    uv_poll_t handle;
    Callback callback;
  };
  State* state_;
};

}  // namespace ovfs_frontend
