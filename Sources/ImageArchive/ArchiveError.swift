// What is wrong with an archive: which one, which entry of it, and what. The words are for the person who was given the
// file and has to decide whether it is broken, old or hostile.

internal import Glibc
package import OCI

package struct ArchiveError: Error, Sendable, Equatable, CustomStringConvertible {
    package enum Problem: Error, Sendable, Equatable {
        /// A system call was refused.
        case system(call: String, code: Int32)
        /// libarchive cannot go on: not a tarball, cut short, damaged.
        case unreadable(String)
        /// libarchive cannot write.
        case unwritable(String)
        /// Neither a tarball nor a list of references.
        case unknownContent
        /// No file by which an image archive is known.
        case notAnImage(String)
        /// A name that leads outside (absolute, `..`) or is no text.
        case badName
        /// A link, device or FIFO where a file is needed, or one that has no place in an archive at all.
        case notAFile(String)
        /// The same name again with other content.
        case duplicate
        /// More than a limit allows: a bomb, or far from anything that images are.
        case limit(String)
        /// The content does not hash to what it is named or described as.
        case wrongDigest(expected: Digest, found: Digest)
        /// The content is not as long as its descriptor says.
        case wrongSize(expected: Int64, found: Int64)
        /// A file that the archive's own documents name.
        case missing
        /// JSON that does not say what it should.
        case badDocument(String)
        /// No image for the platform asked for.
        case noPlatform(wanted: Platform, found: [Platform])
        /// Several images of one name, and nothing to choose between them.
        case ambiguous(String)
        /// The file is another one than when it was opened.
        case changed
        /// What is to be written exists.
        case exists
    }

    /// For `badDocument`: a descriptor whose `size` is missing or is no size.
    static let noSize = "is described without a size from 0 to 16 TiB"

    /// The archive's path, as the caller gave it.
    package let archive: String
    /// The file inside; nil when the archive as a whole is meant.
    package let entry: String?
    package let problem: Problem

    package init(_ archive: String, entry: String? = nil, _ problem: Problem) {
        self.archive = archive
        self.entry = entry
        self.problem = problem
    }

    /// `archive: entry: reason`
    package var description: String {
        // A hostile name must not write to the terminal: whatever is not printable ASCII is shown as its code.
        archive + ": " + (entry.map { ArchiveError.printable($0) + ": " } ?? "") + problem.text
    }

    private static func printable(_ name: String) -> String {
        var text = ""
        for scalar in name.unicodeScalars.prefix(maximumShownCharacters) {
            text += (0x20..<0x7F).contains(scalar.value) ? String(scalar) : "\\u{\(String(scalar.value, radix: 16))}"
        }
        return text.isEmpty ? "''" : text
    }

    /// Names are longer only to be a nuisance; `blobs/sha512/<hex>` is 141.
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
