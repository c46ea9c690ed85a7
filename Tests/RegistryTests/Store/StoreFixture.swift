// A real store in a directory of its own, on a loop of its own, and ways to wait for it without sleeping.

import Foundation
import Logging
import TestSupport
import Testing

@testable import OCI
@testable import Registry

final class StoreFixture {
    struct TimedOut: Error {}
    struct Unexpected: Error, CustomStringConvertible { let description: String }

    /// Nothing here takes a hundredth of this: only what hangs runs into it.
    static let patienceMilliseconds: UInt64 = 60_000

    let directory: TemporaryDirectory
    let imagePath: String
    let loop: EventLoop
    let offload: Offload
    let log = LogRecorder()
    private(set) var store: Store
    private var watchdog: Registry.Timer?
    private var hasTimedOut = false

    /// Opens a store. `isRecovered` says whether recovery has run.
    init(
        limits: StoreLimits = StoreLimits(), isRecovered: Bool = true, imagePath: String? = nil,
        prepare: (TemporaryDirectory) throws -> Void = { _ in }
    ) throws {
        directory = try TemporaryDirectory()
        self.imagePath = imagePath ?? directory.path
        try prepare(directory)
        loop = try EventLoop()
        offload = Offload(on: loop)
        store = try Store.open(
            imagePath: self.imagePath, loop: loop, offload: offload, logger: log.logger, limits: limits)
        watchdog = Registry.Timer(on: loop) { [unowned self] in
            hasTimedOut = true
            loop.stop()
        }
        if isRecovered { _ = try recover() }
    }

    deinit {
        _ = try? wait { (done: @escaping (Bool) -> Void) in store.close { done(true) } }
        watchdog?.close()
        #expect(loop.close(), "a handle was left open")
    }

    /// Runs the loop until what `start` was given has been called.
    func wait<T>(_ start: (@escaping (T) -> Void) -> Void) throws -> T {
        var answer: T?
        watchdog?.start(afterMilliseconds: StoreFixture.patienceMilliseconds)
        start { value in
            answer = value
            self.loop.stop()
        }
        while answer == nil, !hasTimedOut { loop.run() }
        watchdog?.stop()
        guard let answer else { throw TimedOut() }
        return answer
    }

    /// Runs the loop until `condition` holds.
    func wait(until condition: () -> Bool) throws {
        while !condition() {
            let _: Bool = try wait { done in loop.deferred.enqueue { done(true) } }
        }
    }

    /// Recovers the store, and lets the pool finish what comes with its opening, so that a test counts its own jobs.
    @discardableResult
    func recover() throws -> RecoveryReport {
        let report = try wait { store.startRecovery(then: $0) }
        try wait(until: { offload.inFlight == 0 })
        return report
    }

    /// Closes the store and opens it again, as a restart does.
    func reopen(limits: StoreLimits = StoreLimits(), isRecovered: Bool = true) throws {
        let _: Bool = try wait { done in store.close { done(true) } }
        store = try Store.open(
            imagePath: imagePath, loop: loop, offload: offload, logger: log.logger, limits: limits)
        if isRecovered { try recover() }
    }

    func key(_ digest: Digest, _ repository: String = "library/x", host: String = "registry.example") throws
        -> PullKey
    {
        PullKey(
            host: try #require(RegistryHost(host)), repository: try #require(RepositoryName(repository)), digest: digest
        )
    }

    func begin(_ key: PullKey) throws -> Ingest { try wait { store.beginIngest(key, then: $0) }.get() }

    /// Appends all the bytes, pausing when told to.
    func append(_ bytes: [UInt8], to ingest: Ingest, chunkBytes: Int = 100_000) throws {
        var start = 0
        while start < bytes.count {
            let end = min(bytes.count, start + chunkBytes)
            let mayContinue = bytes[start..<end].withUnsafeBytes { ingest.append($0) }
            start = end
            if !mayContinue { let _: Bool = try wait { done in ingest.onDrained = { done(true) } } }
        }
    }

    /// Ingests a blob from start to end.
    @discardableResult
    func put(_ bytes: [UInt8], _ algorithm: Digest.Algorithm = .sha256, repository: String = "library/x") throws
        -> Digest
    {
        let digest = digestOf(bytes, algorithm)
        let ingest = try begin(try key(digest, repository))
        try append(bytes, to: ingest)
        #expect(try wait { ingest.verify(then: $0) }.get())
        _ = try wait { ingest.commit(then: $0) }.get()
        return digest
    }

    func find(_ digest: Digest) throws -> OpenFile? { try wait { store.findBlob(digest, then: $0) } }
    func findManifest(_ digest: Digest) throws -> CachedManifest? { try wait { store.findManifest(digest, then: $0) } }

    /// The whole content of an open file.
    func content(_ file: OpenFile) throws -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: Int(file.sizeBytes))
        let count = try bytes.withUnsafeMutableBytes { try Disk.read(file.descriptor, into: $0, at: 0, "test") }
        return Array(bytes[..<count])
    }

    func exists(_ path: String) -> Bool { (try? Disk.status(at: path)) != nil }
    func names(_ path: String) throws -> [String] { try Disk.names(in: path).sorted() }
    func quarantined() throws -> [String] { try names(store.layout.quarantine) }
}

extension Store {
    /// As if so much time had passed that a manifest's last use keeps nothing.
    func endLease(of digest: Digest) {
        accessTimes.touch(digest, at: EventLoop.unixSeconds - 2 * Store.leaseSeconds)
        evictionBackOff.mayLeave(inMilliseconds: 0, now: loop.nowMilliseconds)
    }

    /// A manifest that is ready in memory.
    func cachedManifest(_ digest: Digest) -> CachedManifest? { manifestCache.value(for: digest) }
}
