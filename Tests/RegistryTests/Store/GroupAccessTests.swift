// A store for a group of users: what is made in it takes the directory's group and its write bit. Other users are in
// EndToEnd/SharedVolumeTests.

import Foundation
import Glibc
import TestSupport
import Testing

@testable import OCI
@testable import Registry

@Suite struct GroupAccessTests {
    static let isRoot = geteuid() == 0
    /// A group that nothing else is of.
    private static let strangers: gid_t = 1_000_740_001

    private func volume(_ mode: mode_t, group: gid_t = getegid()) throws -> TemporaryDirectory {
        let directory = try TemporaryDirectory()
        if group != getegid() { #expect(chown(directory.path, geteuid(), group) == 0) }
        #expect(chmod(directory.path, mode) == 0)
        return directory
    }

    private func status(_ path: String) throws -> FileStatus { try Disk.status(at: path) }

    /// Everything under a store, by path.
    private func tree(_ root: String) throws -> [String: FileStatus] {
        let names = FileManager.default.enumerator(atPath: root)?.compactMap { $0 as? String } ?? []
        return try Dictionary(uniqueKeysWithValues: ([""] + names).map { ($0, try status("\(root)/\($0)")) })
    }

    /// A blob, a manifest with a tag, a partial file and last uses.
    private func fill(_ fixture: StoreFixture) throws {
        try fixture.put(pattern(5000))
        let ingest = try fixture.begin(try fixture.key(digestOf([9])))
        try fixture.append([1, 2, 3], to: ingest)
        ingest.suspend()
        let body = Array("{}".utf8)
        fixture.store.putManifest(body, digest: digestOf(body), mediaType: .ociIndex)
        fixture.store.setTag(
            host: .dockerHub, repository: try #require(RepositoryName("a/b")), tag: "v1", digest: digestOf(body))
        fixture.store.flushAccessTimes()
        try fixture.wait(until: { fixture.offload.inFlight == 0 && fixture.store.writing.isEmpty })
    }

    private func expectShared(_ root: String, group: gid_t, _ location: SourceLocation = #_sourceLocation) throws {
        for (name, status) in try tree(root) {
            let bits: mode_t = status.isDirectory ? 0o2070 : 0o060
            #expect(status.mode & bits == bits, "\(name)", sourceLocation: location)
            #expect(status.group == group, "\(name)", sourceLocation: location)
        }
    }

    @Test(
        "in a directory that only its owner may write, file modes are unchanged",
        arguments: [0o700, 0o755, 0o2755] as [mode_t])
    func owners(mode: mode_t) throws {
        let volume = try volume(mode)
        #expect(GroupAccess(of: volume.path) == .none)
        let fixture = try StoreFixture(imagePath: volume.path)
        try fill(fixture)
        let modes = Set(try tree(fixture.store.layout.root).values.map { $0.mode & 0o777 })
        #expect(modes.isSubset(of: [0o644, 0o755]), "\(modes)")
    }

    @Test(
        "in a group-writable directory, files belong to the group and are group-writable",
        arguments: [0o770, 0o2775] as [mode_t])
    func groups(mode: mode_t) throws {
        let volume = try volume(mode)
        let fixture = try StoreFixture(imagePath: volume.path)
        try fill(fixture)
        try expectShared(fixture.store.layout.root, group: getegid())
        #expect(try tree(fixture.store.layout.root).count > 20)
    }

    @Test("a directory to be created follows its parent's group access, unless that is world-writable")
    func missing() throws {
        let (shared, open) = (try volume(0o775), try volume(0o1777))
        #expect(GroupAccess(of: shared.file("one/two")).group == getegid())
        #expect(GroupAccess(of: open.file("one")) == .none)
        #expect(GroupAccess(of: open.path).group == getegid(), "the cache's own directory is as it was made")
        let fixture = try StoreFixture(imagePath: shared.file("one/two"))
        #expect(try status(shared.file("one")).mode & 0o070 == 0o070)
        try expectShared(fixture.store.layout.root, group: getegid())
    }

    @Test(
        "files get the directory's group, not the process's",
        .enabled(if: isRoot, "giving files to another group takes root"))
    func otherGroup() throws {
        let volume = try volume(0o775, group: Self.strangers)
        let fixture = try StoreFixture(imagePath: volume.path)
        try fill(fixture)
        try expectShared(fixture.store.layout.root, group: Self.strangers)
    }

    @Test("files that an earlier release made for the owner only are given to the group") func upgrade() throws {
        let volume = try volume(0o755)
        let fixture = try StoreFixture(imagePath: volume.path)
        try fill(fixture)
        #expect(chmod(volume.path, 0o775) == 0)
        let outside = try volume.write("mine", to: "outside")
        #expect(chmod(outside, 0o600) == 0)
        let partial = try #require(try fixture.names(fixture.store.layout.partial).first)
        let second = "\(fixture.store.layout.partial)/\(partial)x"
        #expect(link(outside, second) == 0)
        try fixture.reopen()
        try fixture.wait(until: { fixture.offload.inFlight == 0 })
        fixture.store.rewriteAccessTimes()
        try fixture.wait(until: { fixture.offload.inFlight == 0 })
        #expect(try status(outside).mode == 0o600, "a file that has another name elsewhere is left alone")
        unlink("\(fixture.store.layout.quarantine)/\(try #require(try fixture.quarantined().first))")
        try expectShared(fixture.store.layout.root, group: getegid())
    }
}
