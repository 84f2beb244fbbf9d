// How the C library's allocator treats the process's large buffers.
#pragma once

namespace ovfsd {

// Call once, before the large allocations begin. Parts of uploads and answers of stores are megabytes long and live for
// milliseconds, on many threads: by default glibc comes to keep all of them in its heaps, one for each thread, and what
// lies between them is not given back. Nothing is done for another libc.
void limit_kept_memory();

}  // namespace ovfsd
