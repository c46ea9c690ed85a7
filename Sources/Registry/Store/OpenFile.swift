// A descriptor with an owner. Whoever holds the object can read the file, whatever happens to its name meanwhile.

internal import Glibc

/// An open regular file. Closed when the last holder lets go, on the loop: closing is quick except for the last holder
/// of a large removed file (a failed pull), where the file system frees its blocks.
package final class OpenFile {
    package let descriptor: Int32
    /// The file's size; of a file that an `Ingest` still writes, the bytes written so far.
    package internal(set) var sizeBytes: Int64

    /// The fields of a response with the whole of it, kept by whoever makes them (they never change for finished
    /// content).
    package var responseFields: [UInt8] = []

    /// Takes the descriptor over.
    init(descriptor: Int32, sizeBytes: Int64) {
        self.descriptor = descriptor
        self.sizeBytes = sizeBytes
    }

    deinit { close(descriptor) }
}
