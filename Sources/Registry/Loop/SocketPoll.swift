// Readiness of sockets that are not connections of this server: curl's, and listening ones. Those who read and write
// them do not always go on to the end, and have to be told again.

/// Watches one descriptor, and tells what it is ready for as long as it is. It keeps itself alive until `close`.
package final class SocketPoll: WatchedSocket {
    private let told: (_ readable: Bool, _ writable: Bool, _ failed: Bool) -> Void
    private var wantsReadable = false
    private var wantsWritable = false
    private var isClosed = false

    /// Nil when the descriptor cannot be watched.
    package init?(
        on loop: EventLoop, descriptor: Int32,
        _ told: @escaping (_ readable: Bool, _ writable: Bool, _ failed: Bool) -> Void
    ) {
        self.told = told
        super.init(watched: descriptor, on: loop)
        guard watch(.readable), watch([]) else {
            close()
            return nil
        }
    }

    /// Says what to wait for; neither stops the watch.
    package func watch(readable: Bool, writable: Bool) {
        guard !isClosed else { return }
        wantsReadable = readable
        wantsWritable = writable
        var events: SocketEvents = readable ? [.readable, .peerHasEnded] : []
        if writable { events.insert(.writable) }
        // Where nothing is waited for, errors are not either.
        guard !watch(events) else { return }
        loop.deferred.enqueue { [self] in failed() }
    }

    override func ready(_ events: SocketEvents) {
        guard !isClosed else { return }
        if events.contains(.failed) { return failed() }
        let isReadable = !events.isDisjoint(with: [.readable, .peerHasEnded, .hasHungUp])
        let isWritable = !events.isDisjoint(with: [.writable, .hasHungUp])
        told(isReadable && wantsReadable, isWritable && wantsWritable, false)
    }

    /// The socket is in error, and would say so without end: it is watched no longer.
    private func failed() {
        guard !isClosed else { return }
        watch(readable: false, writable: false)
        told(false, false, true)
    }

    /// Ends the watch at once.
    package func close() {
        guard !isClosed else { return }
        isClosed = true
        end()
    }
}
