// The program inside the built-in image. It has no C library under it, so that it is about a kilobyte on any platform: two
// system calls, write and exit, for x86-64 and 64-bit ARM.

#define TEXT                                                                                                           \
    "Hello! This was printed by a program in a container, and its image came through ociregistry.\n"                   \
    "\n"                                                                                                               \
    "What happened on the way here:\n"                                                                                 \
    "  1. Your client asked the mirror for hello-world:latest and was given an index, which names\n"                   \
    "     one manifest for each platform.\n"                                                                           \
    "  2. It took the manifest for this machine: the digests of a configuration and of one layer.\n"                   \
    "  3. It fetched both, checked that each hashes to its digest, and unpacked the layer: one file,\n"                \
    "     /hello.\n"                                                                                                   \
    "  4. It started that file. That is this program, and it is done.\n"                                               \
    "\n"                                                                                                               \
    "Every other image comes the same way, only from further off: put the mirror's address and the\n"                  \
    "image's own registry in front of its name, as in HOST:PORT/docker.io/library/debian:12.\n"

static const char text[] = TEXT;

#if defined(__x86_64__)
enum { system_write = 1, system_exit = 60 };
static long call(long number, long first, const void *second, long third) {
    long result;
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(number), "D"(first), "S"(second), "d"(third)
                     : "rcx", "r11", "memory");
    return result;
}
#elif defined(__aarch64__)
enum { system_write = 64, system_exit = 93 };
static long call(long number, long first, const void *second, long third) {
    register long x8 __asm__("x8") = number;
    register long x0 __asm__("x0") = first;
    register const void *x1 __asm__("x1") = second;
    register long x2 __asm__("x2") = third;
    __asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2) : "memory");
    return x0;
}
#else
#error "a platform this program has no system calls for"
#endif

void _start(void) {
    const char *next = text;
    long left = sizeof text - 1;
    while (left > 0) {
        long written = call(system_write, 1, next, left);
        if (written <= 0) {
            call(system_exit, 1, 0, 0);
        }
        next += written;
        left -= written;
    }
    call(system_exit, 0, 0, 0);
    for (;;) {
    }
}
