#!/usr/bin/env bash
# libcurl signs a request to the usual ECR endpoint for service "api" in region "ecr".
#
# Guess: CURLOPT_AWS_SIGV4 set to "aws:amz" finds service and region in the host name of an AWS endpoint.
# What happens: it takes the first label of the host for the service and the second for the region. That is right for
#   STS and for the dual-stack name of ECR (ecr.REGION.api.aws). The usual name of ECR's API has one label more
#   (api.ecr.REGION.amazonaws.com), so the scope of the signature becomes ecr/api instead of REGION/ecr. libcurl
#   reports no error. With region and service given as well (aws:amz:REGION:ecr) the scope is right.
# Why it matters: GetAuthorizationToken is the one signed call that a mirror of ECR makes. Code that was tried against
#   STS, against the dual-stack name or against a fake that checks no signature fails at the usual name.
# Seen with: pycurl 7.49.0 (PyPI), whose wheel holds libcurl 8.23.0.
# Reference: CURLOPT_AWS_SIGV4(3); "Amazon ECR endpoints and quotas" in the AWS General Reference; "Create a signed
#   AWS API request" in the IAM User Guide (credential scope: date/region/service).
set -euo pipefail

dir=$(mktemp -d)
clean_up() {
    rm -rf "$dir"
}
trap clean_up EXIT

python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" --quiet --disable-pip-version-check install pycurl==7.49.0

"$dir/venv/bin/python" -c 'import pycurl; print(*pycurl.version.split()[:2])'
timeout 60 "$dir/venv/bin/python" - >"$dir/seen" <<'PYTHON'
import re, socket, threading
import pycurl

REQUESTS = (
    ("aws:amz", "sts.eu-central-1.amazonaws.com"),
    ("aws:amz", "ecr.eu-central-1.api.aws"),
    ("aws:amz", "api.ecr.eu-central-1.amazonaws.com"),
    ("aws:amz:eu-central-1:ecr", "api.ecr.eu-central-1.amazonaws.com"),
)
listener = socket.create_server(("127.0.0.1", 0))
scopes = []


def serve():
    for _ in REQUESTS:
        connection, request = listener.accept()[0], b""
        while b"\r\n\r\n" not in request:
            request += connection.recv(65536)
        credential = re.search(rb"Credential=EXAMPLE/\d{8}/([^,]*)/aws4_request,", request)
        scopes.append(credential[1].decode())
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        connection.close()


threading.Thread(target=serve, daemon=True).start()
for provider, host in REQUESTS:
    easy = pycurl.Curl()
    easy.setopt(easy.URL, "http://%s/" % host)
    # Nothing leaves this machine, and no name is looked up.
    easy.setopt(easy.CONNECT_TO, ["::127.0.0.1:%d" % listener.getsockname()[1]])
    easy.setopt(easy.PROXY, "")
    easy.setopt(easy.TIMEOUT, 20)
    easy.setopt(pycurl.AWS_SIGV4, provider)
    easy.setopt(easy.USERPWD, "EXAMPLE:secret")
    easy.setopt(easy.POSTFIELDS, "{}")
    easy.perform()
    print("%s to %s: %s" % (provider, host, scopes[-1]))
PYTHON
cat "$dir/seen"
diff -u - "$dir/seen" <<'RECORDED' || { echo "changed: this is not what was recorded" >&2; exit 1; }
aws:amz to sts.eu-central-1.amazonaws.com: eu-central-1/sts
aws:amz to ecr.eu-central-1.api.aws: eu-central-1/ecr
aws:amz to api.ecr.eu-central-1.amazonaws.com: ecr/api
aws:amz:eu-central-1:ecr to api.ecr.eu-central-1.amazonaws.com: eu-central-1/ecr
RECORDED
