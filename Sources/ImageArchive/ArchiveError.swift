// The errors of an archive: which archive, which entry, and the reason. The texts let a person decide whether the file
// is broken, old or hostile.

internal import Glibc
package import OCI

/// A failure of reading or writing an image archive.
package struct ArchiveError: Error, Sendable, Equatable, CustomStringConvertible {
    /// The kind of failure.
    package enum Problem: Error, Sendable, Equatable {
        /// A system call failed.
        case system(call: String, code: Int32)
        /// libarchive cannot read on: not a tarball, cut short, damaged.
        case unreadable(String)
        /// libarchive cannot write.
        case unwritable(String)
        /// Neither a tarball nor a list of references.
        case unknownContent
        /// The file that identifies an image archive is missing.
        case notAnImage(String)
        /// A name that leads outside the archive (absolute, `..`) or is not text.
        case badName
        /// A link, device or FIFO where a file is needed, or an entry type that archives must not contain.
        case notAFile(String)
        /// A repeated name with different content.
        case duplicate
        /// Larger than a limit: a decompression bomb, or far larger than any image.
        case limit(String)
        /// The content does not hash to its name or its described digest.
        case wrongDigest(expected: Digest, found: Digest)
        /// The content's length is not its descriptor's size.
        case wrongSize(expected: Int64, found: Int64)
        /// A file named by the archive's own documents is missing.
        case missing
        /// A JSON document without the required content.
        case badDocument(String)
        /// No image for the requested platform.
        case noPlatform(wanted: Platform, found: [Platform])
        /// Several images of one name, and no rule to choose one.
        case ambiguous(String)
        /// The file was replaced or changed after it was opened.
        case changed
        /// The file to write exists already.
        case exists
    }

    /// For `badDocument`: a descriptor whose `size` is missing or invalid.
    static let noSize = "is described without a size from 0 to 16 TiB"

    /// The archive's path as the caller gave it.
    package let archive: String
    /// The file inside; nil when the error concerns the whole archive.
    package let entry: String?
    package let problem: Problem

    package init(_ archive: String, entry: String? = nil, _ problem: Problem) {
        self.archive = archive
        self.entry = entry
        self.problem = problem
    }

    /// `archive: entry: reason`
    package var description: String {
        // A hostile name must not control the terminal: characters outside printable ASCII are shown as their codes.
        archive + ": " + (entry.map { ArchiveError.printable($0) + ": " } ?? "") + problem.text
    }

    private static func printable(_ name: String) -> String {
        var text = ""
        for scalar in name.unicodeScalars.prefix(maximumShownCharacters) {
            text += (0x20..<0x7F).contains(scalar.value) ? String(scalar) : "\\u{\(String(scalar.value, radix: 16))}"
        }
        return text.isEmpty ? "''" : text
    }

    /// No useful name is longer; `blobs/sha512/<hex>` is 141.
    private static let maximumShownCharacters = 200
}

extension ArchiveError.Problem {
    var text: String {
        switch self {
        case .system(let call, let code): "\(call): \(String(cString: strerror(code)))"
        case .unreadable(let reason): "cannot be read: \(reason)"
        case .unwritable(let reason): "cannot be written: \(reason)"
        case .unknownContent: "neither an image tarball nor a text list of image references"
        case .notAnImage(let reason): "not an image archive: \(reason)"
        case .badName: "a name that leads outside the archive or is not text"
        case .notAFile(let kind): "is \(kind), not a regular file"
        case .duplicate: "is in the archive twice, with different content"
        case .limit(let reason): "refused: \(reason)"
        case .wrongDigest(let expected, let found): "hashes to \(found), and should to \(expected)"
        case .wrongSize(let expected, let found): "has \(found) bytes, and should have \(expected)"
        case .missing: "is not in the archive"
        case .badDocument(let reason): reason
        case .noPlatform(let wanted, let found):
            "has no image for \(wanted), only for \(found.map(\.description).joined(separator: ", "))"
        case .ambiguous(let reason): reason
        case .changed: "was changed while it was read"
        case .exists: "exists already"
        }
    }
}
