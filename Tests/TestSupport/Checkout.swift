// Paths of the source tree and of the built server, for tests.

internal import Foundation

package enum Checkout {
    /// The root of the source tree, without a slash at its end.
    package static let root: String = {
        let parts = #filePath.split(separator: "/", omittingEmptySubsequences: false)
        return parts.dropLast("Tests/TestSupport/Checkout.swift".split(separator: "/").count).joined(
            separator: "/")
    }()

    /// The server, built next to the program these tests run in.
    package static let server: String = {
        let tests =
            (try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")) ?? CommandLine.arguments[0]
        return URL(fileURLWithPath: tests).deletingLastPathComponent().appendingPathComponent("ociregistry").path
    }()
}
