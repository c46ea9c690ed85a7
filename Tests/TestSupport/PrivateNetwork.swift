// A network of a test's own, in which any address can be had: a network namespace, and a mount namespace with another
// /etc/resolv.conf. A test that uses it states `.needs(.root, .iproute2)`.

internal import Foundation
internal import Glibc

package enum PrivateNetwork {
    package struct Failure: Error, CustomStringConvertible {
        package let description: String
    }

    /// The address that programs in the network ask for names.
    package static let nameServer = "127.0.0.1"

    /// Runs `body` on a thread whose only interface is `lo`. Sockets that it opens and programs that it starts are in
    /// the network as well. What it expects is not attributed to a test, so it should return what is to be compared.
    /// - Parameter addresses: addresses of `lo` besides the loopback ones.
    package static func run<Result>(addresses: [String], _ body: @escaping () throws -> Result) throws -> Result {
        let work = Work(body)
        let thread = Thread { work.run(addresses) }
        thread.stackSize = stackBytes
        thread.start()
        return try work.result()
    }

    /// As much as the main thread has.
    private static let stackBytes = 8 * 1024 * 1024

    /// The body, its result, and the end of its thread.
    private final class Work<Result>: @unchecked Sendable {
        private let body: () throws -> Result
        private let end = DispatchSemaphore(value: 0)
        private var outcome: Swift.Result<Result, any Error>?

        init(_ body: @escaping () throws -> Result) { self.body = body }

        func run(_ addresses: [String]) {
            outcome = Swift.Result {
                try PrivateNetwork.enter(addresses)
                return try body()
            }
            end.signal()
        }

        func result() throws -> Result {
            end.wait()
            guard let outcome else { throw Failure(description: "the thread has no result") }
            return try outcome.get()
        }
    }

    /// unshare(2), which Swift's module of the C library leaves out, and its flags CLONE_NEWNET and CLONE_NEWNS.
    private typealias Unshare = @convention(c) (Int32) -> Int32
    private static let newNetwork: Int32 = 0x4000_0000
    private static let newMounts: Int32 = 0x0002_0000

    private static func enter(_ addresses: [String]) throws {
        // Of this thread only; they end with it and with the programs that it started.
        guard let unshare = dlsym(nil, "unshare").map({ unsafeBitCast($0, to: Unshare.self) }) else {
            throw Failure(description: "this C library has no unshare")
        }
        guard unshare(newNetwork | newMounts) == 0 else {
            throw Failure(description: "unshare: \(String(cString: strerror(errno)))")
        }
        try Command.check(["ip", "link", "set", "lo", "up"])
        for address in addresses { try Command.check(["ip", "address", "add", "\(address)/32", "dev", "lo"]) }
        let files = try TemporaryDirectory()
        let resolver = try files.write("nameserver \(nameServer)\noptions timeout:2\n", to: "resolv.conf")
        try Command.check(["mount", "--make-rprivate", "/"])
        try Command.check(["mount", "--bind", resolver, "/etc/resolv.conf"])
    }
}
