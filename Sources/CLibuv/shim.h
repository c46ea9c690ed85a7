#pragma once
/* First Swift's own view of the C library, in every shim: so that its types are that module's in every build. Otherwise they
   belong to whichever module happened to be loaded first, and Swift then asks for an import of that one. */
#pragma clang module import SwiftGlibc
#include <uv.h>
