// Readiness of sockets that are not connections of this server: curl's, and listening ones. Those who read and write
// them do not always go on to the end, and have to be told again.

/// Watches one descriptor, and tells what it is ready for as long as it is and somebody wants to know: a socket in
/// error is ready for everything, and fails as well. Failed alone: it cannot be watched. It keeps itself alive until
/// `close`.
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
        loop.deferred.enqueue { [self] in refused() }
    }

    override func ready(_ events: SocketEvents) {
        guard !isClosed else { return }
        // What came before an error can still be read, and the call that comes upon the error says which it is.
        let isReadable = !events.isDisjoint(with: [.readable, .peerHasEnded, .hasHungUp, .failed])
        let isWritable = !events.isDisjoint(with: [.writable, .hasHungUp, .failed])
        told(isReadable && wantsReadable, isWritable && wantsWritable, events.contains(.failed))
    }

    /// The kernel refuses to watch it.
    private func refused() {
        guard !isClosed else { return }
        told(false, false, true)
    }

    /// Ends the watch at once.
    package func close() {
        guard !isClosed else { return }
        isClosed = true
        end()
    }
}
