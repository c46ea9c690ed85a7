// Clients repeat the same field lines, byte for byte, with every request of a kind: only the request line differs. This
// keeps recent blocks with their parsed fields, so that comparing replaces parsing and saves a tenth of the
// instructions. With the usual request line, a block's meaning depends on its bytes alone.

internal import OCI

/// Recent blocks of field lines with their parsed fields.
package struct FieldsMemory: Sendable {
    /// A client has about one block for manifests and one for blobs; a node has one or two clients.
    static let maximumBlocks = 4
    /// Longer blocks contain a token or a cookie.
    static let maximumBytes = 1024
    /// One of this many unknown blocks is kept: where every block differs, keeping them would be wasted work.
    static let interval: UInt = 16

    private struct Block {
        /// From the first field line to the empty line, inclusive.
        let bytes: [UInt8]
        /// The block's offset when it was parsed.
        let start: Int
        let head: RequestHead
    }

    private var blocks: [Block] = []
    private var unknown: UInt = 0

    package init() {}

    /// The parsed fields of the block at the beginning of `bytes`, with its empty line; nil when it is unknown.
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

    /// Records a newly parsed head.
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
    /// Whether the request line does not affect the fields' meaning: HTTP/1.1, and no host in the target.
    fileprivate var isUsual: Bool { head.minorVersion == 1 && head.path.start == head.target.start }

    /// Takes over the parsed fields when `memory` has the block.
    @inline(__always)
    mutating func recallFields(_ memory: FieldsMemory?) -> Bool {
        guard isUsual, let (known, start, byteCount) = memory?.head(part(at, end)) else { return false }
        let move = at &- start
        head.host = known.host.moved(by: move)
        head.fields = known.fields.moved(by: move)
        head.keepAlive = known.keepAlive
        head.hasVia = known.hasVia
        head.refusesCached = known.refusesCached
        at &+= byteCount
        head.length = at
        return true
    }
}

extension RequestHead {
    /// Whether its fields contain nothing that is specific to one request.
    fileprivate var isPlain: Bool {
        range == nil && ifRange == nil && ifNoneMatch == nil && registryHeader == nil && requestID == nil
            && body == .none && !expectContinue
    }
}

extension Slice {
    fileprivate func moved(by distance: Int) -> Slice { Slice(Int(start) &+ distance, Int(end) &+ distance) }
}
