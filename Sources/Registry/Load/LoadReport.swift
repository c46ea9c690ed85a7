// The events of a load: each finished image, progress at intervals, and a final report with all failures. All can be
// encoded as JSON, since the client may be another process.

internal import OCI

/// A file or image that could not be loaded.
package struct LoadFailure: Sendable, Equatable, Codable, CustomStringConvertible {
    /// The file name as given or found.
    package let file: String
    /// The image; nil when the failure concerns the whole file.
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

/// The end of one image.
package enum LoadEvent: Sendable, Equatable, Codable {
    case loaded(image: String, file: String)
    /// The whole image was in the cache.
    case present(image: String, file: String)
    case failed(LoadFailure)
}

/// The progress of a load.
package struct LoadProgress: Sendable, Equatable, Codable {
    /// Images named by the files read so far, and their results.
    package var images = 0
    package var loaded = 0
    package var present = 0
    package var failed = 0
    /// Bytes of missing blobs, as far as known, and how many of them have arrived.
    package var wantedBytes: Int64 = 0
    package var arrivedBytes: Int64 = 0

    package init() {}

    /// Saturating, since these numbers may come from another process.
    package var ended: Int { loaded.addingSaturated(present).addingSaturated(failed) }
}

/// The final result of a load.
package struct LoadReport: Sendable, Equatable, Codable {
    package var progress: LoadProgress
    package var failures: [LoadFailure]
    /// Whether it was stopped before its end.
    package var isStopped: Bool
}

/// The events of a run, in order; `ended` is the last.
package enum LoadRunEvent: Sendable, Equatable, Codable {
    case event(LoadEvent)
    case progress(LoadProgress)
    case ended(LoadReport)
}
