// Maps the host as clients spell it to its canonical form, without parsing it on every request.

internal import OCI

/// Remembers the hosts of requests, by their spelling.
struct HostTable {
    /// A host in the form that the hot path needs.
    final class Entry {
        let host: RegistryHost
        /// The canonical text in bytes.
        let bytes: [UInt8]
        /// `OCI-Namespace`, echoed where the request named the host by `ns` (distribution-spec, main branch).
        let namespaceField: [UInt8]
        fileprivate let spelling: [UInt8]
        /// The host's number among the metrics' namespaces, once it has one of its own.
        private var namespace = Namespaces.other

        /// The namespace number for counting.
        func namespace(in metrics: Metrics) -> Int {
            if namespace == Namespaces.other { namespace = metrics.number(of: host) ?? Namespaces.other }
            return namespace
        }

        fileprivate func isSpelled(_ text: UnsafeRawBufferPointer) -> Bool {
            spelling.withUnsafeBytes { $0.equals(text) }
        }

        fileprivate init(host: RegistryHost, spelling: [UInt8]) {
            self.host = host
            self.bytes = Array(host.text.utf8)
            self.namespaceField = Array("OCI-Namespace: \(host)\r\n".utf8)
            self.spelling = spelling
        }
    }

    /// Limit on remembered spellings; beyond it the table is cleared, since only a client that invents hosts reaches
    /// it.
    static let maximumSpellings = 1024

    private var entries: [Int: Entry] = [:]
    /// The most recent entry: most requests repeat it, and comparing is faster than hashing.
    private var latest: Entry?

    /// The host with this percent-decoded spelling; nil when it is not `host[:port]`.
    mutating func entry(for spelling: UnsafeRawBufferPointer) -> Entry? {
        if let latest, latest.isSpelled(spelling) { return latest }
        let entry = find(spelling)
        if let entry { latest = entry }
        return entry
    }

    private mutating func find(_ spelling: UnsafeRawBufferPointer) -> Entry? {
        var hasher = Hasher()
        hasher.combine(bytes: spelling)
        let key = hasher.finalize()
        if let known = entries[key], known.isSpelled(spelling) { return known }
        guard spelling.count <= RegistryHost.maximumBytes,
            let text = String(validating: spelling, as: UTF8.self), let host = RegistryHost(text)
        else { return nil }
        let entry = Entry(host: host, spelling: Array(spelling))
        if entries.count >= HostTable.maximumSpellings { entries.removeAll(keepingCapacity: true) }
        entries[key] = entry
        return entry
    }
}
