#pragma once
#pragma clang module import SwiftGlibc /* see CLibuv */
// What Linux and the C library have and Swift's own import of it does not show. System calls declared for _GNU_SOURCE only
// are made directly: setting it here would give this module types that differ from Swift's.
#include <malloc.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

/// preadv2(2) with RWF_NOWAIT: what the page cache has, at once. −1 with EAGAIN when it has nothing, EOPNOTSUPP where the
/// file system cannot tell. The system call is made directly: the C library's wrapper is not declared here.
static inline ssize_t linux_read_cached(int descriptor, void *buffer, size_t count, int64_t offset) {
    struct iovec piece = { buffer, count };
    return syscall(SYS_preadv2, descriptor, &piece, 1L, (long)offset, (long)((uint64_t)offset >> 32), 8 /* RWF_NOWAIT */);
}

/* What the hot path asks of a socket. The calls are made directly: the C library's are points at which a thread may be cancelled,
   and in a program with threads each costs two atomic exchanges for that. None of them waits, none raises SIGPIPE. */

enum { linux_at_once = MSG_DONTWAIT | MSG_NOSIGNAL };

/// recv(2): what is there, at most `count` bytes.
static inline ssize_t linux_receive(int descriptor, void *buffer, size_t count) {
    return syscall(SYS_recvfrom, descriptor, buffer, count, MSG_DONTWAIT, NULL, NULL);
}

/// send(2) with further flags.
static inline ssize_t linux_send(int descriptor, const void *bytes, size_t count, int flags) {
    return syscall(SYS_sendto, descriptor, bytes, count, linux_at_once | flags, NULL, 0);
}

/// sendmsg(2): the pieces one after the other.
static inline ssize_t linux_send_pieces(int descriptor, struct iovec *pieces, size_t count) {
    struct msghdr message = { .msg_iov = pieces, .msg_iovlen = count };
    return syscall(SYS_sendmsg, descriptor, &message, linux_at_once);
}

/// accept4(2): the next connection, as a descriptor that does not block and is closed in children; and where its other end is.
static inline int linux_accept(int listener, struct sockaddr_storage *peer) {
    socklen_t size = sizeof *peer;
    return (int)syscall(SYS_accept4, listener, peer, &size, SOCK_NONBLOCK | SOCK_CLOEXEC);
}

/// tcp(7), TCP_CONGESTION: by what algorithm the connection's sending is paced. 0, or -1 with errno.
static inline int linux_set_congestion_control(int descriptor, const char *name, size_t count) {
    return setsockopt(descriptor, IPPROTO_TCP, TCP_CONGESTION, name, (socklen_t)count);
}

/// openat2(2) with RESOLVE_CACHED: opens what can be found without asking a disk. −1 with EAGAIN when it cannot be, ENOSYS before
/// Linux 5.12. `flags` must not create or truncate.
static inline int linux_open_cached(const char *path, int flags) {
    struct { uint64_t flags, mode, resolve; } how = { (uint64_t)flags, 0, 0x20 /* RESOLVE_CACHED */ };
    return (int)syscall(437 /* SYS_openat2 */, -100 /* AT_FDCWD */, path, &how, sizeof how);
}

/// Offset of the first hole, or the file's size (lseek(2), SEEK_HOLE).
static inline int64_t linux_first_hole(int descriptor) { return lseek(descriptor, 0, 4 /* SEEK_HOLE */); }

/// fallocate(2) with FALLOC_FL_KEEP_SIZE: reserves room and leaves the file's size as it is.
static inline int linux_reserve(int descriptor, int64_t offset, int64_t length) {
#if defined(__LP64__)
    return (int)syscall(SYS_fallocate, descriptor, 1 /* FALLOC_FL_KEEP_SIZE */, (long)offset, (long)length);
#else
#error "64-bit systems only: a file offset must fit a register"
#endif
}

/// Allocates blocks of so many bytes and more each by itself (mallopt(3), M_MMAP_THRESHOLD).
static inline void linux_map_from(int bytes) { mallopt(M_MMAP_THRESHOLD, bytes); }

/// Gives free memory back to the system, that of other threads included (malloc_trim(3)).
static inline void linux_trim_heap(void) { malloc_trim(0); }

/// The allocator's own account (mallinfo(3)): in use with large blocks, free, and large blocks mapped each by itself.
struct linux_heap { int64_t used, free, mapped; };
static inline struct linux_heap linux_heap_usage(void) {
    struct mallinfo2 info = mallinfo2();
    struct linux_heap heap = { (int64_t)(info.uordblks + info.hblkhd), (int64_t)info.fordblks, (int64_t)info.hblkhd };
    return heap;
}
