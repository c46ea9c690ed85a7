// The small parts of the store, each by itself.

import Foundation
import TestSupport
import Testing

@testable import OCI
@testable import Registry

@Suite struct StorePartsTests {
    @Test("a digest map behaves like a dictionary") func digestMap() {
        var random = SeededRandom(seed: 9)
        var map = DigestMap<Int>()
        var dictionary: [Digest: Int] = [:]
        for step in 0..<5000 {
            let digest = digestOf(
                [UInt8(random.next() % 200), UInt8(random.next() % 4)], random.next() % 8 == 0 ? .sha512 : .sha256)
            let value = random.next() % 3 == 0 ? nil : step
            map[digest] = value
            dictionary[digest] = value
            #expect(map.count == dictionary.count && map[digest] == value)
        }
        var all: [Digest: Int] = [:]
        map.forEach { all[$0] = $1 }
        #expect(all == dictionary)
    }

    @Test("hashes match the published test vectors") func hashes() {
        // FIPS 180-4 examples: "abc", and one million times "a".
        let abc = Array("abc".utf8)
        #expect(digestOf(abc).hex == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad")
        #expect(
            digestOf(abc, .sha512).hex
                == "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a"
                + "2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f")
        let hash = ContentHash(.sha256)
        let piece = [UInt8](repeating: 0x61, count: 1000)
        for _ in 0..<1000 { piece.withUnsafeBytes { hash.update($0) } }
        #expect(hash.digest().hex == "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0")
        #expect(hash.digest() == hash.digest())
        #expect(digestOf([]).hex == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")
    }

    @Test("the clock cache keeps used items within its budget") func clockCache() {
        final class Item {}
        var cache = ClockCache<Item>(budget: 10)
        let digests = (0..<200).map { digestOf([UInt8($0)]) }
        cache.insert(Item(), for: digests[0], weight: 1)
        for digest in digests.dropFirst() {
            _ = cache.value(for: digests[0])
            cache.insert(Item(), for: digest, weight: 1)
            #expect(cache.count <= 10 && cache.weight == cache.count)
        }
        #expect(cache.value(for: digests[0]) != nil)
        cache.insert(Item(), for: digests[1], weight: 50)
        #expect(cache.count == 1 && cache.value(for: digests[1]) != nil, "one too large stays until the next comes")
        cache.insert(Item(), for: digests[2], weight: 1)
        #expect(cache.weight == 1)
        cache.remove(digests[2])
        #expect(cache.weight == 0 && cache.count == 0 && cache.value(for: digests[2]) == nil)
    }

    @Test("pinned items stay in the clock cache until they are unpinned") func pinnedItems() {
        final class Item {}
        var cache = ClockCache<Item>(budget: 2)
        let digests = (0..<6).map { digestOf([UInt8($0)]) }
        for digest in digests { cache.insert(Item(), for: digest, weight: 1, isPinned: true) }
        #expect(cache.count == 6)
        for digest in digests { cache.unpin(digest) }
        #expect(cache.count == 2)
    }

    @Test("store paths follow the documented layout") func paths() throws {
        let layout = Layout(imagePath: "/var/lib/x//")
        let digest = digestOf([])
        #expect(layout.blob(digest) == "/var/lib/x/store-v1/blobs/sha256/e3/\(digest.hex)")
        #expect(
            layout.manifest(digest, .dockerManifestList).hasPrefix(
                "/var/lib/x/store-v1/manifests/docker-list/sha256/e3/"))
        #expect(Layout(imagePath: "/").root == "/store-v1")
        #expect(Layout(imagePath: "images").root == "images/store-v1")
        for type in MediaType.allCases { #expect(MediaType(directoryName: type.directoryName) == type) }
        let host = try #require(RegistryHost("localhost:5000"))
        let key = PullKey(host: host, repository: try #require(RepositoryName("a/b")), digest: digest)
        let name = try #require(layout.partialFile(key).split(separator: "/").last.map(String.init))
        #expect(Layout.isPartialName(name))
        #expect(!Layout.isPartialName(name + "0") && !Layout.isPartialName("x" + name))
    }

    @Test("every store error names its path, and lack of space is recognised") func errors() {
        let errors: [StoreError] = [
            .locked(path: "/p", holder: "pid 1"), .from(ENOSPC, call: "write", path: "/p"),
            .from(EDQUOT, call: "write", path: "/p"), .from(EIO, call: "fsync", path: "/p"),
            .unusable(path: "/p", reason: "r"),
        ]
        for error in errors { #expect(error.description.hasPrefix("/p: ")) }
        #expect(errors[1].isNoSpace && errors[2].isNoSpace && !errors[3].isNoSpace)
    }
}
