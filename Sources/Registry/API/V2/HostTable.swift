// From the host as clients spell it to the one canonical host, without parsing it anew on every request.

internal import OCI

/// Remembers the hosts that requests have named, by their spelling.
struct HostTable {
    /// A host as the hot path needs it.
    final class Entry {
        let host: RegistryHost
        /// The canonical text in bytes.
        let bytes: [UInt8]
        /// `OCI-Namespace`, echoed where the request named the host by `ns` (distribution-spec, main branch).
        let namespaceField: [UInt8]
        fileprivate let spelling: [UInt8]
        /// The host's number among the metrics' namespaces, once it has one.
        private var namespace = Namespaces.other

        /// The number to count by.
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

    /// Spellings remembered; past it the memory begins anew, since only a client that invents hosts gets here.
    static let maximumSpellings = 1024

    private var entries: [Int: Entry] = [:]
    /// The one asked for last: mostly it is asked for again, and comparing is quicker than hashing.
    private var latest: Entry?

    /// The host so spelled (percent-encoding undone); nil when it is not `host[:port]`.
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
