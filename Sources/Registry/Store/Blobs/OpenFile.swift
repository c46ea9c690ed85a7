// Reference-counted file descriptors. A holder can read the file even after its name has been removed.

internal import Glibc

/// A fault that a reader found in an open file.
package enum FileFault: Sendable, Equatable {
    /// The file ends before its size: another process or a failing disk has truncated it.
    case tooShort
    /// A read failed with this `errno`.
    case unreadable(Int32)
    /// Its bytes do not hash to its digest.
    case wrongContent

    /// `errno` values that mean lost content: an unreadable medium, or wrong checksums or structures (open(2), read(2);
    /// the last two come from xfs and ext4). Other errors are transient.
    private static let lost: Set<Int32> = [EIO, ENODATA, EREMOTEIO, EILSEQ, EBADMSG, EUCLEAN]

    /// Whether the content itself is lost; otherwise a later read may succeed.
    var isDamage: Bool {
        if case .unreadable(let code) = self { FileFault.lost.contains(code) } else { true }
    }

    /// The text for the log and for a name in the quarantine.
    func text(sizeBytes: Int64) -> String {
        switch self {
        case .tooShort: "shorter than \(sizeBytes) bytes"
        case .unreadable(let code): "cannot be read: \(String(cString: strerror(code)))"
        case .wrongContent: "hash mismatch"
        }
    }
}

/// An open regular file. Closed when its last holder releases it.
package final class OpenFile {
    /// Closing a removed file of this size takes milliseconds, since the system then frees its blocks and pages.
    static let largeBytes: Int64 = 64 << 20

    package let descriptor: Int32
    /// The file's size; of a file that an `Ingest` still writes, the bytes written so far.
    package internal(set) var sizeBytes: Int64
    /// The file system that holds the file (stat(2), st_dev).
    package let device: UInt64

    /// The fields of a response with the whole content. The first response sets them; they never change for finished
    /// content.
    package var responseFields: [UInt8] = []
    /// When the blob's next use is recorded, on the loop's clock.
    var nextTouchMilliseconds: UInt64 = 0

    /// The first fault that a reader reported; nil when there was none.
    private(set) var fault: FileFault?
    /// Called once, with the first fault, before `report` returns.
    var onFault: ((OpenFile, FileFault) -> Void)?

    /// The pool that closes a large file; if nil, the file is closed on the loop.
    private let offload: Offload?

    /// Takes ownership of the descriptor.
    init(descriptor: Int32, sizeBytes: Int64, device: UInt64, closingIn offload: Offload? = nil) {
        self.descriptor = descriptor
        self.sizeBytes = sizeBytes
        self.device = device
        self.offload = offload
    }

    /// Reports that the content cannot be read to its end. The owner of the name (the store, or the ingest that writes
    /// the file) removes it from use; readers end short.
    package func report(_ fault: FileFault) {
        guard self.fault == nil else { return }
        self.fault = fault
        let action = onFault
        onFault = nil
        action?(self, fault)
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
