// The pipes to and from a program (docs.libuv.org, "uv_pipe_t"). Writing to a closed one is an error, not a SIGPIPE:
// this process ignores that signal.

internal import CLibuv
internal import Glibc

extension Handle where Raw == uv_pipe_t {
    /// A new pipe: this handle has one end, and the other end is appended to `childEnds`. Both ends are closed on exec.
    /// - Parameter isRead: whether this end is the reading one.
    fileprivate convenience init(on loop: EventLoop, isRead: Bool, _ childEnds: inout [Int32]) throws(LoopError) {
        try self.init("uv_pipe_init") { uv_pipe_init(loop.pointer, $0, 0) }
        var ends: (read: Int32, write: Int32) = (-1, -1)
        let flags = Int32(UV_NONBLOCK_PIPE.rawValue)
        let code = withUnsafeMutablePointer(to: &ends) { pointer in
            pointer.withMemoryRebound(to: Int32.self, capacity: 2) {
                uv_pipe($0, isRead ? flags : 0, isRead ? 0 : flags)
            }
        }
        guard code == 0 else {
            close()
            throw LoopError(call: "uv_pipe", code: code)
        }
        childEnds.append(isRead ? ends.write : ends.read)
        let own = isRead ? ends.read : ends.write
        let opened = uv_pipe_open(pointer, own)
        guard opened == 0 else {
            Glibc.close(own)
            close()
            throw LoopError(call: "uv_pipe_open", code: opened)
        }
    }

    fileprivate var stream: UnsafeMutablePointer<uv_stream_t> {
        // `uv_pipe_t` begins with the fields of `uv_stream_t`.
        UnsafeMutableRawPointer(pointer).assumingMemoryBound(to: uv_stream_t.self)
    }
}

/// Reads what a program writes, up to a limit. It keeps itself alive until `close`.
final class ChildReader {
    private(set) var bytes: [UInt8] = []
    private(set) var isOverLimit = false
    /// Called when there is more.
    var onChange: () -> Void = {}

    private let loop: EventLoop
    private let pipe: Handle<uv_pipe_t>
    private let maximumBytes: Int

    /// A pipe holds 64 KiB (pipe(7)), one read of the loop's buffer; a child that the program leaves behind may write
    /// on and on.
    private static let maximumLastReads = 4

    init(on loop: EventLoop, maximumBytes: Int, _ childEnds: inout [Int32]) throws(LoopError) {
        self.loop = loop
        self.maximumBytes = maximumBytes
        pipe = try Handle(on: loop, isRead: true, &childEnds)
        pipe.owner = self
    }

    func start() {
        uv_read_start(
            pipe.stream,
            { raw, _, buffer in
                Handle<uv_handle_t>.withOwner(of: raw, as: ChildReader.self) { buffer?.pointee = $0.buffer }
            },
            { raw, count, _ in
                Handle<uv_stream_t>.withOwner(of: raw, as: ChildReader.self) { reader in
                    reader.loop.wake()
                    reader.received(count)
                }
            })
    }

    /// Reads what is in the pipe now, after the program has ended.
    func readRest() {
        var descriptor: uv_os_fd_t = -1
        guard !pipe.isClosed, uv_fileno(pipe.base, &descriptor) == 0 else { return }
        let room = loop.readBuffer
        for _ in 0..<ChildReader.maximumLastReads {
            let count = Glibc.read(descriptor, room.baseAddress, room.count)
            guard count > 0 else { return }
            keep(count)
        }
    }

    func close() {
        onChange = {}
        pipe.close()
    }

    private var buffer: uv_buf_t {
        let room = loop.readBuffer
        return uv_buf_init(room.baseAddress?.assumingMemoryBound(to: CChar.self), UInt32(clamping: room.count))
    }

    /// - Parameter count: as libuv gives it: 0 for nothing, negative at the end and after an error.
    private func received(_ count: Int) {
        guard count != 0 else { return }
        guard count > 0 else { return pipe.close() }
        keep(count)
        onChange()
    }

    private func keep(_ count: Int) {
        let room = maximumBytes - bytes.count
        if count > room { isOverLimit = true }
        bytes.append(contentsOf: loop.readBuffer.prefix(min(count, room)))
    }
}

/// Writes a program's input. It keeps itself alive until `close`.
final class ChildWriter {
    private let loop: EventLoop
    private let pipe: Handle<uv_pipe_t>
    /// Both are read by libuv until the write's callback, and the handle keeps this object until after that.
    private let request = UnsafeMutablePointer<uv_write_t>.allocate(capacity: 1)
    private let bytes: UnsafeMutableBufferPointer<CChar>

    init(on loop: EventLoop, _ input: [UInt8], _ childEnds: inout [Int32]) throws(LoopError) {
        self.loop = loop
        bytes = .allocate(capacity: input.count)
        _ = bytes.initialize(from: input.map { CChar(bitPattern: $0) })
        do throws(LoopError) {
            pipe = try Handle(on: loop, isRead: false, &childEnds)
        } catch {
            // `deinit` does not run while `pipe` is not set.
            request.deallocate()
            bytes.deallocate()
            throw error
        }
        pipe.owner = self
    }

    deinit {
        request.deallocate()
        bytes.deallocate()
    }

    /// Writes the input and closes the pipe, so that the program finds its end.
    func start() {
        guard !bytes.isEmpty else { return close() }
        var buffer = uv_buf_init(bytes.baseAddress, UInt32(clamping: bytes.count))
        let code = uv_write(request, pipe.stream, &buffer, 1) { raw, _ in
            // An error means that the program has closed its input without reading all of it, which it may.
            Handle<uv_stream_t>.withOwner(of: raw?.pointee.handle, as: ChildWriter.self) { writer in
                writer.loop.wake()
                writer.close()
            }
        }
        if code < 0 { close() }
    }

    func close() { pipe.close() }
}
