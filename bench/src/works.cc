#include "works.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <cstdio>
#include <stdexcept>

namespace ovfs_bench {

namespace {

constexpr uint32_t kPage = static_cast<uint32_t>(GuestMemory::kPageBytes);

// Write the digits of `number` in place, without allocating.
void put_number(uint8_t* digits, uint64_t number) {
  for (int i = static_cast<int>(kNumberDigits) - 1; i >= 0; --i, number /= 10) {
    digits[i] = static_cast<uint8_t>('0' + number % 10);
  }
}

}  // namespace

void put_file_name(uint8_t* where, uint64_t number) {
  where[0] = 'f';
  where[1] = '-';
  put_number(where + 2, number);
  where[2 + kNumberDigits] = 0;
}

SlotShape read_shape(uint32_t opcode, uint32_t bytes) {
  return {.opcode = opcode, .args_bytes = sizeof(fuse_read_in), .data_out_bytes = bytes};
}
SlotShape flush_shape() { return {.opcode = FUSE_FLUSH, .args_bytes = sizeof(fuse_flush_in)}; }
SlotShape release_shape(uint32_t opcode) { return {.opcode = opcode, .args_bytes = sizeof(fuse_release_in)}; }

void check_whole(uint32_t wanted, uint32_t got) {
  if (wanted != got) {
    throw std::runtime_error("a transfer of " + std::to_string(wanted) + " bytes moved " + std::to_string(got));
  }
}

std::string numbered(const std::string& prefix, uint64_t number) {
  char digits[kNumberDigits + 1];
  std::snprintf(digits, sizeof(digits), "%0*u", static_cast<int>(kNumberDigits), static_cast<unsigned>(number));
  return prefix + "-" + digits;
}

// ---- getattr ----

std::vector<SlotShape> GetattrWork::shapes() const {
  return {{.opcode = FUSE_GETATTR, .args_bytes = sizeof(fuse_getattr_in), .reply_bytes = sizeof(fuse_attr_out)}};
}

uint64_t GetattrWork::fill(unsigned, unsigned, RequestSlot&) { return nodeids_[next_++ % nodeids_.size()]; }

// ---- lookup ----

std::vector<SlotShape> LookupWork::shapes() const {
  return {{.opcode = FUSE_LOOKUP,
           .args_bytes = static_cast<uint32_t>(names_.front().size() + 1),
           .reply_bytes = sizeof(fuse_entry_out)}};
}

uint64_t LookupWork::fill(unsigned, unsigned, RequestSlot& slot) {
  const size_t index = next_++ % names_.size();
  ++lookups_[index];
  slot.put_name(0, names_[index]);
  return directory_;
}

// ---- read and write ----

std::vector<SlotShape> TransferWork::shapes() const {
  if (!write_) return {read_shape(FUSE_READ, block_bytes_)};
  return {{.opcode = FUSE_WRITE,
           .args_bytes = sizeof(fuse_write_in),
           .data_in_bytes = block_bytes_,
           .reply_bytes = sizeof(fuse_write_out)}};
}

uint64_t TransferWork::fill(unsigned, unsigned, RequestSlot& slot) {
  if (max_operations_ != 0 && begun_ == max_operations_) return 0;
  const uint64_t blocks = file_.size_bytes / block_bytes_;
  const uint64_t block = random_ ? random_source_.below(blocks) : begun_ % blocks;
  ++begun_;
  // fuse_read_in and fuse_write_in agree in all that is set here.
  static_assert(sizeof(fuse_read_in) == sizeof(fuse_write_in));
  auto& args = slot.args<fuse_write_in>();
  args.fh = file_.fh;
  args.offset = block * block_bytes_;
  args.size = block_bytes_;
  return file_.nodeid;
}

int TransferWork::completed(unsigned, unsigned, const RequestSlot& slot, uint32_t used_bytes) {
  if (write_) {
    check_whole(block_bytes_, slot.reply<fuse_write_out>().size);
  } else {
    check_whole(block_bytes_, used_bytes - static_cast<uint32_t>(sizeof(fuse_out_header)));
  }
  return kOperationDone;
}

// ---- create, write, flush, release ----

CreateWork::CreateWork(uint64_t directory, uint64_t first, uint64_t max_files)
    : directory_(directory), next_(first), limit_(first + max_files) {
  nodeids_.reserve(max_files);
}

std::vector<SlotShape> CreateWork::shapes() const {
  return {{.opcode = FUSE_CREATE,
           .args_bytes = sizeof(fuse_create_in) + kFileNameBytes,
           .reply_bytes = sizeof(fuse_entry_out) + sizeof(fuse_open_out)},
          {.opcode = FUSE_WRITE,
           .args_bytes = sizeof(fuse_write_in),
           .data_in_bytes = kPage,
           .reply_bytes = sizeof(fuse_write_out)},
          flush_shape(),
          release_shape(FUSE_RELEASE)};
}

uint64_t CreateWork::fill(unsigned lane, unsigned step, RequestSlot& slot) {
  const State& state = lanes_[lane];
  switch (step) {
    case 0: {
      if (next_ == limit_) return 0;
      auto& args = slot.args<fuse_create_in>();
      args.flags = O_CREAT | O_WRONLY | O_TRUNC;
      args.mode = S_IFREG | 0644;
      put_file_name(slot.args_bytes() + sizeof(args), next_++);
      return directory_;
    }
    case 1: {
      auto& args = slot.args<fuse_write_in>();
      args.fh = state.fh;
      args.size = kPage;
      return state.nodeid;
    }
    case 2:
      slot.args<fuse_flush_in>().fh = state.fh;
      return state.nodeid;
    default:
      slot.args<fuse_release_in>().fh = state.fh;
      return state.nodeid;
  }
}

int CreateWork::completed(unsigned lane, unsigned step, const RequestSlot& slot, uint32_t) {
  if (step == 0) {
    lanes_[lane].nodeid = slot.reply<fuse_entry_out>().nodeid;
    lanes_[lane].fh = slot.reply<fuse_open_out>(sizeof(fuse_entry_out)).fh;
    nodeids_.push_back(lanes_[lane].nodeid);
  } else if (step == 1) {
    check_whole(kPage, slot.reply<fuse_write_out>().size);
  }
  return step == 3 ? kOperationDone : static_cast<int>(step) + 1;
}

// ---- unlink ----

std::vector<SlotShape> UnlinkWork::shapes() const {
  return {{.opcode = FUSE_UNLINK, .args_bytes = kFileNameBytes}};
}

uint64_t UnlinkWork::fill(unsigned, unsigned, RequestSlot& slot) {
  if (next_ == end_) return 0;
  put_file_name(slot.args_bytes(), next_++);
  return directory_;
}

// ---- open, read, flush, release ----

std::vector<SlotShape> OpenReadWork::shapes() const {
  return {{.opcode = FUSE_OPEN, .args_bytes = sizeof(fuse_open_in), .reply_bytes = sizeof(fuse_open_out)},
          read_shape(FUSE_READ, kPage),
          flush_shape(),
          release_shape(FUSE_RELEASE)};
}

uint64_t OpenReadWork::fill(unsigned lane, unsigned step, RequestSlot& slot) {
  State& state = lanes_[lane];
  switch (step) {
    case 0:
      if (max_operations_ != 0 && next_ == max_operations_) return 0;
      state.nodeid = nodeids_[next_++ % nodeids_.size()];
      break;
    case 1:
      slot.args<fuse_read_in>().fh = state.fh;
      slot.args<fuse_read_in>().size = kPage;
      break;
    case 2:
      slot.args<fuse_flush_in>().fh = state.fh;
      break;
    default:
      slot.args<fuse_release_in>().fh = state.fh;
  }
  return state.nodeid;
}

int OpenReadWork::completed(unsigned lane, unsigned step, const RequestSlot& slot, uint32_t used_bytes) {
  if (step == 0) lanes_[lane].fh = slot.reply<fuse_open_out>().fh;
  if (step == 1) check_whole(kPage, used_bytes - static_cast<uint32_t>(sizeof(fuse_out_header)));
  return step == 3 ? kOperationDone : static_cast<int>(step) + 1;
}

// ---- list ----

ListWork::ListWork(uint64_t directory, uint64_t entries, uint64_t max_operations)
    : directory_(directory), entries_(entries), max_operations_(max_operations) {
  // Room for what a daemon lists in some seconds; beyond it the vector grows, which costs the generator little.
  looked_up_.reserve(entries * 200);
}

std::vector<SlotShape> ListWork::shapes() const {
  return {{.opcode = FUSE_OPENDIR, .args_bytes = sizeof(fuse_open_in), .reply_bytes = sizeof(fuse_open_out)},
          read_shape(FUSE_READDIRPLUS, kPage),
          release_shape(FUSE_RELEASEDIR)};
}

uint64_t ListWork::fill(unsigned, unsigned step, RequestSlot& slot) {
  if (step == 0) {
    if (max_operations_ != 0 && begun_++ == max_operations_) return 0;
    offset_ = 0;
    seen_ = 0;
  } else if (step == 1) {
    auto& args = slot.args<fuse_read_in>();
    args.fh = fh_;
    args.offset = offset_;
    args.size = kPage;
  } else {
    slot.args<fuse_release_in>().fh = fh_;
  }
  return directory_;
}

int ListWork::completed(unsigned, unsigned step, const RequestSlot& slot, uint32_t used_bytes) {
  if (step == 0) {
    fh_ = slot.reply<fuse_open_out>().fh;
    return 1;
  }
  if (step == 2) return kOperationDone;
  const uint8_t* page = slot.data_out().front();
  const size_t bytes = used_bytes - sizeof(fuse_out_header);
  if (bytes == 0) {
    if (seen_ != entries_) throw std::runtime_error("listed " + std::to_string(seen_) + " entries");
    return 2;
  }
  for (size_t at = 0; at + FUSE_NAME_OFFSET_DIRENTPLUS <= bytes;) {
    const auto* entry = reinterpret_cast<const fuse_direntplus*>(page + at);
    const bool dots = entry->dirent.name[0] == '.';
    if (!dots) ++seen_;
    if (!dots && entry->entry_out.nodeid != 0) looked_up_.push_back(entry->entry_out.nodeid);
    offset_ = entry->dirent.off;
    at += FUSE_DIRENTPLUS_SIZE(entry);
  }
  return 1;
}

}  // namespace ovfs_bench
