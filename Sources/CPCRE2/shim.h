#pragma once
#pragma clang module import SwiftGlibc /* see CLibuv */
/* The library comes in three widths of character; ours is bytes. */
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
