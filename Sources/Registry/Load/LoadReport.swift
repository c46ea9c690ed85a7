// What loading says of itself: a line for each image as it ends, how far it is, and in the end what failed and why. All
// of it can be written as JSON, since who asked for it may be another process.

internal import OCI

/// Something that could not be loaded.
package struct LoadFailure: Sendable, Equatable, Codable, CustomStringConvertible {
    /// The file as it was given or found.
    package let file: String
    /// The image; nil when the file as a whole is meant.
    package let image: String?
    package let reason: String

    package init(file: String, image: String?, reason: String) {
        self.file = file
        self.image = image
        self.reason = reason
    }

    /// `file: image: reason`; a reason that names the file already (`file:line: …`) stands alone.
    package var description: String {
        if image == nil, reason.hasPrefix(file + ":") { return reason }
        return file + ": " + (image.map { "\($0): " } ?? "") + reason
    }
}

/// An image has ended, one way or another.
package enum LoadEvent: Sendable, Equatable, Codable {
    case loaded(image: String, file: String)
    /// All of it was in the cache.
    case present(image: String, file: String)
    case failed(LoadFailure)
}

/// How far it is.
package struct LoadProgress: Sendable, Equatable, Codable {
    /// Images that the files read so far name, and what has become of them.
    package var images = 0
    package var loaded = 0
    package var present = 0
    package var failed = 0
    /// Bytes of blobs that were missing, as far as they are known, and how many of them are here.
    package var wantedBytes: Int64 = 0
    package var arrivedBytes: Int64 = 0

    package init() {}

    /// Saturating: these numbers may come from another process.
    package var ended: Int { loaded.addingSaturated(present).addingSaturated(failed) }
}

/// What has become of all of it.
package struct LoadReport: Sendable, Equatable, Codable {
    package var progress: LoadProgress
    package var failures: [LoadFailure]
    /// It was stopped before it was through.
    package var isStopped: Bool
}

/// The events of a run, in order; `ended` is the last.
package enum LoadRunEvent: Sendable, Equatable, Codable {
    case event(LoadEvent)
    case progress(LoadProgress)
    case ended(LoadReport)
}
