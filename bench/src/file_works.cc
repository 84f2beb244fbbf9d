#include "file_works.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <cerrno>
#include <stdexcept>

namespace ovfs_bench {

namespace {

constexpr uint32_t kPage = static_cast<uint32_t>(GuestMemory::kPageBytes);

SlotShape lookup_shape() {
  return {.opcode = FUSE_LOOKUP, .args_bytes = kFileNameBytes, .reply_bytes = sizeof(fuse_entry_out)};
}

SlotShape write_shape(uint32_t bytes) {
  return {.opcode = FUSE_WRITE,
          .args_bytes = sizeof(fuse_write_in),
          .data_in_bytes = bytes,
          .reply_bytes = sizeof(fuse_write_out)};
}

void stamp_pages(const std::vector<uint8_t*>& pages, uint64_t offset) {
  for (size_t i = 0; i < pages.size(); ++i) {
    const uint64_t stamp = page_stamp(offset + i * kPage);
    std::memcpy(pages[i], &stamp, sizeof(stamp));
  }
}

void check_pages(const std::vector<uint8_t*>& pages, uint64_t offset) {
  for (size_t i = 0; i < pages.size(); ++i) {
    uint64_t stamp = 0;
    std::memcpy(&stamp, pages[i], sizeof(stamp));
    if (stamp != page_stamp(offset + i * kPage)) {
      throw std::runtime_error("wrong data at " + std::to_string(offset + i * kPage));
    }
  }
}

uint32_t data_bytes(uint32_t used_bytes) { return used_bytes - static_cast<uint32_t>(sizeof(fuse_out_header)); }

}  // namespace

// ---- one file ----

std::vector<SlotShape> SequentialWork::shapes() const {
  return {write_ ? write_shape(block_bytes_) : read_shape(FUSE_READ, block_bytes_)};
}

uint64_t SequentialWork::fill(unsigned, unsigned, RequestSlot& slot) {
  if (next_offset_ >= file_.size_bytes) return 0;
  // fuse_read_in and fuse_write_in agree in all that is set here.
  static_assert(sizeof(fuse_read_in) == sizeof(fuse_write_in));
  auto& args = slot.args<fuse_write_in>();
  args.fh = file_.fh;
  args.offset = next_offset_;
  args.size = block_bytes_;
  if (write_) stamp_pages(slot.data_in(), next_offset_);
  next_offset_ += block_bytes_;
  return file_.nodeid;
}

int SequentialWork::completed(unsigned, unsigned, const RequestSlot& slot, uint32_t used_bytes) {
  if (write_) {
    check_whole(block_bytes_, slot.reply<fuse_write_out>().size);
  } else {
    check_whole(block_bytes_, data_bytes(used_bytes));
    check_pages(slot.data_out(), slot.args<fuse_read_in>().offset);
  }
  return kOperationDone;
}

// ---- many files ----

FilesWork::FilesWork(uint64_t directory, uint64_t count, uint32_t file_bytes)
    : directory_(directory), count_(count), file_bytes_(file_bytes) {
  nodeids_.reserve(count);
}

std::vector<SlotShape> CreateFilesWork::shapes() const {
  return {lookup_shape(),
          {.opcode = FUSE_CREATE,
           .args_bytes = sizeof(fuse_create_in) + kFileNameBytes,
           .reply_bytes = sizeof(fuse_entry_out) + sizeof(fuse_open_out)},
          write_shape(file_bytes_),
          flush_shape(),
          release_shape(FUSE_RELEASE)};
}

uint64_t CreateFilesWork::fill(unsigned, unsigned step, RequestSlot& slot) {
  switch (step) {
    case 0:
      if (next_ == count_) return 0;
      put_file_name(slot.args_bytes(), next_);
      return directory_;
    case 1: {
      auto& args = slot.args<fuse_create_in>();
      args.flags = O_CREAT | O_WRONLY | O_TRUNC;
      args.mode = S_IFREG | 0644;
      put_file_name(slot.args_bytes() + sizeof(args), next_++);
      return directory_;
    }
    case 2: {
      auto& args = slot.args<fuse_write_in>();
      args.fh = fh_;
      args.size = file_bytes_;
      stamp_pages(slot.data_in(), 0);
      return nodeid_;
    }
    case 3:
      slot.args<fuse_flush_in>().fh = fh_;
      return nodeid_;
    default:
      slot.args<fuse_release_in>().fh = fh_;
      return nodeid_;
  }
}

int CreateFilesWork::completed(unsigned, unsigned step, const RequestSlot& slot, uint32_t) {
  if (step == 1) {
    nodeid_ = slot.reply<fuse_entry_out>().nodeid;
    fh_ = slot.reply<fuse_open_out>(sizeof(fuse_entry_out)).fh;
    nodeids_.push_back(nodeid_);
  } else if (step == 2) {
    check_whole(file_bytes_, slot.reply<fuse_write_out>().size);
  }
  return step == 4 ? kOperationDone : static_cast<int>(step) + 1;
}

bool CreateFilesWork::expects_error(unsigned step, int error) const { return step == 0 && error == ENOENT; }

std::vector<SlotShape> ReadFilesWork::shapes() const {
  // The kernel reads whole pages.
  const uint32_t pages_bytes = (file_bytes_ + kPage - 1) / kPage * kPage;
  return {lookup_shape(),
          {.opcode = FUSE_OPEN, .args_bytes = sizeof(fuse_open_in), .reply_bytes = sizeof(fuse_open_out)},
          read_shape(FUSE_READ, pages_bytes),
          flush_shape(),
          release_shape(FUSE_RELEASE)};
}

uint64_t ReadFilesWork::fill(unsigned, unsigned step, RequestSlot& slot) {
  switch (step) {
    case 0:
      if (next_ == count_) return 0;
      put_file_name(slot.args_bytes(), next_++);
      return directory_;
    case 1:
      break;
    case 2: {
      auto& args = slot.args<fuse_read_in>();
      args.fh = fh_;
      args.size = static_cast<uint32_t>(slot.data_out().size()) * kPage;
      break;
    }
    case 3:
      slot.args<fuse_flush_in>().fh = fh_;
      break;
    default:
      slot.args<fuse_release_in>().fh = fh_;
  }
  return nodeid_;
}

int ReadFilesWork::completed(unsigned, unsigned step, const RequestSlot& slot, uint32_t used_bytes) {
  if (step == 0) {
    nodeid_ = slot.reply<fuse_entry_out>().nodeid;
    if (nodeid_ == 0) throw FuseFailure(FUSE_LOOKUP, ENOENT);
    nodeids_.push_back(nodeid_);
  } else if (step == 1) {
    fh_ = slot.reply<fuse_open_out>().fh;
  } else if (step == 2) {
    check_whole(file_bytes_, data_bytes(used_bytes));
    check_pages(slot.data_out(), 0);
  }
  return step == 4 ? kOperationDone : static_cast<int>(step) + 1;
}

}  // namespace ovfs_bench
