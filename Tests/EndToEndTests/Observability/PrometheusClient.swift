// Prometheus's HTTP API, asked over the test's own loop.

import Foundation
import TestSupport
import Testing

@testable import Registry

/// One Prometheus on loopback.
final class PrometheusClient {
    /// A series of an answer: its labels and its values, oldest first.
    struct Series {
        let labels: [String: String]
        let values: [Double]
    }

    struct Failure: Error, CustomStringConvertible { let description: String }

    /// Between two points of a range: shorter than tests scrape.
    static let stepSeconds = 0.25

    let run: LoopRun
    private let port: UInt16

    init(port: UInt16, run: LoopRun? = nil) throws {
        self.port = port
        self.run = try run ?? LoopRun()
    }

    /// Not when the loop is somebody else's.
    func close() { run.close() }

    /// `data` of an answer.
    func data(_ target: String) throws -> [String: Any] {
        let client = TestClient(on: run.loop, port: port, manner: .init(), number: 0)
        client.onDone = { [run] in run.finish() }
        client.send(.get(target))
        run.run()
        client.leave()
        let response = client.response
        let json = try? JSONSerialization.jsonObject(with: Data(response.body)) as? [String: Any]
        guard let data = json?["data"] as? [String: Any] else {
            throw Failure(description: "\(target): \(response.status) \(response.text)")
        }
        return data
    }

    /// A query all along some time.
    func range(_ query: String, from start: Double, to end: Double) throws -> [Series] {
        try series(
            "/api/v1/query_range?query=\(Self.escaped(query))&start=\(start)&end=\(end)&step=\(Self.stepSeconds)",
            key: "values")
    }

    /// A query at one moment.
    /// - Parameter time: seconds since 1970; now when none is named.
    func now(_ query: String, at time: Double? = nil) throws -> [Series] {
        try series("/api/v1/query?query=\(Self.escaped(query))\(time.map { "&time=\($0)" } ?? "")", key: "value")
    }

    private func series(_ target: String, key: String) throws -> [Series] {
        let result = try data(target)["result"] as? [[String: Any]] ?? []
        return result.map { item in
            let pairs = key == "value" ? [item[key] as? [Any] ?? []] : item[key] as? [[Any]] ?? []
            let values = pairs.compactMap { ($0.last as? String).flatMap(Self.number) }
            return Series(labels: item["metric"] as? [String: String] ?? [:], values: values)
        }
    }

    private static func number(_ text: String) -> Double? {
        switch text {
        case "+Inf": .infinity
        case "-Inf": -.infinity
        case "NaN": .nan
        default: Double(text)
        }
    }

    private static func escaped(_ query: String) -> String {
        query.addingPercentEncoding(withAllowedCharacters: .alphanumerics) ?? query
    }
}
