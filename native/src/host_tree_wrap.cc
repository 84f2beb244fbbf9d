#include "host_tree_wrap.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string>

#include "host_caller.h"
#include "host_tree.h"
#include "hot_arguments.h"

namespace ovfsd {
namespace {

using host_tree::Caller;
using host_tree::Name;

napi_value throw_bad_argument(napi_env env) {
  napi_throw_type_error(env, nullptr, "a call of the host got an argument that it can't take");
  return nullptr;
}

/// Run `call`, which reads its arguments and returns a number for JavaScript.
template <size_t Count, typename Call>
napi_value answer(napi_env env, napi_callback_info info, Call call) {
  HotArguments<Count> arguments(env, info);
  const int64_t result = call(arguments);
  if (!arguments.valid()) return throw_bad_argument(env);
  napi_value value = nullptr;
  napi_create_int64(env, result, &value);
  return value;
}

// In each call all arguments are read before anything is done, and nothing is done unless all are good.

template <size_t Count>
Name name_of(HotArguments<Count>& arguments) {
  const auto bytes = arguments.range();
  return arguments.valid() ? Name(bytes.data, bytes.size) : Name(nullptr, 0);
}

/// Added to an operation that changes a file: its set-user-ID and set-group-ID bits go.
constexpr uint32_t kKillIds = 1u << 8;

/// The text of a byte range without NUL, such as the target of a symbolic link.
std::string text_of(const uint8_t* data, size_t size) {
  return std::string(reinterpret_cast<const char*>(data), size);
}

bool has_nul(const std::string& text) { return text.find('\0') != std::string::npos; }

napi_value open_root(napi_env env, napi_callback_info info) {
  // A file that may not grow any more is an error to the guest and not the end of the daemon.
  ::signal(SIGXFSZ, SIG_IGN);
  return answer<1>(env, info, [](auto& arguments) -> int64_t {
    const auto bytes = arguments.bytes();
    if (!arguments.valid()) return 0;
    const std::string path = text_of(bytes.data, bytes.size);
    return has_nul(path) ? -EINVAL : host_tree::open_root(path.c_str());
  });
}

napi_value close_fd(napi_env env, napi_callback_info info) {
  return answer<1>(env, info, [](auto& arguments) -> int64_t {
    const int fd = arguments.fd();
    return arguments.valid() ? ::close(fd) : 0;
  });
}

/// Where the calls that look at a file leave its stat: `HostCalls.lastStat`, which they need not be given each time.
template <size_t Count>
uint32_t* last_stat(const HotArguments<Count>& arguments) {
  return static_cast<uint32_t*>(arguments.context());
}

napi_value stat_name(napi_env env, napi_callback_info info) {
  return answer<4>(env, info, [](auto& arguments) -> int64_t {
    const int directory = arguments.fd();
    const Name name = name_of(arguments);
    return arguments.valid() ? host_tree::stat_name(directory, name, last_stat(arguments)) : 0;
  });
}

napi_value open_name(napi_env env, napi_callback_info info) {
  return answer<4>(env, info, [](auto& arguments) -> int64_t {
    const int directory = arguments.fd();
    const Name name = name_of(arguments);
    return arguments.valid() ? host_tree::open_name(directory, name, last_stat(arguments)) : 0;
  });
}

napi_value stat_fd(napi_env env, napi_callback_info info) {
  return answer<1>(env, info, [](auto& arguments) -> int64_t {
    const int fd = arguments.fd();
    return arguments.valid() ? host_tree::stat(fd, last_stat(arguments)) : 0;
  });
}

napi_value statx_fd(napi_env env, napi_callback_info info) {
  return answer<2>(env, info, [](auto& arguments) -> int64_t {
    const int fd = arguments.fd();
    uint32_t* words = arguments.words(host_tree::kStatxWords);
    return arguments.valid() ? host_tree::statx(fd, words) : 0;
  });
}

napi_value stat_parent(napi_env env, napi_callback_info info) {
  return answer<1>(env, info, [](auto& arguments) -> int64_t {
    const int fd = arguments.fd();
    return arguments.valid() ? host_tree::stat_parent(fd, last_stat(arguments)) : 0;
  });
}

napi_value tells_at_close(napi_env env, napi_callback_info info) {
  return answer<1>(env, info, [](auto& arguments) -> int64_t {
    const int fd = arguments.fd();
    return arguments.valid() && host_tree::tells_at_close(fd) ? 1 : 0;
  });
}

napi_value statfs(napi_env env, napi_callback_info info) {
  return answer<2>(env, info, [](auto& arguments) -> int64_t {
    const int fd = arguments.fd();
    uint32_t* words = arguments.words(host_tree::kStatfsWords);
    return arguments.valid() ? host_tree::statfs(fd, words) : 0;
  });
}

napi_value reopen(napi_env env, napi_callback_info info) {
  return answer<3>(env, info, [](auto& arguments) -> int64_t {
    const int fd = arguments.fd();
    const uint32_t flags = arguments.u32();
    const bool kill_ids = arguments.u32() != 0;
    return arguments.valid() ? host_tree::reopen(fd, static_cast<int>(flags), kill_ids) : 0;
  });
}

napi_value reopen_path(napi_env env, napi_callback_info info) {
  return answer<1>(env, info, [](auto& arguments) -> int64_t {
    const int fd = arguments.fd();
    return arguments.valid() ? host_tree::reopen(fd, O_PATH) : 0;
  });
}

napi_value open_directory(napi_env env, napi_callback_info info) {
  return answer<1>(env, info, [](auto& arguments) -> int64_t {
    const int fd = arguments.fd();
    return arguments.valid() ? host_tree::open_directory(fd) : 0;
  });
}

napi_value handle_of(napi_env env, napi_callback_info info) {
  return answer<2>(env, info, [](auto& arguments) -> int64_t {
    const int fd = arguments.fd();
    const auto target = arguments.bytes();
    if (!arguments.valid()) return 0;
    return target.size < host_tree::kMaxHandleBytes ? -EINVAL : host_tree::handle_of(fd, target.data);
  });
}

napi_value open_handle(napi_env env, napi_callback_info info) {
  return answer<2>(env, info, [](auto& arguments) -> int64_t {
    const int mount = arguments.fd();
    const auto handle = arguments.bytes();
    return arguments.valid() ? host_tree::open_handle(mount, handle.data, handle.size) : 0;
  });
}

template <size_t Count>
Caller caller_of(HotArguments<Count>& arguments) {
  const uint32_t uid = arguments.u32();
  const uint32_t gid = arguments.u32();
  return {uid, gid};
}

/// In `how`, behind the umask.
constexpr uint32_t kIsInGroup = 1u << 16;

/// In whose name something is made, by three numbers.
template <size_t Count>
Caller maker_of(HotArguments<Count>& arguments) {
  Caller caller = caller_of(arguments);
  const uint32_t how = arguments.u32();
  caller.umask = how & ACCESSPERMS;
  caller.is_in_group = (how & kIsInGroup) != 0;
  return caller;
}

napi_value create(napi_env env, napi_callback_info info) {
  return answer<9>(env, info, [](auto& arguments) -> int64_t {
    const int directory = arguments.fd();
    const Name name = name_of(arguments);
    const uint32_t flags = arguments.u32();
    const uint32_t mode = arguments.u32();
    const Caller caller = maker_of(arguments);
    return arguments.valid() ? host_tree::create(directory, name, static_cast<int>(flags), mode, caller) : 0;
  });
}

napi_value create_unnamed(napi_env env, napi_callback_info info) {
  return answer<6>(env, info, [](auto& arguments) -> int64_t {
    const int directory = arguments.fd();
    const uint32_t flags = arguments.u32();
    const uint32_t mode = arguments.u32();
    const Caller caller = maker_of(arguments);
    return arguments.valid() ? host_tree::create_unnamed(directory, static_cast<int>(flags), mode, caller) : 0;
  });
}

napi_value make_directory(napi_env env, napi_callback_info info) {
  return answer<8>(env, info, [](auto& arguments) -> int64_t {
    const int directory = arguments.fd();
    const Name name = name_of(arguments);
    const uint32_t mode = arguments.u32();
    const Caller caller = maker_of(arguments);
    return arguments.valid() ? host_tree::make_directory(directory, name, mode, caller) : 0;
  });
}

napi_value make_node(napi_env env, napi_callback_info info) {
  return answer<9>(env, info, [](auto& arguments) -> int64_t {
    const int directory = arguments.fd();
    const Name name = name_of(arguments);
    const uint32_t mode = arguments.u32();
    const uint32_t rdev = arguments.u32();
    const Caller caller = maker_of(arguments);
    return arguments.valid() ? host_tree::make_node(directory, name, mode, rdev, caller) : 0;
  });
}

napi_value make_symlink(napi_env env, napi_callback_info info) {
  return answer<10>(env, info, [](auto& arguments) -> int64_t {
    const int directory = arguments.fd();
    const Name name = name_of(arguments);
    const auto bytes = arguments.range();
    const Caller caller = maker_of(arguments);
    if (!arguments.valid()) return 0;
    const std::string target = text_of(bytes.data, bytes.size);
    return has_nul(target) ? -EINVAL : host_tree::make_symlink(directory, name, target.c_str(), caller);
  });
}

napi_value link(napi_env env, napi_callback_info info) {
  return answer<5>(env, info, [](auto& arguments) -> int64_t {
    const int fd = arguments.fd();
    const int directory = arguments.fd();
    const Name name = name_of(arguments);
    return arguments.valid() ? host_tree::link(fd, directory, name) : 0;
  });
}

napi_value unlink(napi_env env, napi_callback_info info) {
  return answer<5>(env, info, [](auto& arguments) -> int64_t {
    const int directory = arguments.fd();
    const Name name = name_of(arguments);
    const bool is_directory = arguments.u32() != 0;
    return arguments.valid() ? host_tree::unlink(directory, name, is_directory) : 0;
  });
}

napi_value rename(napi_env env, napi_callback_info info) {
  return answer<9>(env, info, [](auto& arguments) -> int64_t {
    const int directory = arguments.fd();
    const Name name = name_of(arguments);
    const int new_directory = arguments.fd();
    const Name new_name = name_of(arguments);
    const uint32_t flags = arguments.u32();
    return arguments.valid() ? host_tree::rename(directory, name, new_directory, new_name, flags) : 0;
  });
}

napi_value read_link(napi_env env, napi_callback_info info) {
  return answer<2>(env, info, [](auto& arguments) -> int64_t {
    const int fd = arguments.fd();
    const auto target = arguments.bytes();
    return arguments.valid() ? host_tree::read_link(fd, target.data, target.size) : 0;
  });
}

napi_value set_mode(napi_env env, napi_callback_info info) {
  return answer<2>(env, info, [](auto& arguments) -> int64_t {
    const int fd = arguments.fd();
    const uint32_t mode = arguments.u32();
    return arguments.valid() ? host_tree::set_mode(fd, mode) : 0;
  });
}

napi_value set_owner(napi_env env, napi_callback_info info) {
  return answer<3>(env, info, [](auto& arguments) -> int64_t {
    const int fd = arguments.fd();
    const Caller owner = caller_of(arguments);
    return arguments.valid() ? host_tree::set_owner(fd, owner.uid, owner.gid) : 0;
  });
}

/// -1 stands for "leave it", -2 for "now".
int64_t nanoseconds_of(int64_t given) {
  return given == -1 ? UTIME_OMIT : given == -2 ? UTIME_NOW : given;
}

napi_value set_times(napi_env env, napi_callback_info info) {
  return answer<5>(env, info, [](auto& arguments) -> int64_t {
    const int fd = arguments.fd();
    const int64_t atime = arguments.i53();
    const int64_t atime_ns = arguments.i53();
    const int64_t mtime = arguments.i53();
    const int64_t mtime_ns = arguments.i53();
    if (!arguments.valid()) return 0;
    return host_tree::set_times(fd, {atime, nanoseconds_of(atime_ns)}, {mtime, nanoseconds_of(mtime_ns)});
  });
}

/// The name of an extended attribute, copied and ended.
class XattrName {
 public:
  XattrName(const uint8_t* bytes, size_t size) noexcept {
    fits_ = size > 0 && size < sizeof text_ && std::memchr(bytes, '\0', size) == nullptr;
    if (fits_) std::memcpy(text_, bytes, size);
    text_[fits_ ? size : 0] = '\0';
  }
  bool fits() const noexcept { return fits_; }
  const char* c_str() const noexcept { return text_; }

