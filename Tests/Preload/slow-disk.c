// A slow disk for a program that has this library preloaded (LD_PRELOAD): flushing a file or a directory takes
// SLOW_FSYNC_MS milliseconds longer, and writing to a regular file SLOW_WRITE_MS. Sockets and pipes are as fast as ever.

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

static void wait_for(const char *variable) {
    const char *text = getenv(variable);
    long milliseconds = text ? atol(text) : 0;
    struct timespec left = { milliseconds / 1000, milliseconds % 1000 * 1000000 };
    while (milliseconds > 0 && nanosleep(&left, &left) != 0 && errno == EINTR) {}
}

static void wait_for_write(int descriptor) {
    struct stat status;
    if (fstat(descriptor, &status) == 0 && S_ISREG(status.st_mode)) wait_for("SLOW_WRITE_MS");
}

int fsync(int descriptor) {
    int (*real)(int) = dlsym(RTLD_NEXT, "fsync");
    wait_for("SLOW_FSYNC_MS");
    return real(descriptor);
}

ssize_t write(int descriptor, const void *bytes, size_t count) {
    ssize_t (*real)(int, const void *, size_t) = dlsym(RTLD_NEXT, "write");
    wait_for_write(descriptor);
    return real(descriptor, bytes, count);
}

ssize_t pwrite(int descriptor, const void *bytes, size_t count, off_t offset) {
    ssize_t (*real)(int, const void *, size_t, off_t) = dlsym(RTLD_NEXT, "pwrite");
    wait_for_write(descriptor);
    return real(descriptor, bytes, count, offset);
}

ssize_t pwrite64(int descriptor, const void *bytes, size_t count, off64_t offset) {
    ssize_t (*real)(int, const void *, size_t, off64_t) = dlsym(RTLD_NEXT, "pwrite64");
    wait_for_write(descriptor);
    return real(descriptor, bytes, count, offset);
}
