// A descriptor with an owner. Whoever holds the object can read the file, whatever happens to its name meanwhile.

internal import Glibc

/// An open regular file. Closed when the last holder lets go.
package final class OpenFile {
    /// A removed file of this size takes milliseconds to close: the system frees its blocks and pages then.
    static let largeBytes: Int64 = 64 << 20

    package let descriptor: Int32
    /// The file's size; of a file that an `Ingest` still writes, the bytes written so far.
    package internal(set) var sizeBytes: Int64

    /// The fields of a response with the whole of it, kept by whoever makes them (they never change for finished
    /// content).
    package var responseFields: [UInt8] = []

    /// Where a large one is closed; nil: on the loop, as others are.
    private let offload: Offload?

    /// Takes the descriptor over.
    init(descriptor: Int32, sizeBytes: Int64, closingIn offload: Offload? = nil) {
        self.descriptor = descriptor
        self.sizeBytes = sizeBytes
        self.offload = offload
    }

    deinit {
        guard let offload, sizeBytes >= OpenFile.largeBytes else {
            close(descriptor)
            return
        }
        let descriptor = descriptor
        offload.run({ close(descriptor) }, then: { (_: Result<Int32, any Error>) in })
    }
}
