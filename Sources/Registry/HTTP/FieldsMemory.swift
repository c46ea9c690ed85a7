// Clients send the same field lines with every request of a kind, byte for byte: only the request line differs. So the
// blocks that came lately are kept with what they meant, and comparing takes the place of reading: a tenth of the
// instructions. What a block means depends on nothing but its bytes, once the request line is the usual one.

internal import OCI

package struct FieldsMemory: Sendable {
    /// A client has about one for manifests and one for blobs; a node has one or two clients.
    static let maximumBlocks = 4
    /// Longer ones carry a token or a cookie.
    static let maximumBytes = 1024
    /// Of blocks that are not known, one in so many is kept: where every one is different, keeping them is for nothing.
    static let interval: UInt = 16

    private struct Block {
        /// From the first field line to the empty line, with it.
        let bytes: [UInt8]
        /// Where they began when they were read.
        let start: Int
        let head: RequestHead
    }

    private var blocks: [Block] = []
    private var unknown: UInt = 0

    package init() {}

    /// What the field lines at the beginning of `bytes` mean, where they and the empty line behind them are known.
    @inline(__always)
    fileprivate func head(_ bytes: UnsafeRawBufferPointer) -> (RequestHead, start: Int, byteCount: Int)? {
        for index in blocks.indices {
            let count = blocks[index].bytes.count
            guard count <= bytes.count else { continue }
            let isSame = blocks[index].bytes.withUnsafeBytes { $0.equals(bytes.part(0, count)) }
            if isSame { return (blocks[index].head, blocks[index].start, count) }
        }
        return nil
    }

    /// A head has been read that was not known.
    mutating func note(_ reader: HeadReader) {
        unknown &+= 1
        guard unknown % FieldsMemory.interval == 1, reader.isUsual, reader.head.isPlain else { return }
        let start = Int(reader.head.fields.start)
        let bytes = reader.part(start, reader.head.length)
        guard bytes.count <= FieldsMemory.maximumBytes else { return }
        if blocks.count == FieldsMemory.maximumBlocks { blocks.removeFirst() }
        blocks.append(Block(bytes: Array(bytes), start: start, head: reader.head))
    }
}

extension HeadReader {
    /// Whether the request line leaves everything else to the fields: HTTP/1.1, and no host in the target.
    fileprivate var isUsual: Bool { head.minorVersion == 1 && head.path.start == head.target.start }

    /// Takes over what the fields mean, where `memory` knows them.
    @inline(__always)
    mutating func recallFields(_ memory: FieldsMemory?) -> Bool {
        guard isUsual, let (known, start, byteCount) = memory?.head(part(at, end)) else { return false }
        let move = at &- start
        head.host = known.host.moved(by: move)
        head.fields = known.fields.moved(by: move)
        head.keepAlive = known.keepAlive
        head.hasVia = known.hasVia
        at &+= byteCount
        head.length = at
        return true
    }
}

extension RequestHead {
    /// Whether its fields say nothing that only this request says.
    fileprivate var isPlain: Bool {
        range == nil && ifRange == nil && ifNoneMatch == nil && registryHeader == nil && requestID == nil
            && body == .none && !expectContinue
    }
}

extension Slice {
    fileprivate func moved(by distance: Int) -> Slice { Slice(Int(start) &+ distance, Int(end) &+ distance) }
}
