// The answers to an operator, to the letter.

import Foundation
import TestSupport
import Testing

@testable import OCI
@testable import Registry

/// Images as the store reports them, made by hand.
enum SampleCachedImages {
    static let first = digestOf(Array("first".utf8))
    static let second = digestOf(Array("second".utf8))

    static func image(
        _ name: String, _ digest: Digest = first, type: MediaType = .ociManifest, created: Int64 = 0,
        pulled: Int64 = 0, blobs: [(Digest, Int64)] = []
    ) throws -> CachedImage {
        let parsed = try #require(ImageName(name))
        return CachedImage(
            host: parsed.host, repository: parsed.repository, reference: parsed.reference, digest: digest,
            mediaType: type, createdSeconds: created, pulledSeconds: pulled, manifestBytes: 7,
            blobs: blobs.map { .init(digest: $0.0, sizeBytes: $0.1, isCached: true) })
    }

    /// A list, one of its images, and one with a port and a deep name.
    static func several() throws -> [CachedImage] {
        [
            try image("docker.io/library/debian:12", type: .ociIndex, created: 1_700_000_000, pulled: 1_700_000_001),
            try image(
                "docker.io/library/debian@\(second)", second, created: 1_700_000_002, pulled: 1_700_086_400,
                blobs: [(first, 1_000_000), (second, 49_949_999)]),
            try image(
                "registry.example:5000/a/b/c:V1", second, type: .dockerManifest, blobs: [(second, 50_000)]),
        ]
    }
}

@Suite struct AdminTextTests {
    private let first = SampleCachedImages.first
    private let second = SampleCachedImages.second
    private func time(_ seconds: Int64) -> String { LocalTime.text(seconds) }

    /// Of the second of the samples.
    private var times: String { "\(time(1_700_000_002)) \(time(1_700_086_400))" }

