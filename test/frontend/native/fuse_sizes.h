// The sizes that <linux/fuse.h> gives its structs, so that a test can hold abi.ts against them.
#pragma once

#include <linux/fuse.h>
#include <napi.h>

namespace ovfs_frontend {

inline Napi::Object fuse_struct_bytes(Napi::Env env) {
  auto sizes = Napi::Object::New(env);
  const auto set = [&](const char* name, size_t bytes) {
    sizes.Set(name, Napi::Number::New(env, static_cast<double>(bytes)));
  };
  set("in_header", sizeof(fuse_in_header));
  set("out_header", sizeof(fuse_out_header));
  set("attr", sizeof(fuse_attr));
  set("entry_out", sizeof(fuse_entry_out));
  set("attr_out", sizeof(fuse_attr_out));
  set("open_out", sizeof(fuse_open_out));
  set("write_out", sizeof(fuse_write_out));
  set("statfs_out", sizeof(fuse_statfs_out));
  set("init_in", sizeof(fuse_init_in));
  set("init_out", sizeof(fuse_init_out));
  set("getxattr_out", sizeof(fuse_getxattr_out));
  set("lseek_out", sizeof(fuse_lseek_out));
  set("getattr_in", sizeof(fuse_getattr_in));
  set("setattr_in", sizeof(fuse_setattr_in));
  set("mknod_in", sizeof(fuse_mknod_in));
  set("mkdir_in", sizeof(fuse_mkdir_in));
  set("rename_in", sizeof(fuse_rename_in));
  set("rename2_in", sizeof(fuse_rename2_in));
  set("link_in", sizeof(fuse_link_in));
  set("open_in", sizeof(fuse_open_in));
  set("create_in", sizeof(fuse_create_in));
  set("read_in", sizeof(fuse_read_in));
  set("write_in", sizeof(fuse_write_in));
  set("release_in", sizeof(fuse_release_in));
  set("flush_in", sizeof(fuse_flush_in));
  set("fsync_in", sizeof(fuse_fsync_in));
  set("getxattr_in", sizeof(fuse_getxattr_in));
  set("access_in", sizeof(fuse_access_in));
  set("fallocate_in", sizeof(fuse_fallocate_in));
  set("lseek_in", sizeof(fuse_lseek_in));
  set("copy_file_range_in", sizeof(fuse_copy_file_range_in));
  set("forget_in", sizeof(fuse_forget_in));
  set("forget_one", sizeof(fuse_forget_one));
  set("batch_forget_in", sizeof(fuse_batch_forget_in));
  set("interrupt_in", sizeof(fuse_interrupt_in));
  set("syncfs_in", sizeof(fuse_syncfs_in));
  set("dirent", FUSE_NAME_OFFSET);
  set("direntplus", FUSE_NAME_OFFSET_DIRENTPLUS);
  return sizes;
}

}  // namespace ovfs_frontend
