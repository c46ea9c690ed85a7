#pragma once
#pragma clang module import SwiftGlibc /* see CLibuv */
#include <archive.h>
#include <archive_entry.h>
