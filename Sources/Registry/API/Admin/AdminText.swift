// The exact texts of admin responses: the reference's columns for people and scripts, and JSON for programs. Pure;
// formatted off the loop, since a large cache gives megabytes.
//
// No text here needs escaping: the grammars of hosts, repositories, tags and digests contain no character that is
// special in columns or in JSON.

internal import OCI

package enum AdminText {
    /// Hexadecimal digits of a shortened digest: enough to distinguish the images of one cache.
    static let shortDigits = 10

    // MARK: Columns, separated by single spaces

    /// `GET /cmd/manifest/list`. The two spaces before CREATED are the reference's.
    static func manifests(_ images: [CachedImage]) -> String { urls(images, withBlobs: false) }

    /// `GET /cmd/image/list`: the manifests, with one line per blob.
    static func images(_ images: [CachedImage]) -> String { urls(images, withBlobs: true) }

    private static func urls(_ images: [CachedImage], withBlobs: Bool) -> String {
        // The reference sends this text without a line end.
        guard !images.isEmpty else { return "no manifests found" }
        var text = "URL DIGEST  CREATED PULLED\n"
        for image in images {
            text += "\(url(image)) \(image.digest) "
            text += "\(LocalTime.text(image.createdSeconds)) \(LocalTime.text(image.pulledSeconds))\n"
            guard withBlobs else { continue }
            for blob in image.blobs { text += "- \(blob.digest)\n" }
        }
        return text
    }

    /// The name, with a digest in it shortened.
    private static func url(_ image: CachedImage) -> String {
        guard case .digest(let digest) = image.reference else { return image.name }
        return "\(image.host)/\(image.repository)@\(digest.algorithm.name):\(digest.hex.prefix(shortDigits))"
    }

    /// `GET /cmd/blob/list`.
    static func blobs(_ blobs: [BlobEntry]) -> String {
        guard !blobs.isEmpty else { return "no blobs found" }
        return blobs.reduce(into: "URL REFCNT\n") { $0 += "\($1.digest) \($1.referenceCount)\n" }
    }

    /// The output of the sub-command `list`.
    static func table(_ images: [CachedImage], hasHeader: Bool, isShort: Bool) -> String {
        var text = hasHeader ? "IMAGE TAG/DIGEST TYPE CREATED PULLED SIZE(MB)\n" : ""
        for image in images {
            let reference =
                switch image.reference {
                case .tag(let tag): tag
                case .digest(let digest): isShort ? String(digest.hex.prefix(shortDigits)) : digest.hex
                }
            text +=
                "\(image.host)/\(image.repository) \(reference) \(type(image)) \(LocalTime.text(image.createdSeconds)) "
            text += "\(LocalTime.text(image.pulledSeconds)) \(image.sizeBytes.map(megabytes) ?? "n/a")\n"
        }
        return text
    }

    /// The output of `list --cooldown`.
    static func waiting(_ tags: [WaitingTag], hasHeader: Bool) -> String {
        tags.reduce(into: hasHeader ? "IMAGE SERVED WAITING SEEN UNTIL\n" : "") { text, tag in
            text += "\(tag.name) \(tag.served.map { "\($0)" } ?? "-") \(tag.waiting) "
            text += "\(tag.seenSeconds.map(LogTimestamp.secondsText) ?? "-") "
            text += "\(tag.endSeconds.map(LogTimestamp.secondsText) ?? "-")\n"
        }
    }

    /// The output of `list --blobs`.
    static func blobTable(_ blobs: [BlobEntry], hasHeader: Bool, isShort: Bool) -> String {
        var text = hasHeader ? "DIGEST REFERENCES CREATED USED SIZE(MB)\n" : ""
        for blob in blobs {
            let digest = isShort ? String(blob.digest.hex.prefix(shortDigits)) : "\(blob.digest)"
            text += "\(digest) \(blob.referenceCount) \(LocalTime.text(blob.createdSeconds)) "
            text += "\(LocalTime.text(blob.usedSeconds)) \(decimal(blob.sizeBytes))\n"
        }
        return text
    }

    private static func type(_ image: CachedImage) -> String { image.mediaType.isIndex ? "list" : "image" }

    /// Millions of bytes with one decimal; `n/a` for 0, which means an unknown size, as in the reference.
    static func megabytes(_ bytes: Int64) -> String {
        guard bytes > 0 else { return "n/a" }
        return decimal(bytes)
    }

    private static func decimal(_ bytes: Int64) -> String {
        let tenths = bytes.addingSaturated(50_000) / 100_000
        return "\(tenths / 10).\(tenths % 10)"
    }

    // MARK: A prune

    /// `DELETE /cmd/prune`: one line per pruned image, one per pruned blob that no image names, and one per selected
    /// image that is kept.
    static func prune(_ report: PruneReport) -> String {
        isEmpty(report) ? "no manifests found" : lines(report)
    }

    private static func isEmpty(_ report: PruneReport) -> Bool {
        report.images.isEmpty && report.orphans.isEmpty && report.skipped.isEmpty
    }

    private static func lines(_ report: PruneReport) -> String {
        let verb = report.isDryRun ? "would prune" : "pruned"
        let blobs = report.orphans.map { "\(verb) blob \($0.digest)\n" }.sorted().joined()
        return lines(verb, report.images) + blobs + lines("skipped", report.skipped)
    }

    private static func lines(_ verb: String, _ images: [CachedImage]) -> String {
        images.map(\.name).sorted().reduce(into: "") { $0 += "\(verb) \($1)\n" }
    }

    /// The output of the sub-command `prune`: the same lines with a summary.
    static func pruneReport(_ report: PruneReport) -> String {
        let verb = report.isDryRun ? "would prune" : "pruned"
        let freed = "\(count(report.blobCount, "blob")), \(decimal(report.freedBytes)) MB"
        var summary = "\(verb) \(count(report.images.count, "image")), \(freed)"
        if !report.skipped.isEmpty {
            summary += "; skipped \(count(report.skipped.count, "image")) in use or pulled a moment ago"
        }
        return lines(report) + summary + "\n"
    }

    private static func count(_ number: Int, _ what: String) -> String { "\(number) \(what)\(number == 1 ? "" : "s")" }
}

