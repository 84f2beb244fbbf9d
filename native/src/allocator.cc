#include "allocator.h"

#include <cstdlib>

#ifdef __GLIBC__
#include <malloc.h>
#endif

namespace ovfsd {

#ifdef __GLIBC__
namespace {

// What is longer is mapped on its own: above a request's 64 KiB buffers, which come by the thousand.
constexpr int kMapBytes = 256 << 10;
// A heap's end is given back when so much of it is free.
constexpr int kTrimBytes = 256 << 10;
// Heaps for all threads: Node's own, and one that the binding's threads share.
constexpr int kHeaps = 2;

}  // namespace
#endif

void limit_kept_memory() {
#ifdef __GLIBC__
  // Whoever has set these knows better.
  if (std::getenv("MALLOC_MMAP_THRESHOLD_") == nullptr) mallopt(M_MMAP_THRESHOLD, kMapBytes);
  if (std::getenv("MALLOC_TRIM_THRESHOLD_") == nullptr) mallopt(M_TRIM_THRESHOLD, kTrimBytes);
  if (std::getenv("MALLOC_ARENA_MAX") == nullptr) mallopt(M_ARENA_MAX, kHeaps);
#endif
}

}  // namespace ovfsd
