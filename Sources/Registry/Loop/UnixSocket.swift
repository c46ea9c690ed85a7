// Unix sockets: their addresses, and listening on one. An accepted connection is a `TCPStream` like any other, and
// `Connection` serves both kinds.

internal import Glibc

/// The address of a socket in a directory, for `bind` and `connect`. The kernel takes at most 107 bytes of a path
/// (sun_path of sockaddr_un has 108 with the final zero), and the path of a cache can be longer. A longer one becomes
/// /proc/self/fd/N/NAME, where N is this process's descriptor of the directory; `bind` and `connect` both accept that.
/// Its calls block, since they use the file system.
package final class UnixAddress {
    /// `sun_path` without its final zero.
    static let maximumBytes = 107

    private let directory: Int32
    private let name: String
    private let text: String

    /// - Throws: when the directory cannot be opened, or the name alone is too long.
    package init(_ path: String) throws(LoopError) {
        let slash = path.utf8.lastIndex(of: 0x2F)
        name = slash.map { String(path[path.utf8.index(after: $0)...]) } ?? path
        let parent = slash.map { $0 == path.startIndex ? "/" : String(path[..<$0]) } ?? "."
        directory = Glibc.open(parent, UnixAddress.searchable | O_DIRECTORY | O_CLOEXEC)
        text = path.utf8.count <= UnixAddress.maximumBytes ? path : "/proc/self/fd/\(directory)/\(name)"
        guard directory >= 0 else { throw LoopError(call: "open \(parent)", code: -errno) }
        guard text.utf8.count <= UnixAddress.maximumBytes, !name.isEmpty else {
            throw LoopError(call: "socket \(path)", code: -ENAMETOOLONG)
        }
    }

    deinit { if directory >= 0 { close(directory) } }

    /// A new stream socket that is bound or connected (`call`) to this address.
    /// - Returns: its descriptor, which the caller closes.
    package func socket(_ call: Call) throws(LoopError) -> Int32 {
        let descriptor = Glibc.socket(AF_UNIX, Int32(SOCK_STREAM.rawValue) | O_CLOEXEC, 0)
        guard descriptor >= 0 else { throw LoopError(call: "socket", code: -errno) }
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: text.utf8) }
        let length = socklen_t(MemoryLayout<sockaddr_un>.size)
        let code = withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { raw in
                call == .bind ? Glibc.bind(descriptor, raw, length) : Glibc.connect(descriptor, raw, length)
            }
        }
        guard code == 0 else {
            let failure = LoopError(call: "\(call) \(name)", code: -errno)
            close(descriptor)
            throw failure
        }
        return descriptor
    }

    package enum Call { case bind, connect }

    /// Removes the socket's name from the directory, if it is there.
    func remove() { unlinkat(directory, name, 0) }

    /// Allows access to the owner only (mode 0600), whatever the umask is.
    func restrict() throws(LoopError) {
        guard fchmodat(directory, name, 0o600, 0) == 0 else { throw LoopError(call: "chmod \(name)", code: -errno) }
    }

    /// Linux's O_PATH, which is declared for _GNU_SOURCE only. It opens a directory that may be searched but not read.
    private static let searchable: Int32 = 0o10000000
}

/// Accepts connections on a path, from processes of this user and of root.
package final class UnixListener {
    /// Enough for the operator's few commands.
    static let backlog: Int32 = 64

    private let path: String
    private let acceptor: Acceptor
    private var isClosed = false

    /// Binds and listens. An existing socket is replaced: the caller knows that its owner is gone.
    /// - Parameter connected: gets each connection's descriptor, and owns it from then on.
    package init(on loop: EventLoop, path: String, connected: @escaping (Int32) -> Void) throws(LoopError) {
        self.path = path
        let address = try UnixAddress(path)
        address.remove()
        let descriptor = try address.socket(.bind)
        do throws(LoopError) {
            // Connecting fails before `listen`, so other users cannot connect before this restriction.
            try address.restrict()
            let flags = fcntl(descriptor, F_GETFL)
            guard fcntl(descriptor, F_SETFL, flags | O_NONBLOCK) == 0, listen(descriptor, UnixListener.backlog) == 0
            else { throw LoopError(call: "listen on \(path)", code: -errno) }
        } catch {
            Glibc.close(descriptor)
            throw error
        }
        acceptor = try Acceptor(on: loop, descriptor: descriptor, connected: connected)
    }

    /// Stops listening, and removes the socket's name.
    package func close() {
        guard !isClosed else { return }
        isClosed = true
        acceptor.close()
        if let address = try? UnixAddress(path) { address.remove() }
    }
}
