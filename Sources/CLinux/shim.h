#pragma once
#pragma clang module import SwiftGlibc /* see CLibuv */
// Linux system calls that the C library declares for _GNU_SOURCE only, which Swift's own import of it does not set
// (and setting it here would give this module types that differ from Swift's).
#include <stdint.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

/// preadv2(2) with RWF_NOWAIT: what the page cache has, at once. −1 with EAGAIN when it has nothing, EOPNOTSUPP where the
/// file system cannot tell. The system call is made directly: the C library's wrapper is not declared here.
static inline ssize_t linux_read_cached(int descriptor, void *buffer, size_t count, int64_t offset) {
    struct iovec piece = { buffer, count };
    return syscall(SYS_preadv2, descriptor, &piece, 1L, (long)offset, (long)((uint64_t)offset >> 32), 8 /* RWF_NOWAIT */);
}

/// fallocate(2) with FALLOC_FL_KEEP_SIZE: reserves room and leaves the file's size as it is.
static inline int linux_reserve(int descriptor, int64_t offset, int64_t length) {
#if defined(__LP64__)
    return (int)syscall(SYS_fallocate, descriptor, 1 /* FALLOC_FL_KEEP_SIZE */, (long)offset, (long)length);
#else
#error "64-bit systems only: a file offset must fit a register"
#endif
}
