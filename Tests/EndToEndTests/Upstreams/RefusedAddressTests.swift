// Clients and registries that try to make the server connect to this machine, to a metadata service and to a private
// network, on every way there is; and that nobody learns from the answers what is open there.

import Foundation
import TestSupport
import Testing

@testable import OCI
@testable import Registry

@Suite(.needs(.root, .iproute2)) struct RefusedAddressTests {
    private typealias Scene = RefusedAddressScene
    private typealias Observation = RefusedAddressScene.Observation

    private static let refused =
        #"{"errors":[{"code":"DENIED","message":"HOST leads to an address that is not allowed; "#
        + #"the server's log says which"}]}"# + "\n"
    private static let unreachable =
        #"{"errors":[{"code":"UNAVAILABLE","message":"HOST cannot be reached; the server's log says why"}]}"# + "\n"

    /// Where the attempts lead: this machine, its link, a private network and names of these; open ports and closed
    /// ones. `OPEN` is a listener's port.
    private static func targets(_ scene: Scene) -> [String] {
        let closed = LoopbackPort.free()
        let (local, inside) = (scene.traps[0].port, scene.traps[1].port)
        return [
            "169.254.169.254", "169.254.169.254:80", "127.0.0.1:\(local)", "127.0.0.1:\(closed)",
            "[::ffff:127.0.0.1]:\(local)", "localhost:\(local)", "localhost:\(closed)", "\(Scene.inside):\(inside)",
            "\(Scene.inside):\(closed)", "[::ffff:\(Scene.inside)]:\(inside)", "loop.test:\(local)",
            "loop.test:\(closed)", "inside.test:\(inside)", "inside.test:\(closed)", "100.100.100.200",
        ]
    }

    private static func address(_ name: String) -> [String]? {
        switch name {
        case "hostile.test": [Scene.outside]
        case "loop.test": ["127.0.0.1"]
        case "inside.test": [Scene.inside]
        case "mixed.test": ["127.0.0.1", Scene.inside, "169.254.169.254"]
        default: nil
        }
    }

    private static let digest = "sha256:" + String(repeating: "ab", count: 32)

    /// All attempts at one target.
    private static func attempts(_ target: String, _ scene: Scene) throws -> [Observation] {
        let hostile = "hostile.test:\(scene.hostile[0].port)"
        let location = "http://\(target)/secret"
        func leadsThere(_ answer: FakeAnswer) {
            for fake in scene.hostile { fake.answer = { _ in answer } }
        }
        var made = [
            try scene.ask("ns", host: target), try scene.ask("ns", host: target, method: "HEAD"),
            try scene.ask("ns", host: target, "/v2/REPOSITORY/blobs/\(digest)?ns=HOST"),
            try scene.ask("ns", host: target, "/v2/REPOSITORY/tags/list?ns=HOST"),
            try scene.ask("ns", host: target, "/v2/REPOSITORY/referrers/\(digest)?ns=HOST"),
            try scene.ask("X-Registry", host: target, "/v2/REPOSITORY/manifests/v1", headers: [("X-Registry", target)]),
            try scene.ask("path", host: target, "/v2/HOST/REPOSITORY/manifests/v1"),
        ]
        leadsThere(.redirect(to: location))
        made += [
            try scene.ask("redirect", host: hostile), try scene.ask("redirect", host: hostile, method: "HEAD"),
            try scene.ask("redirect", host: hostile, "/v2/REPOSITORY/blobs/\(digest)?ns=HOST"),
            try scene.ask("redirect", host: hostile, "/v2/REPOSITORY/tags/list?ns=HOST"),
            try scene.ask("redirect", host: hostile, "/v2/REPOSITORY/referrers/\(digest)?ns=HOST"),
            try scene.ask("redirect of each endpoint", host: "pair.test"),
            try scene.ask("redirect of each endpoint", host: "pair.test", "/v2/REPOSITORY/blobs/\(digest)?ns=HOST"),
        ]
        leadsThere(.challenge(realm: location))
        made += [
            try scene.ask("realm", host: hostile),
            try scene.ask("realm", host: hostile, "/v2/REPOSITORY/blobs/\(digest)?ns=HOST"),
            try scene.ask("realm of each endpoint", host: "pair.test"),
        ]
        for fake in scene.hostile {
            fake.answer = { request in
                request.path == "/token" ? .redirect(to: location) : .challenge(realm: "http://\(hostile)/token")
            }
        }
        made.append(try scene.ask("redirect of the token service", host: hostile))
        return made
    }

    @Test("no request, redirect or realm reaches a refused address, and open and closed ports get the same response")
    func everyWay() throws {
        let (observations, connections) = try PrivateNetwork.run(addresses: [Scene.outside, Scene.inside]) {
            let scene = try Scene("privateUpstreams: deny\n")
            scene.names.answer = { Self.address($0) }
            let made = try Self.targets(scene).flatMap { try Self.attempts($0, scene) }
            let connections = scene.traps.map(\.connectionCount)
            try scene.close()
            return (made, connections)
        }
        #expect(observations.count == 15 * 18)
        for made in observations {
            let isHead = made.attempt.contains(": HEAD ")
            #expect(made.status == 403, "\(made)")
            #expect(made.body == (isHead ? "" : Self.refused), "\(made)")
            #expect(made.reasons.count == 1, "\(made)")
            #expect(made.reasons.first?.contains("only hosts that the configuration names") == true, "\(made)")
        }
        #expect(connections == [0, 0], "the listeners saw no connection")
    }

    @Test("a name whose address changes between two connections does not lead to a refused address")
    func changingNames() throws {
        let (observations, connections, names) = try PrivateNetwork.run(addresses: [Scene.outside, Scene.inside]) {
            let scene = try Scene("privateUpstreams: deny\n")
            var asked: [String: Int] = [:]
            // The first question of each name gets the public address, each further one that in the name.
            scene.names.answer = { name in
                asked[name, default: 0] += 1
                if asked[name] == 1 { return [Scene.outside] }
                return [
                    name.hasPrefix("loop") ? "127.0.0.1" : name.hasPrefix("link") ? "169.254.169.254" : Scene.inside
                ]
            }
            let closed = LoopbackPort.free()
            var made: [Observation] = []
            for (name, port) in [
                ("loop1", scene.traps[0].port), ("loop2", closed), ("inside1", scene.traps[1].port),
                ("inside2", closed),
                ("link1", 80),
            ] {
                let host = "\(name).test:\(scene.hostile[0].port)"
                // Another port is looked up anew.
                scene.hostile[0].answer = { _ in .redirect(to: "http://\(name).test:\(port)/secret") }
                made.append(try scene.ask("redirect to the same name", host: host))
                made.append(try scene.ask("the same name", host: "\(name).test:\(port)"))
            }
            let connections = scene.traps.map(\.connectionCount)
            let names = scene.names.names
            try scene.close()
            return (made, connections, names)
        }
        for made in observations {
            #expect(made.status == 403 && made.body == Self.refused && made.reasons.count == 1, "\(made)")
        }
        #expect(connections == [0, 0], "the listeners saw no connection")
        #expect(names.filter { $0 == "loop1.test" }.count >= 2, "the name is asked for again")
    }

    @Test("every failed connection to an upstream gets the same response, and the log has the reason")
    func oneMessage() throws {
        let (observations, connections) = try PrivateNetwork.run(addresses: [Scene.outside, Scene.inside]) {
            let scene = try Scene("firstByteTimeout: 300ms\ntlsTimeout: 300ms\n")
            scene.names.answer = { Self.address($0) }
            let hostile = "hostile.test:\(scene.hostile[0].port)"
            let (open, closed) = ("\(Scene.inside):\(scene.traps[1].port)", "\(Scene.inside):\(LoopbackPort.free())")
            var made: [Observation] = []
            func askAll(_ attempt: String, host: String) throws {
                made += [
                    try scene.ask(attempt, host: host), try scene.ask(attempt, host: host, method: "HEAD"),
                    try scene.ask(attempt, host: host, "/v2/REPOSITORY/blobs/\(Self.digest)?ns=HOST"),
                    try scene.ask(attempt, host: host, "/v2/REPOSITORY/tags/list?ns=HOST"),
                    try scene.ask(attempt, host: host, "/v2/REPOSITORY/referrers/\(Self.digest)?ns=HOST"),
                ]
            }
            try askAll("closed port", host: closed)
            try askAll("no such name", host: "nowhere.test")
            // One of its addresses may be used.
            made.append(try scene.ask("closed port, mixed addresses", host: "mixed.test:\(LoopbackPort.free())"))
            for (attempt, answer) in [
                ("connection closed", FakeAnswer.hangUp), ("connection reset", .reset),
                ("not HTTP", .raw("SSH-2.0-OpenSSH_9.2\r\n").closing()), ("no answer", .silent),
            ] {
                scene.traps[1].answer = { _ in answer }
                try askAll(attempt, host: open)
                made.append(
                    try scene.ask("\(attempt), mixed addresses", host: "mixed.test:\(scene.traps[1].port)"))
                scene.hostile[0].answer = { _ in .redirect(to: "http://\(open)/x") }
                made.append(try scene.ask("redirect, \(attempt)", host: hostile))
                scene.hostile[0].answer = { _ in .challenge(realm: "http://\(open)/token") }
                made.append(try scene.ask("realm, \(attempt)", host: hostile))
            }
            made.append(try scene.ask("no TLS", host: "tls.test"))
            scene.hostile[0].answer = { _ in .redirect(to: "http://\(closed)/x") }
            made.append(try scene.ask("redirect, closed port", host: hostile))
            scene.hostile[0].answer = { _ in .challenge(realm: "http://\(closed)/token") }
            made.append(try scene.ask("realm, closed port", host: hostile))
            let connections = scene.traps[0].connectionCount
            try scene.close()
            return (made, connections)
        }
        #expect(connections == 0, "the refused address of a name is not used")
        for made in observations {
            let isHead = made.attempt.contains(": HEAD ")
            #expect(made.status == 503, "\(made)")
            #expect(made.body == (isHead ? "" : Self.unreachable), "\(made)")
            #expect(made.reasons.count == 1, "\(made)")
        }
        func reason(_ attempt: String) -> String {
            observations.first { $0.attempt.hasPrefix("\(attempt):") }?.reasons.first ?? ""
        }
        #expect(reason("closed port").contains("Failed to connect"))
        #expect(reason("no such name").contains("Could not resolve"))
        #expect(reason("no answer").contains("no answer within 300 ms"))
        #expect(reason("no TLS").contains("TLS"))
        #expect(reason("realm, closed port").contains("its token service \(Scene.inside)"))
    }

    @Test("load tells the operator why an upstream cannot be reached") func loadReport() throws {
        let (output, closed) = try PrivateNetwork.run(addresses: [Scene.outside, Scene.inside]) {
            let files = try TemporaryDirectory()
            let scene = try Scene("", imagePath: files.file("images"))
            let closed = LoopbackPort.free()
            let list = try files.write("\(Scene.inside):\(closed)/team/app:v1\n", to: "list.txt")
            let load = try Command.run([
                Checkout.server, "load", "--image-path", files.file("images"), "--image-file", list,
            ])
            try scene.close()
            return ("\(load.status) \(load.text)\(load.errors)", closed)
        }
        #expect(!output.hasPrefix("0 "))
        #expect(output.contains("Failed to connect to \(Scene.inside) port \(closed)"), "\(output)")
    }

    @Test("after SIGHUP a private upstream is denied or allowed, also over a connection that is open")
    func reload() throws {
        let statuses = try PrivateNetwork.run(addresses: [Scene.outside, Scene.inside]) {
            let scene = try Scene("")
            scene.names.answer = { Self.address($0) }
            let image = FakeImage()
            scene.traps[1].answer = { _ in image.answer }
            let host = "inside.test:\(scene.traps[1].port)"
            let file = scene.server.configurationFile
            let original = try String(contentsOfFile: file, encoding: .utf8)
            var statuses = [try scene.ask("allowed", host: host).status]
            for word in ["deny", "allow"] {
                try "\(original)privateUpstreams: \(word)\n".write(toFile: file, atomically: true, encoding: .utf8)
                kill(scene.server.process.processID, SIGHUP)
                scene.run.wait(until: {
                    let lines = scene.server.process.errors.lines
                    return lines.filter { $0.contains("the configuration was reloaded") }.count == statuses.count
                })
                statuses.append(try scene.ask(word, host: host).status)
            }
            try scene.close()
            return statuses
        }
        #expect(statuses == [200, 403, 200])
    }
}
