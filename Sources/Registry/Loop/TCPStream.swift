// One accepted TCP connection. Server/Connection is its subclass: one object a connection, one virtual call an event,
// and nothing allocated while requests come and go. Unlike other handles it keeps its libuv memory itself, for that
// reason.

internal import CLibuv
internal import Glibc

/// A TCP connection on the loop (docs.libuv.org, "uv_tcp_t", "uv_stream_t").
///
/// It keeps itself alive from `accept` to the close callback.
package class TCPStream {
    package final let loop: EventLoop
    private final let raw: UnsafeMutablePointer<uv_tcp_t>
    private final var isReading = false
    /// Writes that libuv has queued and not finished.
    private final var queuedWrites = 0
    package final private(set) var isClosing = false
    /// The socket, for `sendfile` and `MSG_MORE`, which libuv has no words for; −1 before `accept`.
    private final var descriptor: Int32 = -1

    /// What a write came to.
    package enum WriteResult {
        /// The kernel took this many bytes, possibly 0 when its buffer is full.
        case took(Int)
        /// The connection is broken (reset, closed).
        case failed
    }

    package init(on loop: EventLoop) throws(LoopError) {
        self.loop = loop
        raw = UnsafeMutablePointer<uv_tcp_t>.allocate(capacity: 1)
        let code = uv_tcp_init(loop.pointer, raw)
        guard code == 0 else {
            raw.deallocate()
            throw LoopError(call: "uv_tcp_init", code: code)
        }
        // Paired with the release in the close callback.
        raw.pointee.data = Unmanaged<TCPStream>.passRetained(self).toOpaque()
    }

    deinit { raw.deallocate() }

    // MARK: What subclasses answer

    /// Bytes arrived. They are the loop's shared buffer: gone when this returns.
    func received(_ bytes: UnsafeRawBufferPointer) {}
    /// The peer will send no more (`failed` false), or the connection broke.
    func reachedEnd(failed: Bool) {}
    /// The last queued write was taken by the kernel; the socket is writable again.
    func drained() {}
    /// The handle is closed; nothing comes after this.
    func closed() {}

    // MARK: Reading

    package final func startReading() {
        guard !isReading, !isClosing else { return }
        isReading = true
        uv_read_start(
            stream,
            { handle, _, buffer in
                let shared = TCPStream.from(UnsafeMutableRawPointer(handle)).loop.readBuffer
                buffer?.pointee = uv_buf_init(
                    shared.baseAddress?.assumingMemoryBound(to: CChar.self), UInt32(shared.count))
            },
            { handle, count, buffer in
                guard count != 0 else { return }
                let stream = TCPStream.from(UnsafeMutableRawPointer(handle))
                guard count > 0 else { return stream.readEnded(count) }
                stream.received(UnsafeRawBufferPointer(start: buffer?.pointee.base, count: count))
            })
    }

    package final func stopReading() {
        guard isReading else { return }
        isReading = false
        uv_read_stop(stream)
    }

    private final func readEnded(_ code: Int) {
        isReading = false
        uv_read_stop(stream)
        reachedEnd(failed: code != Int(UV_EOF.rawValue))
    }

    // MARK: Writing

    /// Whether libuv still has bytes queued; `tryWrite` and `sendFile` must not overtake them.
    package final var hasQueuedWrites: Bool { queuedWrites > 0 }

    /// Gives up to three pieces to the kernel in one call, without waiting. Empty pieces are allowed.
    package final func tryWrite(
        _ first: UnsafeRawBufferPointer, _ second: UnsafeRawBufferPointer = .init(start: nil, count: 0),
        _ third: UnsafeRawBufferPointer = .init(start: nil, count: 0)
    ) -> WriteResult {
        var buffers = (TCPStream.buffer(first), TCPStream.buffer(second), TCPStream.buffer(third))
        let code = withUnsafeMutableBytes(of: &buffers) { bytes in
            uv_try_write(stream, bytes.assumingMemoryBound(to: uv_buf_t.self).baseAddress, third.isEmpty ? 2 : 3)
        }
        if code >= 0 { return .took(Int(code)) }
        return code == UV_EAGAIN.rawValue ? .took(0) : .failed
    }

    /// Queues bytes behind what is queued already; `drained` is called when all are taken. False when the connection is
    /// broken and nothing will come.
    package final func queue(_ bytes: [UInt8]) -> Bool {
        guard !isClosing, !bytes.isEmpty else { return false }
        let write = QueuedWrite(bytes)
        let code = uv_write(write.request, stream, &write.buffer, 1) { request, _ in
            let write = QueuedWrite.from(request)
            let stream = TCPStream.from(UnsafeMutableRawPointer(request.unsafelyUnwrapped.pointee.handle))
            Unmanaged.passUnretained(write).release()
            stream.writeEnded()
        }
        guard code == 0 else { return false }
        // Paired with the release above: libuv reads the bytes until its callback.
        write.request.pointee.data = Unmanaged.passRetained(write).toOpaque()
        queuedWrites += 1
        return true
    }

    /// Sends bytes that more will follow at once (`MSG_MORE`), so that head and body share a segment.
    package final func tryWriteMore(_ bytes: UnsafeRawBufferPointer) -> WriteResult {
        let count = send(descriptor, bytes.baseAddress, bytes.count, TCPStream.moreFollows)
        return TCPStream.result(count)
    }

    /// Sends part of a file without copying it (`sendfile(2)`). Pages that are not in memory make this block: the
    /// caller has asked first (see `BodyPump`).
    package final func sendFile(_ file: Int32, offset: Int64, count: Int) -> WriteResult {
        var position = off_t(offset)
        return TCPStream.result(sendfile(descriptor, file, &position, count))
    }

    private final func writeEnded() {
        queuedWrites -= 1
        if queuedWrites == 0, !isClosing { drained() }
    }

    // MARK: Ending

    /// Sends FIN after what is queued. The peer reads an orderly end; reading goes on.
    package final func shutdown() {
        guard !isClosing else { return }
        let request = UnsafeMutablePointer<uv_shutdown_t>.allocate(capacity: 1)
        let code = uv_shutdown(request, stream) { request, _ in request?.deallocate() }
        if code != 0 { request.deallocate() }
    }

    /// Closes at once. `closed()` follows on a later turn.
    package final func close() {
        guard !isClosing else { return }
        isClosing = true
        uv_close(UnsafeMutableRawPointer(raw).assumingMemoryBound(to: uv_handle_t.self)) { handle in
            guard let data = handle?.pointee.data else { return }
            Unmanaged<TCPStream>.fromOpaque(data).takeRetainedValue().closed()
        }
    }

    /// The peer as `address:port`, or as `unix:uid=1000`, for logs.
    package final var peerName: String {
        let name = TCPListener.name { storage, length in uv_tcp_getpeername(raw, storage, length) }
        guard let name else { return "unknown" }
        return name.text == "unix" ? peerUser.map { "unix:uid=\($0)" } ?? name.text : name.text
    }

    /// The user at the other end of a Unix socket, as the kernel knows it (unix(7), SO_PEERCRED: process, user, group).
    private final var peerUser: UInt32? {
        var credentials: (pid: Int32, uid: UInt32, gid: UInt32) = (0, 0, 0)
        var length = socklen_t(MemoryLayout.size(ofValue: credentials))
        guard getsockopt(descriptor, SOL_SOCKET, SO_PEERCRED, &credentials, &length) == 0 else { return nil }
        return credentials.uid
    }

    // MARK: Plumbing

    /// Takes the connection that the listener has ready.
    final func accept(from listener: UnsafeMutablePointer<uv_stream_t>) -> Bool {
        guard uv_accept(listener, stream) == 0 else { return false }
        var number: uv_os_fd_t = -1
        uv_fileno(UnsafeMutableRawPointer(raw).assumingMemoryBound(to: uv_handle_t.self), &number)
        descriptor = number
        // Answers are written whole; waiting for more to fill a segment would only delay the last one of a body.
        uv_tcp_nodelay(raw, 1)
        return true
    }

    private final var stream: UnsafeMutablePointer<uv_stream_t> {
        UnsafeMutableRawPointer(raw).assumingMemoryBound(to: uv_stream_t.self)
    }

    private static func from(_ handle: UnsafeMutableRawPointer?) -> TCPStream {
        // Set in `init`; libuv makes no callback after the close callback released it.
        let base = handle.unsafelyUnwrapped.assumingMemoryBound(to: uv_handle_t.self)
        return Unmanaged<TCPStream>.fromOpaque(base.pointee.data.unsafelyUnwrapped).takeUnretainedValue()
    }

    private static let moreFollows = Int32(MSG_MORE) | Int32(MSG_NOSIGNAL) | Int32(MSG_DONTWAIT)

    private static func buffer(_ bytes: UnsafeRawBufferPointer) -> uv_buf_t {
        uv_buf_t(
            base: UnsafeMutablePointer(mutating: bytes.baseAddress?.assumingMemoryBound(to: CChar.self)),
            len: bytes.count)
    }

    private static func result(_ count: Int) -> WriteResult {
        if count >= 0 { return .took(count) }
        return errno == EAGAIN || errno == EINTR ? .took(0) : .failed
    }
}

/// Bytes on their way out that the socket did not take at once.
private final class QueuedWrite {
    let request = UnsafeMutablePointer<uv_write_t>.allocate(capacity: 1)
    var buffer: uv_buf_t

    init(_ bytes: [UInt8]) {
        let copy = UnsafeMutablePointer<CChar>.allocate(capacity: bytes.count)
        bytes.withUnsafeBytes { UnsafeMutableRawBufferPointer(start: copy, count: bytes.count).copyMemory(from: $0) }
        buffer = uv_buf_init(copy, UInt32(bytes.count))
    }

    deinit {
        buffer.base.deallocate()
        request.deallocate()
    }

    static func from(_ request: UnsafeMutablePointer<uv_write_t>?) -> QueuedWrite {
        // Set right after uv_write queued it, before the loop can call back.
        Unmanaged<QueuedWrite>.fromOpaque(request.unsafelyUnwrapped.pointee.data.unsafelyUnwrapped)
            .takeUnretainedValue()
    }
}
