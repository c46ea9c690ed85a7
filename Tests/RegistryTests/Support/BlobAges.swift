// The ages of blobs that no manifest names, for tests.

import Glibc
import TestSupport
import Testing

@testable import OCI
@testable import Registry

extension Store {
    /// As if a blob had been stored so long ago, and not been served since.
    func age(_ digest: Digest, secondsAgo: Int64, _ location: SourceLocation = #_sourceLocation) {
        let time = timeval(tv_sec: Int(EventLoop.unixSeconds - secondsAgo), tv_usec: 0)
        #expect(utimes(layout.blob(digest), [time, time]) == 0, sourceLocation: location)
        accessTimes.forget(digest)
        evictionBackOff.mayLeave(inMilliseconds: 0, now: loop.nowMilliseconds)
    }

    /// How long ago the blob was used, as far as its own use was recorded.
    func recordedAge(of digest: Digest) -> Int64? { accessTimes.seconds[digest].map { EventLoop.unixSeconds - $0 } }
}
