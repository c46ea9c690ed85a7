// The times of the unit file against those of the server.

import TestSupport
import Testing

@testable import App

@Suite struct UnitTimesTests {
    private func seconds(_ key: String) throws -> UInt64 {
        let lines = try SourceTree.text("packaging/systemd/ociregistry.service").split(separator: "\n")
        let line = try #require(lines.first { $0.hasPrefix("\(key)=") })
        return try #require(UInt64(line.dropFirst(key.count + 1)))
    }

    @Test("systemd waits longer for the end of the service than the server takes at most") func stop() throws {
        #expect(try seconds("TimeoutStopSec") * 1000 > Running.drainMilliseconds + Running.closeMilliseconds)
    }
}
