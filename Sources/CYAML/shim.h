#pragma once
#pragma clang module import SwiftGlibc /* see CLibuv */
#include <yaml.h>
