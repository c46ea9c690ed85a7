"""Docker Hub's rules in front of a registry: tokens, a limit on manifest GETs, HEADs that are free. Every request is recorded.

https://docs.docker.com/docker-hub/usage/pulls/ has the limit: GET requests of manifests count, HEAD requests do not. What that
page leaves open is decided against the cache in front: a GET that gets a 404 response counts, too.
"""

import http.client
import http.server
import json
import re
import secrets
import sys
import threading
import time
import urllib.parse

# Docker Hub's tokens.
TOKEN_SECONDS = 300
PULLS, PERIOD_SECONDS = 100, 6 * 3600
TARGET = re.compile(r"/v2/(?P<name>.+)/(?P<kind>manifests|blobs|tags)/(?P<reference>[^/]+)")
KINDS = {"manifests": "manifest", "blobs": "blob", "tags": "list"}
PASSED_ON = ("Content-Type", "Docker-Content-Digest", "ETag", "Link")


class Hub(http.server.ThreadingHTTPServer):
    """Listens on a free port of 127.0.0.1; the registry behind it listens on `store`."""

    daemon_threads = True
    # No connection is refused while all clients begin.
    request_queue_size = 128

    def __init__(self, store):
        super().__init__(("127.0.0.1", 0), Handler)
        self.store, self.port = store, self.server_address[1]
        self.lock, self.tokens, self.spent, self.limit = threading.Lock(), {}, 0, PULLS
        # (time, kind, method, repository, status) of each request.
        self.records = []
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()

    def handle_error(self, request, client_address):
        # A cache that ends resets its idle connections. Anything else is a fault of this file, and is shown.
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)

    def record(self, kind, method, repository, status):
        with self.lock:
            self.records.append((time.monotonic(), kind, method, repository, status))

    def new_token(self, scope):
        with self.lock:
            token = secrets.token_urlsafe(24)
            self.tokens[token] = (scope, time.monotonic() + TOKEN_SECONDS)
        return token

    def allows(self, authorization, repository):
        with self.lock:
            scope, end = self.tokens.get(authorization.removeprefix("Bearer "), ("", 0.0))
        return scope == f"repository:{repository}:pull" and time.monotonic() < end

    def take(self):
        """Counts a pull; false if none is left."""
        with self.lock:
            if self.spent >= self.limit:
                return False
            self.spent += 1
            return True

    def left(self):
        with self.lock:
            return max(self.limit - self.spent, 0)

    def count(self, kind, method=None, status=None):
        with self.lock:
            return sum(1 for _, each, how, _, answer in self.records
                       if each == kind and how == (method or how) and answer == (status or answer))


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    # An idle connection's thread ends.
    timeout = 120

    def log_message(self, *_):
        pass

    def do_GET(self):
        url = urllib.parse.urlsplit(self.path)
        if url.path == "/token":
            scope = urllib.parse.parse_qs(url.query).get("scope", [""])[0]
            self.server.record("token", self.command, scope, 200)
            token = self.server.new_token(scope)
            return self.reply(200, {"token": token, "access_token": token, "expires_in": TOKEN_SECONDS})
        found = TARGET.fullmatch(url.path)
        repository = found["name"] if found else ""
        if not found or not self.server.allows(self.headers.get("Authorization", ""), repository):
            self.server.record("challenge", self.command, repository, 401)
            scope = f',scope="repository:{repository}:pull"' if found else ""
            realm = f"http://127.0.0.1:{self.server.port}/token"
            return self.reply(401, error("UNAUTHORIZED", "authentication required"),
                              {"WWW-Authenticate": f'Bearer realm="{realm}",service="registry.docker.io"{scope}'})
        return self.pass_on(KINDS[found["kind"]], repository)

    do_HEAD = do_GET

    def pass_on(self, kind, repository):
        fields = {}
        if kind == "manifest":
            is_allowed = self.command == "HEAD" or self.server.take()
            fields = {"ratelimit-limit": f"{self.server.limit};w={PERIOD_SECONDS}",
                      "ratelimit-remaining": f"{self.server.left()};w={PERIOD_SECONDS}",
                      "docker-ratelimit-source": "127.0.0.1"}
            if not is_allowed:
                self.server.record(kind, self.command, repository, 429)
                return self.reply(429, error("TOOMANYREQUESTS", "You have reached your pull rate limit."), fields)
        connection = http.client.HTTPConnection("127.0.0.1", self.server.store, timeout=30)
        sent = {name: self.headers[name] for name in ("Range", "If-None-Match") if name in self.headers}
        # Several lines of Accept are one list.
        connection.request(self.command, self.path, headers={"Accept": ", ".join(self.headers.get_all("Accept", ["*/*"])), **sent})
        answer = connection.getresponse()
        body = answer.read()
        connection.close()
        fields.update({name: answer.headers[name] for name in (*PASSED_ON, "Content-Range") if name in answer.headers})
        self.server.record(kind, self.command, repository, answer.status)
        return self.reply(answer.status, body, fields, answer.headers.get("Content-Length"))

    def reply(self, status, body, fields=(), length=None):
        if not isinstance(body, bytes):
            body = json.dumps(body).encode()
            fields = {"Content-Type": "application/json", **dict(fields)}
        self.send_response(status)
        for name, value in dict(fields).items():
            self.send_header(name, value)
        # A HEAD has the length of what a GET would get.
        self.send_header("Content-Length", length if self.command == "HEAD" and length else str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


def error(code, message):
    return {"errors": [{"code": code, "message": message}]}
