// `CHECKS`: what is read of it, and when it is written.

import Foundation
import TestSupport
import Testing

@testable import OCI
@testable import Registry

@Suite struct CheckFileTests {
    private static let now: Int64 = 1_800_000_000

    private func name(_ number: Int) throws -> TagName {
        TagName(host: .dockerHub, repository: try #require(RepositoryName("a/b")), tag: "v\(number)")
    }

    private func text(_ layout: Layout) throws -> String { try String(contentsOfFile: layout.checks, encoding: .utf8) }

    private func load(_ layout: Layout) throws -> [String: Int64] {
        var found: [String: Int64] = [:]
        try CheckFile.load(layout, now: Self.now).table.forEach { found[String(decoding: $0, as: UTF8.self)] = $1 }
        return found
    }

    private func set(_ fixture: StoreFixture, _ number: Int) throws {
        let error: StoreError? = try fixture.wait {
            fixture.store.setTag(
                host: .dockerHub, repository: RepositoryName("a/b").unsafelyUnwrapped, tag: "v\(number)",
                digest: digestOf([1]), then: $0)
        }
        #expect(error == nil)
    }

    @Test("appended checks are read back, and the last one of a tag counts") func roundTrip() throws {
        let fixture = try StoreFixture()
        let layout = fixture.store.layout
        let state = try CheckFile.append([try name(1): 5, try name(2): 6], isTorn: false, to: 0, layout)
        #expect(state.lines == 2)
        let next = try CheckFile.append([try name(1): 7], isTorn: false, to: state.lines, layout)
        #expect(next.lines == 3 && next.bytes > state.bytes)
        #expect(try load(layout) == ["docker.io/a/b:v1": 7, "docker.io/a/b:v2": 6])
        #expect(try text(layout).hasSuffix("docker.io/a/b:v1 7\n"), "it can be read with grep")
    }

    @Test("lines that are damaged, cut or of the future do no harm") func odd() throws {
        let fixture = try StoreFixture()
        let layout = fixture.store.layout
        for tag in ["v1", "v2", "v3"] { try set(fixture, try #require(Int(tag.dropFirst()))) }
        let long = String(repeating: "z", count: 3 * LineFile.stepBytes)
        let lines = [
            "docker.io/a/b:v1 100", "docker.io/a/b:v1", "docker.io/a/b 5", "docker.io/../b:v1 5", "a b c", "", long,
            "docker.io/a/b:.. 5", "DOCKER.io/a/b:v1 5", "docker.io/a/b:v1 -5", "docker.io/a/b:v1 99999999999999999999",
            "docker.io/a/b:v2 \(Self.now + 50)", "docker.io/a/b:v1 \(Self.now + 61)", "docker.io/a/b:v9 5",
            "docker.io/a/b:v3 17000",
        ]
        // The last line was cut by a crash.
        try Data((lines.joined(separator: "\n") + "\ndocker.io/a/b:v1 12").utf8).write(
            to: URL(fileURLWithPath: layout.checks))
        #expect(
            try load(layout) == [
                "docker.io/a/b:v1": 12, "docker.io/a/b:v2": Self.now, "docker.io/a/b:v3": 17000, "docker.io/a/b:v9": 5,
            ])
        // It was rewritten, since the cut line would swallow what is appended; v9 is no tag of the cache.
        #expect(try text(layout).split(separator: "\n").count == 3 && text(layout).last == "\n")
        #expect(try load(layout)["docker.io/a/b:v9"] == nil)
    }

    @Test("checks are written once a minute and at the end, not at each check") func writes() throws {
        let fixture = try StoreFixture()
        let store = fixture.store
        try set(fixture, 1)
        for _ in 0..<1000 {
            store.confirmTag(
                host: .dockerHub, repository: try #require(RepositoryName("a/b")), tag: "v1", digest: digestOf([1]),
                checked: store.tagClock)
        }
        #expect(!fixture.exists(store.layout.checks) && store.tagChecks.unwritten.count == 1)
        // As the timer does.
        store.saveChecks()
        try fixture.wait(until: { !store.tagChecks.isBusy })
        #expect(try text(store.layout).split(separator: "\n").count == 1 && store.tagChecks.unwritten.isEmpty)
        try set(fixture, 2)
        try fixture.reopen()
        #expect(try text(fixture.store.layout).split(separator: "\n").count == 2)
    }

    @Test("the file is rewritten when most of its lines are obsolete") func rewritten() throws {
        let fixture = try StoreFixture()
        let store = fixture.store
        try set(fixture, 1)
        var most = 0
        for _ in 0..<1100 {
            store.noteCheck(try name(1), at: store.tagClock)
            store.saveChecks()
            try fixture.wait(until: { !store.tagChecks.isBusy })
            most = max(most, store.tagChecks.file.lines)
        }
        #expect(most <= LineFile.State.spareLines + 4)
        #expect(try text(store.layout).split(separator: "\n").count == store.tagChecks.file.lines)
    }

    /// The file is a directory: nothing can be appended.
    @Test("checks that could not be written are written later") func failing() throws {
        let fixture = try StoreFixture()
        let store = fixture.store
        try FileManager.default.createDirectory(atPath: store.layout.checks, withIntermediateDirectories: true)
        try set(fixture, 1)
        store.saveChecks()
        try fixture.wait(until: { !store.tagChecks.isBusy })
        #expect(store.tagChecks.unwritten.count == 1 && fixture.log.text.contains("checks of tags cannot be written"))
        try FileManager.default.removeItem(atPath: store.layout.checks)
        store.saveChecks()
        try fixture.wait(until: { !store.tagChecks.isBusy })
        #expect(try load(store.layout).keys.contains("docker.io/a/b:v1"))
    }
}
