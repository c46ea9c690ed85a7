#pragma once
#pragma clang module import SwiftGlibc /* see CLibuv */
#include <openssl/evp.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/pem.h>
