// The numbers in an operator's requests, and the answers about images whose manifests state absurd sizes.

import Foundation
import TestSupport
import Testing

@testable import Configuration
@testable import OCI
@testable import Registry

@Suite struct AdminNumberTests {
    private func command(_ target: String) -> Result<AdminCommand, RegistryError> {
        let parts = target.split(separator: "?", maxSplits: 1).map { Array($0.utf8) }
        return parts[0].withUnsafeBytes { path in
            parts[1].withUnsafeBytes { query in
                Result { () throws(RegistryError) in try AdminCommand(path: path, query: QueryItems(query)) }
            }
        }
    }

    @Test("count, dur and before outside their ranges are a 400", arguments: Extremes.texts)
    func parameters(_ text: String) throws {
        let escaped = PercentEncoding.encode(text)
        let count = command("/cmd/manifest/list?count=\(escaped)")
        if let number = OutsideNumber.decimal(text, in: 1...Int.max) {
            #expect(try count.get() == .manifests(pattern: nil, limit: number))
        } else {
            #expect(text.isEmpty || (count.refusal?.message.hasPrefix("count: ") == true), "\(text)")
        }
        for unit in ["", "ns", "d"] {
            let answer = command("/cmd/prune?type=accessed&dur=\(escaped + PercentEncoding.encode(unit))")
            let age = try? Age(text + unit)
            #expect((try? answer.get()) == age.map { .prune(.init(.accessed($0), limit: 50, isDryRun: false)) })
        }
        let before = command("/cmd/prune?type=created&before=\(escaped)")
        let seconds = OutsideNumber.signedDecimal(text, in: -253_402_300_799...253_402_300_799)
        let expected = seconds.map { AdminCommand.Prune(.createdBefore(seconds: $0), limit: 50, isDryRun: false) }
        #expect((try? before.get()) == expected.map { .prune($0) })
    }

    @Test("n of a tag list is a number, and clamped when it is too large", arguments: Extremes.texts)
    func tagLists(_ text: String) throws {
        let query = Array("n=\(PercentEncoding.encode(text))".utf8)
        let parsed = query.withUnsafeBytes { bytes in
            Result { () throws(RegistryError) in try PageQuery(QueryItems(bytes)) }
        }
        let limit = OutsideNumber.decimal(text, clampedTo: 0...PageQuery.maximumLimit)
        #expect((try? parsed.get())?.limit == limit)
        if limit == nil { #expect(parsed.refusal?.status == 400) }
        guard let parameters = try? parsed.get() else { return }
        let host = try #require(RegistryHost("x.y"))
        let entries = try ["a", "b", "c"].map {
            CatalogScan.RepositoryEntry(host: host, repository: try #require(RepositoryName($0)))
        }
        let page = CatalogPage(entries, host: host, limit: parameters.limit ?? 10, after: nil)
        #expect(page.last == (limit == 1 ? "a" : nil))
    }

    @Test("images with extreme sizes and times are listed in every format")
    func lists() throws {
        let host = try #require(RegistryHost("a.b"))
        let repository = try #require(RepositoryName("c"))
        var images: [CachedImage] = []
        for number in Extremes.numbers {
            let blobs = [number, nil, number, 5].map {
                CachedImage.Blob(digest: digestOf([1]), sizeBytes: $0, isCached: false)
            }
            images.append(
                CachedImage(
                    host: host, repository: repository, reference: .tag("t"), digest: digestOf([2]),
                    mediaType: .ociManifest, createdSeconds: number, pulledSeconds: number, manifestBytes: number,
                    blobs: blobs))
        }
        #expect(images.last?.sizeBytes == .max)
        for isShort in [false, true] {
            let table = AdminText.table(images, hasHeader: false, isShort: isShort)
            #expect(table.split(separator: "\n").count == images.count)
            #expect(table.contains(" 9223372036854.7\n"), "\(table)")
        }
        #expect(AdminText.images(images).split(separator: "\n").count == 1 + 5 * images.count)
        #expect(AdminText.manifests(images).split(separator: "\n").count == 1 + images.count)
        let json = try JSONSerialization.jsonObject(with: Data(AdminText.json(images).utf8)) as? [String: Any]
        let listed = try #require(json?["images"] as? [[String: Any]])
        #expect(listed.count == images.count)
        let sizes = (listed.last?["blobs"] as? [[String: Any]])?.map { $0["sizeBytes"] }
        #expect(sizes?[1] is NSNull && sizes?[0] as? Int64 == .max)
        var report = PruneReport()
        (report.images, report.freedBytes) = (images, .max)
        #expect(AdminText.pruneReport(report).contains("9223372036854.7 MB"))
    }
}

extension Result {
    fileprivate var refusal: Failure? { if case .failure(let error) = self { error } else { nil } }
}
