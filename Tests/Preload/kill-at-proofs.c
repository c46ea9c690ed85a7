// Kills the program that has this library preloaded (LD_PRELOAD) at the KILL_AT-th operation on a file called PROOFS:
// before it, or amid a write and after anything else (KILL_WHEN=before or amid).

#define _GNU_SOURCE
#include <dlfcn.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

static atomic_int count;

static int is_proofs(const char *path) {
    const char *name = strrchr(path, '/');
    return strcmp(name ? name + 1 : path, "PROOFS") == 0;
}

static int is_open_proofs(int descriptor) {
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) return 0;
    path[length] = 0;
    return is_proofs(path);
}

static void die(void) {
    kill(getpid(), SIGKILL);
    pause();
}

static int is_when(const char *when) {
    const char *wanted = getenv("KILL_WHEN");
    return wanted && strcmp(wanted, when) == 0;
}

// Whether this operation is the one.
static int begin(int concerned) {
    const char *at = getenv("KILL_AT");
    if (!concerned || !at || atomic_fetch_add(&count, 1) + 1 != atoi(at)) return 0;
    if (is_when("before")) die();
    return 1;
}

static void end(int is_one) {
    if (is_one) die();
}

#define REAL(type, name, ...) type (*real)(__VA_ARGS__) = (type (*)(__VA_ARGS__))dlsym(RTLD_NEXT, name)

int fsync(int descriptor) {
    REAL(int, "fsync", int);
    int is_one = begin(is_open_proofs(descriptor));
    int result = real(descriptor);
    end(is_one);
    return result;
}

ssize_t pwrite(int descriptor, const void *bytes, size_t length, off_t offset) {
    REAL(ssize_t, "pwrite", int, const void *, size_t, off_t);
    int is_one = begin(is_open_proofs(descriptor));
    ssize_t result = real(descriptor, bytes, is_one && is_when("amid") ? length / 2 : length, offset);
    end(is_one);
    return result;
}

ssize_t pwrite64(int descriptor, const void *bytes, size_t length, off64_t offset) {
    REAL(ssize_t, "pwrite64", int, const void *, size_t, off64_t);
    int is_one = begin(is_open_proofs(descriptor));
    ssize_t result = real(descriptor, bytes, is_one && is_when("amid") ? length / 2 : length, offset);
    end(is_one);
    return result;
}

int rename(const char *from, const char *to) {
    REAL(int, "rename", const char *, const char *);
    int is_one = begin(is_proofs(to));
    int result = real(from, to);
    end(is_one);
    return result;
}

int unlink(const char *path) {
    REAL(int, "unlink", const char *);
    int is_one = begin(is_proofs(path));
    int result = real(path);
    end(is_one);
    return result;
}
