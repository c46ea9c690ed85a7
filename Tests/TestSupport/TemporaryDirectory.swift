// Temporary directories for a test's files, removed with the value.

internal import Foundation
internal import Synchronization

/// A new directory, removed with its content when the last reference is released, or at the end of the process.
package final class TemporaryDirectory: Sendable {
    package let path: String

    /// - Parameter parent: ends with a slash; nil: the directory for temporary files.
    package init(under parent: String? = nil) throws {
        var template = Array("\(parent ?? NSTemporaryDirectory())ociregistry-test-XXXXXX".utf8CString)
        guard mkdtemp(&template) != nil else { throw POSIXError(POSIXErrorCode(rawValue: errno) ?? .EIO) }
        path = template.withUnsafeBufferPointer { buffer in
            String(decoding: buffer.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
        }
        _ = Self.removesAtExit
        Self.left.withLock { _ = $0.insert(path) }
    }

    deinit {
        Self.left.withLock { _ = $0.remove(path) }
        try? FileManager.default.removeItem(atPath: path)
    }

    // A directory that is retained to the end of the process is never deinitialised, so it is removed at exit.
    private static let left = Mutex<Set<String>>([])
    private static let removesAtExit = atexit {
        for path in TemporaryDirectory.left.withLock({ $0 }) { try? FileManager.default.removeItem(atPath: path) }
    }

    /// The path of a file in the directory; nothing is created.
    package func file(_ name: String) -> String { "\(path)/\(name)" }

    /// Writes a file, creates its parent directories, and returns its path.
    @discardableResult
    package func write(_ text: String, to name: String) throws -> String { try write(Array(text.utf8), to: name) }

    @discardableResult
    package func write(_ bytes: [UInt8], to name: String) throws -> String {
        let target = URL(fileURLWithPath: file(name))
        try FileManager.default.createDirectory(
            at: target.deletingLastPathComponent(), withIntermediateDirectories: true)
        try Data(bytes).write(to: target)
        return target.path
    }

    /// Makes a directory and returns its path.
    @discardableResult
    package func directory(_ name: String) throws -> String {
        try FileManager.default.createDirectory(atPath: file(name), withIntermediateDirectories: true)
        return file(name)
    }
}