    @Test("the manifest list has the original server's text format") func manifestList() throws {
        let text = AdminText.manifests(try SampleCachedImages.several())
        #expect(
            text == """
                URL DIGEST  CREATED PULLED
                docker.io/library/debian:12 \(first) \(time(1_700_000_000)) \(time(1_700_000_001))
                docker.io/library/debian@sha256:\(second.hex.prefix(10)) \(second) \(times)
                registry.example:5000/a/b/c:V1 \(second) \(time(0)) \(time(0))

                """)
        #expect(AdminText.manifests([]) == "no manifests found")
    }

    @Test("the image list has a line per image followed by its blobs") func imageList() throws {
        let text = AdminText.images([try SampleCachedImages.several()[1]])
        #expect(
            text == """
                URL DIGEST  CREATED PULLED
                docker.io/library/debian@sha256:\(second.hex.prefix(10)) \(second) \(times)
                - \(first)
                - \(second)

                """)
        #expect(AdminText.images([]) == "no manifests found")
    }

    private func blob(_ digest: Digest, _ count: Int) -> BlobEntry {
        BlobEntry(
            digest: digest, sizeBytes: 1_250_000, createdSeconds: 1_700_000_002, usedSeconds: 1_700_086_400,
            referenceCount: count)
    }

    @Test("the blob list has a reference count per blob") func blobList() {
        let blobs = [blob(first, 2), blob(second, 0)]
        #expect(AdminText.blobs(blobs) == "URL REFCNT\n\(first) 2\n\(second) 0\n")
        #expect(AdminText.blobs([]) == "no blobs found")
    }

    @Test("the table of blobs has a row per blob with its references, times and size") func blobTable() {
        let blobs = [blob(first, 2), blob(second, 0)]
        let header = "DIGEST REFERENCES CREATED USED SIZE(MB)\n"
        #expect(
            AdminText.blobTable(blobs, hasHeader: true, isShort: false)
                == "\(header)\(first) 2 \(times) 1.3\n\(second) 0 \(times) 1.3\n")
        #expect(
            AdminText.blobTable(blobs, hasHeader: false, isShort: true)
                == "\(first.hex.prefix(10)) 2 \(times) 1.3\n\(second.hex.prefix(10)) 0 \(times) 1.3\n")
        #expect(AdminText.blobTable([], hasHeader: true, isShort: false) == header)
    }

    @Test("the table of list has a row per image, with optional header and short digests") func table() throws {
        let images = try SampleCachedImages.several()
        let lines = [
            "IMAGE TAG/DIGEST TYPE CREATED PULLED SIZE(MB)",
            "docker.io/library/debian 12 list \(time(1_700_000_000)) \(time(1_700_000_001)) n/a",
            "docker.io/library/debian \(second.hex) image \(time(1_700_000_002)) \(time(1_700_086_400)) 50.9",
            "registry.example:5000/a/b/c V1 image \(time(0)) \(time(0)) 0.1",
        ]
        #expect(AdminText.table(images, hasHeader: true, isShort: false) == lines.map { "\($0)\n" }.joined())
        #expect(
            AdminText.table(images, hasHeader: false, isShort: true)
                == lines.dropFirst().map { "\($0)\n" }.joined().replacing(second.hex, with: second.hex.prefix(10)))
        #expect(AdminText.table([], hasHeader: false, isShort: false) == "")
        #expect(AdminText.table([], hasHeader: true, isShort: false) == lines[0] + "\n")
    }

    @Test(
        "sizes are shown in megabytes, rounded to one decimal",
        arguments: [
            (0, "n/a"), (1, "0.0"), (49_999, "0.0"), (50_000, "0.1"), (99_999, "0.1"), (149_999, "0.1"),
            (1_000_000, "1.0"),
            (999_949_999, "999.9"), (999_950_000, "1000.0"), (12_345_678_901, "12345.7"),
        ] as [(Int64, String)])
    func megabytes(_ bytes: Int64, _ text: String) {
        #expect(AdminText.megabytes(bytes) == text)
    }

    @Test("a prune report lists pruned and skipped images and sums up what was freed") func pruneReport() throws {
        let images = try SampleCachedImages.several()
        var report = PruneReport()
        #expect(AdminText.prune(report) == "no manifests found")
        #expect(AdminText.pruneReport(report) == "pruned 0 images, 0 blobs, 0.0 MB\n")
        report.images = [images[0]]
        report.skipped = Array(images[1...])
        report.blobCount = 1
        report.freedBytes = 2_340_000
        let skipped = "skipped \(images[1].name)\nskipped registry.example:5000/a/b/c:V1\n"
        #expect(AdminText.prune(report) == "pruned docker.io/library/debian:12\n" + skipped)
        #expect(
            AdminText.pruneReport(report) == "pruned docker.io/library/debian:12\n" + skipped
                + "pruned 1 image, 1 blob, 2.3 MB; skipped 2 images in use or pulled a moment ago\n")
        report.orphans = [blob(second, 0)]
        #expect(
            AdminText.prune(report)
                == "pruned docker.io/library/debian:12\npruned blob \(second)\n" + skipped)
        report.isDryRun = true
        report.orphans = []
        report.skipped = []
        #expect(
            AdminText.pruneReport(report)
                == "would prune docker.io/library/debian:12\nwould prune 1 image, 1 blob, 2.3 MB\n")
    }

    @Test("the JSON forms of lists and reports have every documented member") func json() throws {
        func object(_ text: String) throws -> [String: Any] {
            try #require(try JSONSerialization.jsonObject(with: Data(text.utf8)) as? [String: Any])
        }
        let images = try #require(
            try object(AdminText.json(SampleCachedImages.several()))["images"] as? [[String: Any]])
        #expect(images.count == 3)
        #expect(images[0]["tag"] as? String == "12" && images[0]["type"] as? String == "list")
        #expect(images[0]["sizeBytes"] is NSNull && images[0]["created"] as? String == "2023-11-14T22:13:20.000Z")
        #expect(images[1]["tag"] is NSNull && images[1]["sizeBytes"] as? Int == 50_949_999)
        #expect(images[1]["name"] as? String == "docker.io/library/debian@\(second)")
        let blobs = try #require(images[1]["blobs"] as? [[String: Any]])
        #expect(blobs.map { $0["digest"] as? String } == ["\(first)", "\(second)"])
        #expect(blobs[0]["sizeBytes"] as? Int == 1_000_000 && blobs[0]["isCached"] as? Bool == true)
        #expect(
            images[2]["host"] as? String == "registry.example:5000" && images[2]["repository"] as? String == "a/b/c")
        #expect(images[2]["mediaType"] as? String == MediaType.dockerManifest.text)
        #expect(images[2]["manifestBytes"] as? Int == 7)
        let list = try #require(try object(AdminText.json([blob(first, 3)]))["blobs"] as? [[String: Any]])
        #expect(list.count == 1 && list[0]["digest"] as? String == "\(first)" && list[0]["references"] as? Int == 3)
        #expect(list[0]["sizeBytes"] as? Int == 1_250_000)
        #expect(list[0]["created"] as? String == "2023-11-14T22:13:22.000Z")
        #expect(list[0]["used"] as? String == "2023-11-15T22:13:20.000Z")
        var pruned = PruneReport()
        pruned.orphans = [blob(second, 0)]
        let unnamed = try object(AdminText.json(pruned))["unreferencedBlobs"] as? [[String: Any]]
        #expect(unnamed?.first?["digest"] as? String == "\(second)")
        let report = try object(AdminText.json(PruneReport()))
        #expect(report["dryRun"] as? Bool == false && (report["pruned"] as? [Any])?.isEmpty == true)
        #expect(try (object(AdminText.json([CachedImage]()))["images"] as? [Any])?.isEmpty == true)
    }
}

@Suite struct LocalTimeTests {
    @Test("a local time is read back as it was written") func localTimes() throws {
        for seconds: Int64 in [0, 951_782_400, 1_700_000_000, 1_767_225_599, 4_102_444_800] {
            let text = LocalTime.text(seconds)
            #expect(text.utf8.count == 19)
            #expect(LocalTime.seconds(text) == seconds, "\(text)")
        }
    }

    @Test(
        "a text that is not a local time in full is refused",
        arguments: [
            "", "2026-01-31", "2026-01-31 12:00:00", "2026-01-31T12:00", "2026-01-31T12:00:00Z", "2026-1-31T12:00:00",
            "2026-02-29T12:00:00", "2026-13-01T12:00:00", "2026-01-31T24:00:00", "2026-01-31T12:60:00",
            "x026-01-31T12:00:00",
            "2026-01-31T12:00:61", "2026-00-10T12:00:00",
        ])
    func invalidTimes(_ text: String) {
        #expect(LocalTime.seconds(text) == nil)
    }
}
