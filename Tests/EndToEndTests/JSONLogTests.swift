// The executable's log as JSON: every line that it writes, from the first to the last, is an object.

import Foundation
import TestSupport
import Testing

@Suite struct JSONLogTests {
    @Test("with logFormat json every line of a server's log is a JSON object", .needs(.curl)) func lines() throws {
        let server = try OciRegistryProcess(arguments: ["--log-format", "json", "--air-gapped", "--hello-world"])
        let curl = try ChildProcess([
            "curl", "-sS", "-D", "-", "-H", "X-Request-Id: from-outside", "http://\(server.address)/v2/a%22%1b/x",
            "http://\(server.address)/v2/docker.io/library/hello-world/manifests/latest",
        ])
        #expect(try curl.wait() == 0)
        #expect(curl.output.text.contains("X-Request-Id: from-outside\r\n"))
        _ = try server.process.line(containing: "hello-world/manifests/latest\",", in: server.process.errors)
        #expect(try server.stop() == 0)
        var objects: [[String: Any]] = []
        for line in server.process.errors.lines {
            let object = try? JSONSerialization.jsonObject(with: Data(line.utf8))
            objects.append(try #require(object as? [String: Any], "\(line)"))
        }
        #expect(objects.allSatisfy { $0["time"] is String && $0["level"] is String && $0["msg"] is String })
        let messages = objects.compactMap { $0["msg"] as? String }
        #expect(messages.first?.contains("listening on http://") == true)
        #expect(messages.contains("stopping") && messages.contains("stopped"))
        let requests = objects.filter { $0["cache"] != nil }
        #expect(requests.map { $0["status"] as? Int } == [400, 200])
        #expect(requests.map { $0["cache"] as? String } == ["error", "hit"])
        #expect(requests.allSatisfy { $0["id"] as? String == "from-outside" && $0["bytes"] is Int && $0["ms"] is Int })
    }
}
