// A vhost-user front-end and the guest behind it: socket, guest memory and vrings, set up as QEMU 7.2 does.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "connection.h"
#include "driver_vring.h"
#include "guest_memory.h"

namespace ovfs_frontend {

struct FrontEndOptions {
  std::string socket_path;
  uint64_t memory_bytes = 64ull << 20;
  uint32_t regions = 2;
  // ADD_MEM_REG, one message a region, where the back-end offers CONFIGURE_MEM_SLOTS; else one SET_MEM_TABLE.
  bool add_mem_reg = false;
  // The hiprio queue and the request queues.
  uint32_t queues = 2;
  uint16_t queue_size = 1024;
  bool indirect_desc = true;
  bool event_idx = true;
  // Ask for an acknowledgement of every message that may have one. QEMU asks for few.
  bool ack_all = false;
  // A back-end that is silent for longer is broken.
  int reply_timeout_ms = 10000;
};

class FrontEnd {
 public:
  // Connects; says nothing yet.
  explicit FrontEnd(FrontEndOptions options);

  // Realize and start: features, memory, all vrings, in QEMU's order. Blocks for the replies. Throws
  // std::runtime_error.
  void negotiate();

  // Its parts, for tests that do something else in between.
  void negotiate_features();
  void share_memory();
  // SET_VRING_NUM, BASE, ADDR, KICK, ENABLE, CALL. `base` is where the device goes on in the avail ring.
  void start_vring(uint32_t index, uint16_t base);
  // ENABLE 0, then GET_VRING_BASE, which the back-end answers once it has completed all it has taken. Returns the
  // index it gave: chains from there on wait in the avail ring.
  uint16_t stop_vring(uint32_t index);

  [[nodiscard]] const FrontEndOptions& options() const { return options_; }
  [[nodiscard]] Connection& connection() { return connection_; }
  [[nodiscard]] GuestMemory& memory() { return memory_; }
  [[nodiscard]] DriverVring& vring(uint32_t index) { return *vrings_.at(index); }
  [[nodiscard]] uint64_t device_features() const { return device_features_; }
  [[nodiscard]] uint64_t features() const { return features_; }
  [[nodiscard]] uint64_t protocol_features() const { return protocol_features_; }
  // What the back-end answered to GET_QUEUE_NUM; 0 when it was not asked.
  [[nodiscard]] uint64_t max_queues() const { return max_queues_; }
  // First byte of guest memory after the vrings: free for buffers.
  [[nodiscard]] uint64_t buffers_offset() const { return buffers_offset_; }

 private:
  uint64_t get_u64(vhost_user::Request request);
  void negotiate_protocol_features();
  void check_queue_count() const;
  void send_call(uint32_t index);
  void configure_vring(uint32_t index, uint16_t base);
  void enable_vring(uint32_t index, bool on);
  void send_plain(vhost_user::Request request, const void* payload, size_t bytes, std::vector<int> fds = {});
  // Send and, where REPLY_ACK was agreed on, wait for the back-end's word that it worked.
  void send_acked(vhost_user::Request request, const void* payload, size_t bytes, std::vector<int> fds = {});
  Message receive_reply(vhost_user::Request request);
  [[nodiscard]] bool has_protocol(unsigned bit) const { return (protocol_features_ >> bit & 1) != 0; }

  FrontEndOptions options_;
  Connection connection_;
  GuestMemory memory_;
  std::vector<std::unique_ptr<DriverVring>> vrings_;
  // Our end stays open so that the back-end's channel does not look closed; virtio-fs without DAX sends nothing on it.
  UniqueFd backend_channel_;
  uint64_t device_features_ = 0;
  uint64_t features_ = 0;
  uint64_t protocol_features_ = 0;
  uint64_t max_queues_ = 0;
  uint64_t buffers_offset_ = 0;
  // A question and its answer stay together when several threads ask.
  std::mutex exchange_;
};

}  // namespace ovfs_frontend
