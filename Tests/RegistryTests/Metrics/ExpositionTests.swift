// The text that Prometheus reads, and the parts it is put together from.

import TestSupport
import Testing

@testable import OCI
@testable import Registry

@Suite struct ExpositionTests {
    @Test(
        "nanoseconds are written as exact decimal seconds",
        arguments: [
            (0, "0"), (1, "0.000000001"), (50_000, "0.00005"), (1_000_000_000, "1"), (1_500_000_000, "1.5"),
            (600_000_000_000, "600"), (18_446_744_073_709_551_615, "18446744073.709551615"),
        ] as [(UInt64, String)])
    func seconds(_ nanoseconds: UInt64, _ text: String) {
        #expect(Exposition.seconds(nanoseconds: nanoseconds) == text)
    }

    private func written(_ labels: [String] = [], _ write: @escaping Catalog.Write) -> String {
        let family = MetricFamily(name: "m", kind: .gauge, labels: labels, help: "a\\b\nc \"d\"", write: write)
        var text = Exposition()
        text.begin(family)
        family.write(Metrics(), Readings(), &text)
        return String(decoding: text.bytes, as: UTF8.self)
    }

    @Test("a family is written as HELP, TYPE and escaped samples") func family() {
        let text = written {
            $2.sample(UInt64.max)
            $2.sample(Int64.min)
            $2.sample(Double.infinity)
            $2.sample(true)
            $2.sample(7, Labels([("a", "x\\y\"z\nw"), ("b", "ü")]))
        }
        #expect(
            text == """
                # HELP m a\\\\b\\nc "d"
                # TYPE m gauge
                m 18446744073709551615
                m -9223372036854775808
                m +Inf
                m 1
                m{a="x\\\\y\\"z\\nw",b="ü"} 7

                """)
    }

    @Test("histogram buckets are cumulative, with sum and count") func histograms() {
        var table = HistogramTable(Buckets(microseconds: [1, 10, 1000]), rows: 2)
        for nanoseconds in [0, 1000, 1001, 10_000, 1_000_001, .max / 2] as [UInt64] {
            table.observe(nanoseconds, row: 1)
        }
        table.addRow()
        table.observe(5, row: 2)
        let done = table
        let text = written { $2.sample(done, row: 1, Labels("k", "v")) }
        #expect(
            text.split(separator: "\n").dropFirst(2) == [
                "m_bucket{k=\"v\",le=\"0.000001\"} 2", "m_bucket{k=\"v\",le=\"0.00001\"} 4",
                "m_bucket{k=\"v\",le=\"0.001\"} 4", "m_bucket{k=\"v\",le=\"+Inf\"} 6",
                "m_sum{k=\"v\"} 9223372036.855787809", "m_count{k=\"v\"} 6",
            ])
        #expect(table.count(row: 0) == 0)
        #expect(table.count(row: 2) == 1 && table.sumNanoseconds(row: 2) == 5)
    }

    @Test("histogram bounds ascend from their first to their last value") func buckets() {
        let spans: [(Buckets, String, String)] = [
            (.requests, "0.00005", "600"), (.upstreams, "0.001", "600"), (.iterations, "0.00001", "10"),
            (.ages, "1", "7776000"),
        ]
        for (buckets, first, last) in spans {
            #expect(buckets.bounds == buckets.bounds.sorted())
            #expect(Set(buckets.labels).count == buckets.labels.count)
            #expect(buckets.labels.first == first && buckets.labels.last == last)
        }
    }
}

@Suite struct CatalogTests {
    private let text: String

    init() {
        var readings = Readings()
        readings.build = ["version", "swift", "libuv", "libcurl", "openssl"].map { ($0, "1") }
        text = String(decoding: Catalog.exposition(Metrics(), readings), as: UTF8.self)
    }

    /// Dashboards out there name these.
    @Test("the original server's ten metrics come first, with their types and labels") func originalFamilies() {
        let expected = [
            ("ociregistry_cached_pulls_by_ns_total", "counter", ["ns"]),
            ("ociregistry_upstream_pulls_by_ns", "counter", ["ns"]),
            ("ociregistry_manifest_pulls_total", "counter", []), ("ociregistry_blob_pulls_total", "counter", []),
            ("ociregistry_blob_bytes_on_disk_total", "gauge", []),
            ("ociregistry_manifest_bytes_on_disk_total", "gauge", []),
            ("ociregistry_cached_manifest_count", "gauge", []), ("ociregistry_cached_blob_count", "gauge", []),
            ("ociregistry_v2_api_endpoint_hits_total", "counter", []), ("ociregistry_api_errors_total", "counter", []),
        ]
        for (family, (name, kind, labels)) in zip(Catalog.families, expected) {
            #expect(family.name == name && family.kind.rawValue == kind && family.labels == labels)
        }
    }

