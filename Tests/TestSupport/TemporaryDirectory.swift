// A place for a test's files, which goes away with the value that holds it.

internal import Foundation
internal import Synchronization

/// A new directory, removed with everything in it when the last reference goes, or when the process ends.
package final class TemporaryDirectory: Sendable {
    package let path: String

    /// - Parameter parent: ends in a slash; nil: where temporary files go.
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

    // What a test keeps alive to the end, on purpose or not, is never deinitialised; it goes when the test run does.
    private static let left = Mutex<Set<String>>([])
    private static let removesAtExit = atexit {
        for path in TemporaryDirectory.left.withLock({ $0 }) { try? FileManager.default.removeItem(atPath: path) }
    }

    /// The path of something inside; nothing is made there.
    package func file(_ name: String) -> String { "\(path)/\(name)" }

    /// Writes a file, with the directories above it, and returns its path.
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