// MARK: - JSON

extension AdminText {
    static func json(_ images: [CachedImage]) -> String { "{\"images\":[\(list(images, json))]}\n" }

    static func json(_ blobs: [BlobEntry]) -> String { "{\"blobs\":[\(list(blobs, json))]}\n" }

    private static func json(_ blob: BlobEntry) -> String {
        "{\"digest\":\"\(blob.digest)\",\"references\":\(blob.referenceCount),\"sizeBytes\":\(blob.sizeBytes),"
            + "\"created\":\"\(utc(blob.createdSeconds))\",\"used\":\"\(utc(blob.usedSeconds))\"}"
    }

    static func json(_ report: PruneReport) -> String {
        "{\"dryRun\":\(report.isDryRun),\"pruned\":[\(list(report.images, json))],"
            + "\"unreferencedBlobs\":[\(list(report.orphans, json))],"
            + "\"skipped\":[\(list(report.skipped, json))],\"blobs\":\(report.blobCount),"
            + "\"freedBytes\":\(report.freedBytes)}\n"
    }

    static func json(_ tags: [WaitingTag]) -> String {
        let items = list(tags) { tag in
            "{\"name\":\"\(tag.name)\",\"served\":\(tag.served.map { "\"\($0)\"" } ?? "null"),"
                + "\"waiting\":\"\(tag.waiting)\",\"seen\":\(tag.seenSeconds.map { "\"\(utc($0))\"" } ?? "null"),"
                + "\"until\":\(tag.endSeconds.map { "\"\(utc($0))\"" } ?? "null")}"
        }
        return "{\"waiting\":[\(items)]}\n"
    }

    private static func json(_ image: CachedImage) -> String {
        let reference =
            switch image.reference {
            case .tag(let tag): "\"\(tag)\""
            case .digest: "null"
            }
        let blobs = list(image.blobs) {
            "{\"digest\":\"\($0.digest)\",\"sizeBytes\":\($0.sizeBytes.map { "\($0)" } ?? "null"),"
                + "\"isCached\":\($0.isCached)\(proof($0.isProven))}"
        }
        return "{\"name\":\"\(image.name)\",\"host\":\"\(image.host)\",\"repository\":\"\(image.repository)\","
            + "\"tag\":\(reference),\"digest\":\"\(image.digest)\",\"mediaType\":\"\(image.mediaType.text)\","
            + "\"type\":\"\(type(image))\",\"created\":\"\(utc(image.createdSeconds))\","
            + "\"pulled\":\"\(utc(image.pulledSeconds))\",\"manifestBytes\":\(image.manifestBytes),"
            + "\"sizeBytes\":\(image.sizeBytes.map { "\($0)" } ?? "null")\(proof(image.isProven)),"
            + "\"blobs\":[\(blobs)]}"
    }

    /// The key that says whether content may be served in its image's repository; empty if that was not read.
    private static func proof(_ isProven: Bool?) -> String { isProven.map { ",\"isProven\":\($0)" } ?? "" }

    private static func list<T>(_ items: [T], _ text: (T) -> String) -> String {
        items.map(text).joined(separator: ",")
    }

    /// A time in the format of RFC 3339.
    private static func utc(_ seconds: Int64) -> String {
        var bytes: [UInt8] = []
        LogTimestamp.append(seconds.multipliedSaturated(by: 1000), to: &bytes)
        return String(decoding: bytes, as: UTF8.self)
    }
}
