// When a changed configuration file is read again.

import Foundation
import TestSupport
import Testing

@testable import App

@Suite struct ChangeDetectorTests {
    private let directory: TemporaryDirectory
    private let path: String

    init() throws {
        directory = try TemporaryDirectory()
        path = try directory.write("port: 1\n", to: "c.yaml")
    }

    private func change(_ text: String) throws -> FileIdentity? {
        // A name of its own for each content, as the kubelet makes it.
        try directory.write(text, to: "next.yaml")
        #expect(rename(directory.file("next.yaml"), path) == 0)
        return FileIdentity(path)
    }

    @Test("a file that stays as it was is not read") func unchanged() {
        let found = FileIdentity(path)
        var detector = ChangeDetector(used: found)
        let looks = (0..<5).map { _ in detector.shouldRead(FileIdentity(path)) }
        #expect(!looks.contains(true))
    }

    @Test("a changed file is read once, when two looks have found the same") func changed() throws {
        var detector = ChangeDetector(used: FileIdentity(path))
        let found = try #require(try change("port: 2\n"))
        var looks = [detector.shouldRead(found), detector.shouldRead(found)]
        detector.hasRead(found, isInUse: true)
        looks.append(detector.shouldRead(found))
        #expect(looks == [false, true, false])
    }

    @Test("a file that changes at every look, is empty or is gone is not read") func unfinished() throws {
        var detector = ChangeDetector(used: FileIdentity(path))
        var looks = try (0..<5).map { detector.shouldRead(try change("port: 1\($0)\n")) }
        let empty = try change("")
        looks += (0..<3).map { _ in detector.shouldRead(empty) }
        looks += (0..<3).map { _ in detector.shouldRead(nil) }
        #expect(!looks.contains(true))
    }

    @Test("a refused file is tried again after some looks, and a new content at once") func refused() throws {
        var detector = ChangeDetector(used: nil)
        let found = try #require(FileIdentity(path))
        var looks = [detector.shouldRead(found), detector.shouldRead(found)]
        detector.hasRead(found, isInUse: false)
        looks += (0...ChangeDetector.looksBetweenAttempts).map { _ in detector.shouldRead(found) }
        let pause = [Bool](repeating: false, count: ChangeDetector.looksBetweenAttempts)
        #expect(looks == [false, true] + pause + [true])
        detector.hasRead(found, isInUse: false)
        let other = try #require(try change("port: 3\n"))
        looks = [detector.shouldRead(other), detector.shouldRead(other)]
        #expect(looks == [false, true])
    }
}