 private:
  char text_[256];  // XATTR_NAME_MAX and its NUL
  bool fits_;
};

napi_value get_xattr(napi_env env, napi_callback_info info) {
  return answer<6>(env, info, [](auto& arguments) -> int64_t {
    const int fd = arguments.fd();
    const auto name_bytes = arguments.range();
    const auto value = arguments.bytes();
    const uint32_t size = arguments.u32();
    if (!arguments.valid()) return 0;
    const XattrName name(name_bytes.data, name_bytes.size);
    return name.fits() ? host_tree::get_xattr(fd, name.c_str(), value.data, std::min<size_t>(size, value.size))
                       : -ERANGE;
  });
}

napi_value list_xattr(napi_env env, napi_callback_info info) {
  return answer<3>(env, info, [](auto& arguments) -> int64_t {
    const int fd = arguments.fd();
    const auto names = arguments.bytes();
    const uint32_t size = arguments.u32();
    return arguments.valid() ? host_tree::list_xattr(fd, names.data, std::min<size_t>(size, names.size)) : 0;
  });
}

napi_value set_xattr(napi_env env, napi_callback_info info) {
  return answer<8>(env, info, [](auto& arguments) -> int64_t {
    const int fd = arguments.fd();
    const auto name_bytes = arguments.range();
    const auto value = arguments.range();
    const uint32_t flags = arguments.u32();
    if (!arguments.valid()) return 0;
    const XattrName name(name_bytes.data, name_bytes.size);
    if (!name.fits()) return -ERANGE;
    const bool kill_group_id = (flags & kKillIds) != 0;
    return host_tree::set_xattr(fd, name.c_str(), value.data, value.size, static_cast<int>(flags & ~kKillIds),
                                kill_group_id);
  });
}

napi_value remove_xattr(napi_env env, napi_callback_info info) {
  return answer<4>(env, info, [](auto& arguments) -> int64_t {
    const int fd = arguments.fd();
    const auto name_bytes = arguments.range();
    if (!arguments.valid()) return 0;
    const XattrName name(name_bytes.data, name_bytes.size);
    return name.fits() ? host_tree::remove_xattr(fd, name.c_str()) : -ERANGE;
  });
}

/// The offset as two words: it may use all 64 bits.
napi_value read_directory(napi_env env, napi_callback_info info) {
  return answer<5>(env, info, [](auto& arguments) -> int64_t {
    const int fd = arguments.fd();
    const uint32_t low = arguments.u32();
    const uint32_t high = arguments.u32();
    const auto target = arguments.bytes();
    const uint32_t size = arguments.u32();
    if (!arguments.valid()) return 0;
    const auto offset = static_cast<int64_t>((uint64_t{high} << 32) | low);
    return host_tree::read_directory(fd, offset, target.data, std::min<size_t>(size, target.size));
  });
}

napi_value seek(napi_env env, napi_callback_info info) {
  return answer<3>(env, info, [](auto& arguments) -> int64_t {
    const int fd = arguments.fd();
    const int64_t offset = arguments.i53();
    const uint32_t whence = arguments.u32();
    return arguments.valid() ? host_tree::seek(fd, offset, static_cast<int>(whence)) : 0;
  });
}

// ---- in threads

/// The numbers are those of HostOperation in src/passthrough/host-calls.ts.
enum Operation : uint32_t { kSync, kSyncData, kSyncFileSystem, kTruncate, kTruncateByPath, kAllocate, kCopy, kFlush };
struct Work {
  uint32_t operation;
  bool kill_ids;
  int fd;
  int other_fd;
  int64_t a;
  int64_t b;
  int64_t c;

