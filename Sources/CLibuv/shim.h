#pragma once
#include <uv.h>

/* The enumeration that SOCK_STREAM belongs to is seen as this module's or as the C library's, depending on how a build
   loads them, and in some builds is not seen at all. The number is the same everywhere. */
enum { clibuv_stream_socket = SOCK_STREAM };
