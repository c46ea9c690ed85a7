// A descriptor with an owner. The holder of the object can read the file, whatever happens to its name meanwhile.

internal import Glibc

/// What a reader found wrong with an open file.
package enum FileFault: Sendable, Equatable {
    /// It ends before its size: another process or a failing disk has cut it off.
    case tooShort
    /// A read failed with this `errno`.
    case unreadable(Int32)
    /// Its bytes do not hash to its digest.
    case wrongContent

    /// `errno` values by which a disk or a file system says that content is lost: a medium that cannot be read, and
    /// checksums or structures that are wrong (open(2), read(2); xfs and ext4 give the last two). Others pass.
    private static let lost: Set<Int32> = [EIO, ENODATA, EREMOTEIO, EILSEQ, EBADMSG, EUCLEAN]

    /// Whether the content itself is lost, rather than a read that may work the next time.
    var isDamage: Bool {
        if case .unreadable(let code) = self { FileFault.lost.contains(code) } else { true }
    }

    /// For the log and for a name in the quarantine.
    func text(sizeBytes: Int64) -> String {
        switch self {
        case .tooShort: "shorter than \(sizeBytes) bytes"
        case .unreadable(let code): "cannot be read: \(String(cString: strerror(code)))"
        case .wrongContent: "hash mismatch"
        }
    }
}

/// An open regular file. Closed when the last holder lets go.
package final class OpenFile {
    /// A removed file of this size takes milliseconds to close: the system frees its blocks and pages then.
    static let largeBytes: Int64 = 64 << 20

    package let descriptor: Int32
    /// The file's size; of a file that an `Ingest` still writes, the bytes written so far.
    package internal(set) var sizeBytes: Int64
    /// The file system that it is on (stat(2), st_dev).
    package let device: UInt64

    /// The fields of a response with the whole of it, kept by its first user (they never change for finished
    /// content).
    package var responseFields: [UInt8] = []

    /// The first fault that a reader reported; nil when there was none.
    private(set) var fault: FileFault?
    /// Called once, with the first fault, before `report` returns.
    var onFault: ((OpenFile, FileFault) -> Void)?

    /// Where a large one is closed; nil: on the loop, as others are.
    private let offload: Offload?

    /// Takes the descriptor over.
    init(descriptor: Int32, sizeBytes: Int64, device: UInt64, closingIn offload: Offload? = nil) {
        self.descriptor = descriptor
        self.sizeBytes = sizeBytes
        self.device = device
        self.offload = offload
    }

    /// Says that the content cannot be read to its end. The owner of the name (the store, or the ingest that writes
    /// the file) takes it out of use; readers end short.
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