  int64_t run() const noexcept {
    const host_tree::UnprivilegedWrite unprivileged(kill_ids);
    if (unprivileged.error() != 0) return -unprivileged.error();
    switch (operation) {
      case kSync:
      case kSyncData:
        return host_tree::sync(fd, operation == kSyncData);
      case kFlush:
        return host_tree::flush(fd);
      case kSyncFileSystem:
        return host_tree::sync_file_system(fd);
      case kTruncate:
      case kTruncateByPath:
        return host_tree::truncate(fd, a, operation == kTruncateByPath);
      case kAllocate:
        return host_tree::allocate(fd, static_cast<int>(c), a, b);
      case kCopy:
        return host_tree::copy(fd, a, other_fd, b, c);
      default:
        return -EINVAL;
    }
  }
};

/// The caller keeps the descriptors open until the promise is settled.
class HostWorker : public Napi::AsyncWorker {
 public:
  HostWorker(Napi::Env env, const Work& work)
      : Napi::AsyncWorker(env), deferred_(Napi::Promise::Deferred::New(env)), work_(work) {}
  Napi::Promise promise() const { return deferred_.Promise(); }
  void Execute() override { result_ = work_.run(); }
  void OnOK() override {
    const Napi::HandleScope scope(Env());
    deferred_.Resolve(Napi::Number::New(Env(), static_cast<double>(result_)));
  }

