#!/usr/bin/env bash
# libcurl's URL API changes the case of percent-escapes in a path or query that is set as a part, and releases differ
# in the case.
#
# Guess: curl_url_set keeps a path or query that is percent-encoded already as it is, unless it is told to encode.
# What happens: a URL that is set as a whole keeps its escapes. A path or query that is set as a part has them
#   rewritten: to lower case by 7.88.1 (%3D becomes %3d), to upper case by 8.23.0 (%3d becomes %3D). The manual page
#   of curl_url_set does not say so.
# Why it matters: a proxy or mirror that hands on an upstream's query (the opaque token of a tag list's next page, a
#   signed download link) by setting it as a part sends other bytes than it was given, and other ones with Debian 12's
#   library than with the newest. The URL means the same (RFC 3986), but a signature over its text, a cache's key and
#   a test that compares texts see a difference. Setting the whole URL avoids it.
# Seen with: libcurl4 7.88.1-10+deb12u15 (Debian 12, amd64); pycurl 7.49.0 (PyPI), whose wheel holds libcurl 8.23.0.
# Reference: curl_url_set(3); RFC 3986, sections 2.1 and 6.2.2.1 (the two cases are equivalent, upper case is
#   preferred).
set -euo pipefail

dir=$(mktemp -d)
clean_up() {
    rm -rf "$dir"
}
trap clean_up EXIT

# The library of Debian 12, and what it is linked with.
(cd "$dir" && apt-get -qq -o APT::Sandbox::User=root download libcurl4=7.88.1-10+deb12u15 \
    libbrotli1=1.0.9-2+b6 libcom-err2=1.47.0-2+b2 libffi8=3.4.4-1 libgmp10=2:6.2.1+dfsg1-1.1 libgnutls30=3.7.9-2+deb12u7 \
    libgssapi-krb5-2=1.20.1-2+deb12u5 libhogweed6=3.8.1-2 libidn2-0=2.3.3-1+b1 libk5crypto3=1.20.1-2+deb12u5 \
    libkeyutils1=1.6.3-2 libkrb5-3=1.20.1-2+deb12u5 libkrb5support0=1.20.1-2+deb12u5 libldap-2.5-0=2.5.13+dfsg-5 \
    libnettle8=3.8.1-2 libnghttp2-14=1.52.0-1+deb12u3 libp11-kit0=0.24.1-2 libpsl5=0.21.2-1 \
    librtmp1=2.4+20151223.gitfa8646d.1-2+b2 libsasl2-2=2.1.28+dfsg-10 libssh2-1=1.10.0-3+b1 libssl3=3.0.20-1~deb12u2 \
    libtasn1-6=4.19.0-2+deb12u1 libunistring2=1.0-2 libzstd1=1.5.4+dfsg2-5)
for package in "$dir"/*.deb; do dpkg-deb -x "$package" "$dir/debian"; done
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" --quiet --disable-pip-version-check install pycurl==7.49.0

cat >"$dir/escapes.py" <<'PYTHON'
import ctypes
import sys

library = ctypes.CDLL(sys.argv[1])
library.curl_version.restype = ctypes.c_char_p
library.curl_url.restype = ctypes.c_void_p
library.curl_url_set.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint]
library.curl_url_get.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.POINTER(ctypes.c_char_p), ctypes.c_uint]
# CURLUPART_URL, CURLUPART_PATH and CURLUPART_QUERY of curl/urlapi.h.
WHOLE, PATH, QUERY = 0, 7, 8

print(library.curl_version().decode().split()[0])
for escape in ("%3d", "%3D"):
    whole, path, query = f"https://a.example/x{escape}y?next={escape}", f"/x{escape}y", f"next={escape}"
    by_parts = [(WHOLE, whole), (PATH, path), (QUERY, query)]
    for what, parts in (("the whole URL", by_parts[:1]), ("its parts", by_parts)):
        handle = library.curl_url()
        for part, text in parts:
            assert library.curl_url_set(handle, part, text.encode(), 0) == 0
        found = ctypes.c_char_p()
        assert library.curl_url_get(handle, WHOLE, ctypes.byref(found), 0) == 0
        print(f"  {escape} set with {what}: {found.value.decode()}")
PYTHON
newest=("$dir"/venv/lib/python3*/site-packages/pycurl.libs/libcurl*.so*)
{
    LD_LIBRARY_PATH="$dir/debian/usr/lib/x86_64-linux-gnu:$dir/debian/lib/x86_64-linux-gnu" timeout 60 \
        python3 "$dir/escapes.py" "$dir/debian/usr/lib/x86_64-linux-gnu/libcurl.so.4"
    # pycurl loads the libraries that its wheel holds besides libcurl.
    sed '1i import pycurl' "$dir/escapes.py" >"$dir/escapes-pycurl.py"
    timeout 60 "$dir/venv/bin/python" "$dir/escapes-pycurl.py" "${newest[0]}"
} >"$dir/seen"
cat "$dir/seen"
diff -u - "$dir/seen" <<'RECORDED' || { echo "changed: this is not what was recorded" >&2; exit 1; }
libcurl/7.88.1
  %3d set with the whole URL: https://a.example/x%3dy?next=%3d
  %3d set with its parts: https://a.example/x%3dy?next=%3d
  %3D set with the whole URL: https://a.example/x%3Dy?next=%3D
  %3D set with its parts: https://a.example/x%3dy?next=%3d
libcurl/8.23.0
  %3d set with the whole URL: https://a.example/x%3dy?next=%3d
  %3d set with its parts: https://a.example/x%3Dy?next=%3D
  %3D set with the whole URL: https://a.example/x%3Dy?next=%3D
  %3D set with its parts: https://a.example/x%3Dy?next=%3D
RECORDED