    @Test("every metric family has a unique, prefixed name and a help text") func families() {
        #expect(Set(Catalog.families.map(\.name)).count == Catalog.families.count)
        for family in Catalog.families {
            #expect(family.help.hasSuffix("."), "\(family.name)")
            #expect(family.name.hasPrefix("ociregistry_") || family.name.hasPrefix("process_"), "\(family.name)")
            #expect(text.contains("# HELP \(family.name) ") && text.contains("# TYPE \(family.name) "))
        }
    }

    /// What registries state themselves: a 0 would say that no request is left.
    private static let stated: Set<String> = [
        "ociregistry_upstream_ratelimit_limit", "ociregistry_upstream_ratelimit_remaining",
    ]

    /// A series that only appears with its first event has no rate for that event.
    @Test("every series exists from the start with value zero") func initialSeries() {
        var samples: [Substring: Int] = [:]
        for line in text.split(separator: "\n") where !line.hasPrefix("#") {
            samples[line.prefix { $0 != "{" && $0 != " " }, default: 0] += 1
            let isZero = [" 0", " 0.0", " +Inf"].contains { line.hasSuffix($0) }
            #expect(isZero || line.hasPrefix("ociregistry_build_info"), "\(line)")
        }
        for family in Catalog.families where !Self.stated.contains(family.name) {
            let names = family.kind == .histogram ? ["_bucket", "_sum", "_count"] : [""]
            for suffix in names { #expect(samples[Substring(family.name + suffix), default: 0] > 0, "\(family.name)") }
        }
        #expect(samples["ociregistry_http_request_duration_seconds_count"] == 19)
        #expect(samples["ociregistry_http_responses_total"] == 24)
    }

    @Test("every sample has the declared labels") func labels() {
        for family in Catalog.families {
            let lines = text.split(separator: "\n").filter {
                let name = $0.prefix { $0 != "{" && $0 != " " }
                return [family.name, family.name + "_bucket"].contains(String(name))
            }
            for line in lines {
                var names = line.matches(of: /([a-z]+)="/).map { String($0.output.1) }
                if family.kind == .histogram { #expect(names.popLast() == "le") }
                #expect(names == family.labels, "\(line)")
            }
        }
    }
}

@Suite struct NamespacesTests {
    private func host(_ text: String) -> RegistryHost { RegistryHost(text)! }  // literals of these tests are hosts

    @Test("configured hosts have a label at the start, and others after their first success") func namespaces() {
        let metrics = Metrics(configured: [host("a.test"), host("b.test:5000"), host("a.test")])
        #expect(metrics.namespaces.labels == ["other", "a.test", "b.test:5000"])
        let failed = metrics.upstreamPullBegan(host("new.test"))
        metrics.upstreamPullEnded(failed)
        #expect(metrics.byNamespace[Namespaces.other].upstreamPulls == 1)
        let succeeding = metrics.upstreamPullBegan(host("new.test"))
        #expect(metrics.admit(host("new.test")) == 3)
        metrics.upstreamPullEnded(succeeding)
        #expect(metrics.byNamespace.map(\.upstreamPulls) == [1, 0, 0, 1])
        let known = metrics.upstreamPullBegan(host("a.test"))
        #expect(metrics.byNamespace[1].upstreamPulls == 1)
        metrics.upstreamPullEnded(known)
        #expect(metrics.byNamespace[1].upstreamPulls == 1)
    }

    @Test("the number of host labels is bounded") func boundedLabels() {
        let metrics = Metrics(configured: [host("a.test")])
        for number in 0..<1000 {
            metrics.admit(host("h\(number).test"))
            metrics.tokenAnswered(host("t\(number).test"), granted: true)
        }
        #expect(metrics.namespaces.labels.count == 2 + Namespaces.maximumUnconfigured)
        #expect(metrics.admit(host("late.test")) == Namespaces.other)
        #expect(metrics.admit(host("h3.test")) == metrics.number(of: host("h3.test")))
        #expect(metrics.upstreamDurations.rows == metrics.namespaces.labels.count)
        #expect(metrics.byNamespace.map(\.tokensGranted).reduce(0, +) == 1000)
    }
}
