// The list of all metrics: name, kind, labels, meaning, and source of the value. The first ten are the reference
// server's, with their irregular names, since existing dashboards depend on them.

internal import OCI

/// A metric with all its label values.
package struct MetricFamily: Sendable {
    package enum Kind: String, Sendable { case counter, gauge, histogram }

    package let name: String
    package let kind: Kind
    package let labels: [String]
    package let help: String
    let write: @Sendable (Metrics, Readings, inout Exposition) -> Void
}

package enum Catalog {
    /// All families, in the order of the output.
    package static let families: [MetricFamily] =
        reference + requests + upstreams + pulls + store + process + loop + about

    /// All metrics as text.
    package static func exposition(_ metrics: Metrics, _ readings: Readings, reserving count: Int = 0) -> [UInt8] {
        var text = Exposition(reserving: count)
        for family in families {
            text.begin(family)
            family.write(metrics, readings, &text)
        }
        return text.bytes
    }

    typealias Write = @Sendable (Metrics, Readings, inout Exposition) -> Void

    static func counter(_ name: String, _ help: String, _ labels: [String] = [], _ write: @escaping Write)
        -> MetricFamily
    {
        MetricFamily(name: name, kind: .counter, labels: labels, help: help, write: write)
    }

    static func gauge(_ name: String, _ help: String, _ labels: [String] = [], _ write: @escaping Write)
        -> MetricFamily
    {
        MetricFamily(name: name, kind: .gauge, labels: labels, help: help, write: write)
    }

    static func histogram(_ name: String, _ help: String, _ labels: [String] = [], _ write: @escaping Write)
        -> MetricFamily
    {
        MetricFamily(name: name, kind: .histogram, labels: labels, help: help, write: write)
    }

    // MARK: The reference's

    private static let reference: [MetricFamily] = [
        counter(
            "ociregistry_cached_pulls_by_ns_total", "Manifest pulls answered from the cache, by upstream host.", ["ns"]
        ) { metrics, _, text in
            for (label, counts) in metrics.perNamespace { text.sample(counts.cachedPulls, label) }
        },
        counter(
            "ociregistry_upstream_pulls_by_ns", "Manifest pulls that went to the upstream, by upstream host.", ["ns"]
        ) { metrics, _, text in
            for (label, counts) in metrics.perNamespace { text.sample(counts.upstreamPulls, label) }
        },
        counter("ociregistry_manifest_pulls_total", "Manifest pulls, GET and HEAD, failed ones included.") {
            $2.sample($0.requests.manifestPulls)
        },
        counter("ociregistry_blob_pulls_total", "Blob pulls, GET and HEAD, failed ones included.") {
            $2.sample($0.requests.blobPulls)
        },
        gauge("ociregistry_blob_bytes_on_disk_total", "Bytes of the cached blobs on the file system.") {
            $2.sample($1.store.blobBytes)
        },
        gauge("ociregistry_manifest_bytes_on_disk_total", "Bytes of the cached manifests on the file system.") {
            $2.sample($1.store.manifestBytes)
        },
        gauge(
            "ociregistry_cached_manifest_count", "Cached manifests: one for each digest, and one more for each tag."
        ) { $2.sample($1.store.manifestCount + $1.store.tagCount) },
        gauge("ociregistry_cached_blob_count", "Cached blobs.") { $2.sample($1.store.blobCount) },
        counter(
            "ociregistry_v2_api_endpoint_hits_total", "Requests for /v2/, /v2/auth, manifests and blobs."
        ) { $2.sample($0.requests.endpointHits) },
        counter(
            "ociregistry_api_errors_total",
            "Manifest and blob requests that failed; not those that name no upstream."
        ) { $2.sample($0.requests.apiErrors) },
    ]
}

extension Metrics {
    /// The counts for each namespace, with its label.
    var perNamespace: [(Labels, NamespaceCounts)] {
        zip(namespaces.labels, byNamespace).map { (Labels("ns", $0), $1) }
    }
}
