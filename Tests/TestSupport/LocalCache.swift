// A cache directory opened in the test's own process, to fill it or to hold its lock.

internal import Logging
package import OCI
package import Registry
internal import Testing

package final class LocalCache {
    package let store: Store
    private let run: LoopRun

    package init(imagePath: String) throws {
        let run = try LoopRun()
        self.run = run
        let offload = Offload(on: run.loop)
        store = try Store.open(
            imagePath: imagePath, loop: run.loop, offload: offload,
            logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() })
        wait { done in store.startRecovery { _ in done(()) } }
    }

    deinit {
        wait { done in store.close { done(()) } }
        run.close()
    }

    /// Runs the loop until the callback passed to `start` has been called.
    @discardableResult
    package func wait<T>(_ start: (@escaping (T) -> Void) -> Void) -> T {
        var answer: T?
        start { [run] value in
            answer = value
            run.finish()
        }
        run.run()
        guard let answer else { preconditionFailure("the cache did not answer") }
        return answer
    }

    /// Stores a blob as if it had been pulled from this repository.
    package func put(blob bytes: [UInt8], host: RegistryHost, repository: RepositoryName) throws {
        let key = PullKey(host: host, repository: repository, digest: digestOf(bytes))
        let ingest = try wait { store.beginIngest(key, then: $0) }.get()
        var start = 0
        while start < bytes.count {
            let end = min(bytes.count, start + 100_000)
            let mayContinue = bytes[start..<end].withUnsafeBytes { ingest.append($0) }
            start = end
            if !mayContinue { wait { done in ingest.onDrained = { done(()) } } }
        }
        #expect(try wait { ingest.verify(then: $0) }.get())
        _ = try wait { ingest.commit(then: $0) }.get()
    }

    package func put(manifest bytes: [UInt8], type: MediaType) throws {
        _ = try wait { store.putManifest(bytes, digest: digestOf(bytes), mediaType: type, then: $0) }.get()
    }

    package func put(tag: String, of manifest: [UInt8], host: RegistryHost, repository: RepositoryName) {
        let error: StoreError? = wait { done in
            store.setTag(host: host, repository: repository, tag: tag, digest: digestOf(manifest)) { done($0) }
        }
        #expect(error == nil)
    }
}
