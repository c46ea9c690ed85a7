// What the loop waits for. libuv can watch sockets (`uv_poll_t`), but tells of each again and again until it has been
// dealt with, so that the kernel looks at each once more than there is something to find; and each turn of its loop
// reads the clock twice and goes through a dozen lists. Most turns of this server are sockets and nothing else. So
// sockets are watched here, and libuv's loop, which has the timers, the threads and the signals, is one more thing that
// is watched (docs.libuv.org, "uv_backend_fd"). Measured: a cached answer takes 2 % less of the processor.

internal import CLibuv
internal import CLinux
internal import Glibc

/// What a socket is watched for, and what it is ready for (epoll_ctl(2)).
struct SocketEvents: OptionSet {
    let rawValue: UInt32

    static let readable = SocketEvents(rawValue: EPOLLIN.rawValue)
    static let writable = SocketEvents(rawValue: EPOLLOUT.rawValue)
    /// The peer will send no more.
    static let peerHasEnded = SocketEvents(rawValue: EPOLLRDHUP.rawValue)
    /// Both directions have ended. Told whether it is watched for or not, as errors are.
    static let hasHungUp = SocketEvents(rawValue: EPOLLHUP.rawValue)
    static let failed = SocketEvents(rawValue: EPOLLERR.rawValue)
    /// Each of them is told when it comes, and not again while it lasts.
    static let once = SocketEvents(rawValue: EPOLLET.rawValue)
}

/// The sockets of a loop, and libuv's descriptor among them (epoll(7)).
final class SocketSet {
    /// Events taken from the kernel in one turn; libuv's loop has its turn in between.
    static let maximumEvents: Int32 = 512

    private let descriptor: Int32
    private let events = UnsafeMutableRawPointer.allocate(
        byteCount: Int(maximumEvents) * Int(linux_epoll_event_bytes), alignment: 8)
    /// Keeps libuv's loop alive while there are sockets: it ends, and runs no timer, when all it has is unreferenced.
    private let keeper: Handle<uv_async_t>
    private var due: [WatchedSocket] = []
    /// Sockets that have not ended.
    private(set) var count = 0

    init(beside loop: UnsafeMutablePointer<uv_loop_t>) throws(LoopError) {
        keeper = try Handle("uv_async_init") { uv_async_init(loop, $0, nil) }
        keeper.unreference()
        descriptor = epoll_create1(Int32(EPOLL_CLOEXEC))
        guard descriptor >= 0 else { throw LoopError(call: "epoll_create1", code: -errno) }
        // It has no object; that is how its events are known.
        let events = SocketEvents.readable.rawValue
        guard linux_epoll(descriptor, EPOLL_CTL_ADD, uv_backend_fd(loop), events, nil) == 0 else {
            throw LoopError(call: "epoll_ctl", code: -errno)
        }
    }

    /// Waits until something is ready: no longer than so many milliseconds, or -1 for as long as it takes.
    /// - Returns: how many are, for `tell`.
    func wait(milliseconds: Int32) -> Int32 {
        linux_epoll_wait(descriptor, events, SocketSet.maximumEvents, milliseconds)
    }

    /// Lets those go on that wanted to, and tells those that are ready.
    /// - Returns: whether libuv's loop is among them.
    func tell(_ ready: Int32) -> Bool {
        if !due.isEmpty { letDueGoOn() }
        var isLibuvReady = false
        var index: Int32 = 0
        while index < ready {
            if let data = linux_epoll_data(events, index) {
                // Held until it has ended, and that is in a turn of its own.
                Unmanaged<WatchedSocket>.fromOpaque(data)._withUnsafeGuaranteedRef {
                    $0.ready(SocketEvents(rawValue: linux_epoll_events(events, index)))
                }
            } else {
                isLibuvReady = true
            }
            index &+= 1
        }
        return isLibuvReady
    }

    /// Whether somebody wants to go on without being told.
    var isDue: Bool { !due.isEmpty }

    private func letDueGoOn() {
        let those = due
        due = []
        for socket in those {
            socket.isDue = false
            socket.goOn()
        }
    }

    /// Closes it; libuv's loop has to run once more. Every socket must have ended.
    func close() {
        keeper.close()
        Glibc.close(descriptor)
        events.deallocate()
    }

    // MARK: For sockets

    fileprivate func control(_ operation: Int32, _ socket: WatchedSocket, _ events: SocketEvents) -> Bool {
        let reference = Unmanaged.passUnretained(socket).toOpaque()
        return linux_epoll(descriptor, operation, socket.descriptor, events.rawValue, reference) == 0
    }

    fileprivate func append(toDue socket: WatchedSocket) { due.append(socket) }

    fileprivate func began() {
        if count == 0 { keeper.reference() }
        count += 1
    }

    fileprivate func ended() {
        count -= 1
        if count == 0 { keeper.unreference() }
    }
}

/// A descriptor that is being watched. It keeps itself alive from `init` until it has ended.
package class WatchedSocket {
    package final let loop: EventLoop
    final let descriptor: Int32
    /// What the kernel has been told to watch for.
    private final var watched: SocketEvents = []
    fileprivate final var isDue = false

    init(watched descriptor: Int32, on loop: EventLoop) {
        self.loop = loop
        self.descriptor = descriptor
        // Paired with the release in `end`.
        _ = Unmanaged.passRetained(self)
        loop.sockets.began()
    }

    /// Some of the events watched for have come, or an error, or the end of both directions.
    func ready(_ events: SocketEvents) {}

    /// The turn has come that `goOnLater` asked for.
    func goOn() {}

    /// Says what to watch for, or nothing at all.
    /// - Returns: false where the kernel refuses: it has no memory, or the descriptor is none that can be watched.
    final func watch(_ events: SocketEvents) -> Bool {
        guard events != watched else { return true }
        let operation = events.isEmpty ? EPOLL_CTL_DEL : watched.isEmpty ? EPOLL_CTL_ADD : EPOLL_CTL_MOD
        // What is to be watched no longer is not, whatever the kernel says.
        guard loop.sockets.control(operation, self, events) || events.isEmpty else { return false }
        watched = events
        return true
    }

    /// Asks for `goOn` in the next turn, which then waits for nothing.
    final func goOnLater() {
        guard !isDue else { return }
        isDue = true
        loop.sockets.append(toDue: self)
    }

    /// Ends the watch at once, so that whoever is given the same descriptor next is not disturbed; what is left, in a
    /// turn of its own. To be called once.
    final func end(then: @escaping () -> Void = {}) {
        _ = watch([])
        loop.deferred.enqueue { [self] in
            then()
            loop.sockets.ended()
            Unmanaged.passUnretained(self).release()
        }
    }
}
