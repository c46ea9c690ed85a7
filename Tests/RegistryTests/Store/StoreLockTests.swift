// The lock of a store, and programs that are started while it is held.

import Foundation
import Glibc
import TestSupport
import Testing

@testable import Registry

@Suite struct StoreLockTests {
    @Test("a closed store can be opened again while a program that is being started still has its descriptors")
    func inheritedDescriptor() throws {
        let fixture = try StoreFixture()
        let path = fixture.store.layout.lock
        let held = try FileManager.default.contentsOfDirectory(atPath: "/proc/self/fd").compactMap { Int32($0) }
            .first { (try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/fd/\($0)")) == path }
        let copy = dup(try #require(held))
        #expect(copy >= 0)
        defer { close(copy) }
        try fixture.reopen()
        #expect(try fixture.put([1, 2, 3]) == digestOf([1, 2, 3]))
    }
}