 private:
  Napi::Promise::Deferred deferred_;
  Work work_;
  int64_t result_ = 0;
};

napi_value run(napi_env env, napi_callback_info info) {
  HotArguments<6> arguments(env, info);
  Work work;
  const uint32_t operation = arguments.u32();
  work.operation = operation & ~kKillIds;
  work.kill_ids = (operation & kKillIds) != 0;
  work.fd = arguments.fd();
  work.other_fd = arguments.fd();
  work.a = arguments.i53();
  work.b = arguments.i53();
  work.c = arguments.i53();
  if (!arguments.valid()) return throw_bad_argument(env);
  auto* worker = new HostWorker(env, work);
  const Napi::Promise promise = worker->promise();
  worker->Queue();
  return promise;
}

}  // namespace

Napi::Object define_host_calls(Napi::Env env) {
  Napi::Object calls = Napi::Object::New(env);
  // It lives as long as the calls, whatever becomes of the property.
  auto stat = Napi::Uint32Array::New(env, host_tree::kStatWords);
  Napi::Persistent(stat).SuppressDestruct();
  calls.Set("lastStat", stat);
  uint32_t* stat_words = stat.Data();
  const auto add = [&](const char* name, napi_callback function) {
    napi_value value = nullptr;
    napi_create_function(env, name, NAPI_AUTO_LENGTH, function, stat_words, &value);
    calls.Set(name, value);
  };
  add("openRoot", open_root);
  add("close", close_fd);
  add("statName", stat_name);
  add("openName", open_name);
  add("stat", stat_fd);
  add("statx", statx_fd);
  add("statParent", stat_parent);
  add("tellsAtClose", tells_at_close);
  add("statfs", statfs);
  add("reopen", reopen);
  add("reopenPath", reopen_path);
  add("openDirectory", open_directory);
  add("handleOf", handle_of);
  add("openHandle", open_handle);
  add("create", create);
  add("createUnnamed", create_unnamed);
  add("makeDirectory", make_directory);
  add("makeNode", make_node);
  add("makeSymlink", make_symlink);
  add("link", link);
  add("unlink", unlink);
  add("rename", rename);
  add("readLink", read_link);
  add("setMode", set_mode);
  add("setOwner", set_owner);
  add("setTimes", set_times);
  add("getXattr", get_xattr);
  add("listXattr", list_xattr);
  add("setXattr", set_xattr);
  add("removeXattr", remove_xattr);
  add("readDirectory", read_directory);
  add("seek", seek);
  add("run", run);
  return calls;
}

}  // namespace ovfsd
