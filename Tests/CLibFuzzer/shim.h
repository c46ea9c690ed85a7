#pragma once
#include <stddef.h>
#include <stdint.h>

/// LLVM's "libFuzzer", "Using libFuzzer as a library". Linked by -sanitize=fuzzer only.
int LLVMFuzzerRunDriver(int *argc, char ***argv, int (*callback)(const uint8_t *data, size_t count));
