// Calls one part of the hot path a given number of times, for scripts/counts, which counts its instructions under
// valgrind. Not a part of the server.

import OCI
import Registry

/// A request as containerd sends it.
private let request = """
    GET /v2/docker.io/library/app7/manifests/sha256:\(String(repeating: "0123456789abcdef", count: 4)) HTTP/1.1\r
    Host: 127.0.0.1\r
    User-Agent: containerd/1.6.20\r
    Accept: application/vnd.oci.image.index.v1+json, application/vnd.docker.distribution.manifest.list.v2+json, \
    application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.v2+json, */*\r
    Accept-Encoding: gzip\r
    \r

    """

/// - Returns: a value that depends on every call, so that the optimizer keeps them.
private func parse(_ bytes: UnsafeRawBufferPointer, calls: Int) -> Int {
    var sum = 0
    for _ in 0..<calls {
        guard case .head(let head) = RequestParser.parse(bytes) else { return -1 }
        sum &+= head.length
    }
    return sum
}

/// Parses with the fields of the previous call: the cost of a client that repeats its fields.
private func parseAgain(_ bytes: UnsafeRawBufferPointer, calls: Int) -> Int {
    var memory: FieldsMemory? = FieldsMemory()
    var sum = 0
    for _ in 0..<calls {
        guard case .head(let head) = RequestParser.parse(bytes, &memory) else { return -1 }
        sum &+= head.length
    }
    return sum
}

private func route(_ bytes: UnsafeRawBufferPointer, calls: Int) -> Int {
    guard case .head(let head) = RequestParser.parse(bytes) else { return -1 }
    let path = head.path.in(bytes)
    var sum = 0
    for _ in 0..<calls {
        let route = Route(path)
        guard route.kind == .manifest else { return -1 }
        sum &+= route.name.count &+ route.reference.count
    }
    return sum
}

let arguments = CommandLine.arguments
let parts = ["parser": parse, "parser-again": parseAgain, "router": route]
guard arguments.count == 3, let part = parts[arguments[1]],
    let calls = OutsideNumber.decimal(arguments[2], in: 0...Int.max)
else {
    fatalError("counted parser|parser-again|router CALLS")  // Nobody runs this by hand.
}
print(Array(request.utf8).withUnsafeBytes { part($0, calls) })
