// What is sent often is kept as it goes out: response fields and body in one piece of memory, and room before them for
// what only the moment knows (status line, date, a field of one client's). So that a cached answer is one piece for the
// kernel, and its body is not copied on the way there.

/// The fields and the body of an answer, made once. They do not change; the memory lives as long as the object.
package class ReadyAnswer {
    /// Bytes of room before the fields: a usual first piece (`ResponsePrefixes`) has about 100, a field that names an
    /// upstream 30. What does not fit goes out in pieces.
    static let roomBytes = 192

    private final let memory: UnsafeMutableRawBufferPointer
    /// Response fields (with the empty line) and body, contiguous.
    package final let wire: UnsafeRawBufferPointer
    /// Bytes of `wire` that are response fields.
    package final let fieldsCount: Int

    /// - Parameter fill: writes the body; false where it is not to be had.
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

    /// The body alone.
    package final var body: UnsafeRawBufferPointer { UnsafeRawBufferPointer(rebasing: wire[fieldsCount...]) }

    /// The body, for a job off the loop.
    package final var sharedBody: SharedBody { SharedBody(self) }

    /// The response fields alone: what a HEAD is answered with.
    package final var fields: UnsafeRawBufferPointer { UnsafeRawBufferPointer(rebasing: wire[..<fieldsCount]) }

    /// Puts `first` and `second` before the fields; nil where there is no room for them. What it gives is good until
    /// the next such call.
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

/// The body of an answer, read by a job while the loop may be sending the answer.
package struct SharedBody: @unchecked Sendable {
    // Sendable since a body never changes: `led` writes before the fields only. The answer lives as long as this.
    private let answer: ReadyAnswer

    fileprivate init(_ answer: ReadyAnswer) { self.answer = answer }

    package var count: Int { answer.wire.count - answer.fieldsCount }

    /// A copy, for what takes an array.
    package var bytes: [UInt8] { Array(answer.body) }

    /// The bytes are valid within the call.
    package func withBytes<R, E: Error>(_ body: (UnsafeRawBufferPointer) throws(E) -> R) throws(E) -> R {
        let answer = answer
        defer { withExtendedLifetime(answer) {} }
        return try body(answer.body)
    }
}
