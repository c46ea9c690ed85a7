#pragma once
/* First Swift's own view of the C library, in every shim: so that its types are that module's in every build. Otherwise they
   belong to whichever module happened to be loaded first, and Swift then asks for an import of that one. */
#pragma clang module import SwiftGlibc
#include <uv.h>

/// uv_loop_configure(UV_METRICS_IDLE_TIME), which is variadic. Before the loop runs.
static inline int clibuv_measure_idle_time(uv_loop_t *loop) { return uv_loop_configure(loop, UV_METRICS_IDLE_TIME); }
