// A prepared response: fields and body in one piece of memory, with room before them for the parts that vary (status
// line, date, a field for one client). The kernel gets a hit as one piece, and its body is not copied.

/// The fields and the body of a response, made once. They do not change; the memory lives as long as the object.
package class ReadyAnswer {
    /// Room before the fields in bytes: a usual first piece (`ResponsePrefixes`) has about 100, a field that names an
    /// upstream 30. A longer prefix is sent as separate pieces.
    static let roomBytes = 192

    private final let memory: UnsafeMutableRawBufferPointer
    /// Response fields (with the empty line) and body, contiguous.
    package final let wire: UnsafeRawBufferPointer
    /// Bytes of `wire` that are response fields.
    package final let fieldsCount: Int

    /// - Parameter fill: writes the body; returns false when the body is not available.
    init?(fields: [UInt8], bodyBytes: Int, fill: (UnsafeMutableRawBufferPointer) -> Bool) {
        let room = ReadyAnswer.roomBytes
        memory = .allocate(byteCount: room + fields.count + bodyBytes, alignment: 64)
        UnsafeMutableRawBufferPointer(rebasing: memory[room...]).copyBytes(from: fields)
        wire = UnsafeRawBufferPointer(rebasing: memory[room...])
        fieldsCount = fields.count
        // From here on `deinit` frees the memory.
        guard fill(UnsafeMutableRawBufferPointer(rebasing: memory[(room + fields.count)...])) else { return nil }
    }

    init(fields: [UInt8], body: [UInt8]) {
        let room = ReadyAnswer.roomBytes
        memory = .allocate(byteCount: room + fields.count + body.count, alignment: 64)
        UnsafeMutableRawBufferPointer(rebasing: memory[room...]).copyBytes(from: fields)
        UnsafeMutableRawBufferPointer(rebasing: memory[(room + fields.count)...]).copyBytes(from: body)
        wire = UnsafeRawBufferPointer(rebasing: memory[room...])
        fieldsCount = fields.count
    }

    deinit { memory.deallocate() }

    /// The body without the fields.
    package final var body: UnsafeRawBufferPointer { UnsafeRawBufferPointer(rebasing: wire[fieldsCount...]) }

    /// The body for a job off the loop.
    package final var sharedBody: SharedBody { SharedBody(self) }

    /// The response fields without the body: the response to a HEAD.
    package final var fields: UnsafeRawBufferPointer { UnsafeRawBufferPointer(rebasing: wire[..<fieldsCount]) }

    /// Writes `first` and `second` before the fields; nil when they do not fit. The result is valid until the next such
    /// call.
    @inline(__always)
    final func led(by first: UnsafeRawBufferPointer, _ second: [UInt8], withBody: Bool) -> UnsafeRawBufferPointer? {
        let count = first.count &+ second.count
        guard count <= ReadyAnswer.roomBytes else { return nil }
        let start = ReadyAnswer.roomBytes &- count
        UnsafeMutableRawBufferPointer(rebasing: memory[start...]).copyMemory(from: first)
        if !second.isEmpty {
            UnsafeMutableRawBufferPointer(rebasing: memory[(start &+ first.count)...]).copyBytes(from: second)
        }
        let end = withBody ? memory.count : ReadyAnswer.roomBytes &+ fieldsCount
        return UnsafeRawBufferPointer(rebasing: memory[start..<end])
    }
}

/// The body of a response for a job off the loop; the loop may send the response at the same time.
package struct SharedBody: @unchecked Sendable {
    // @unchecked: a body never changes, since `led` writes only before the fields. This keeps the answer alive.
    private let answer: ReadyAnswer

    fileprivate init(_ answer: ReadyAnswer) { self.answer = answer }

    package var count: Int { answer.wire.count - answer.fieldsCount }

    /// A copy of the body.
    package var bytes: [UInt8] { Array(answer.body) }

    /// Calls `body` with bytes that are valid during the call.
    package func withBytes<R, E: Error>(_ body: (UnsafeRawBufferPointer) throws(E) -> R) throws(E) -> R {
        let answer = answer
        defer { withExtendedLifetime(answer) {} }
        return try body(answer.body)
    }
}
