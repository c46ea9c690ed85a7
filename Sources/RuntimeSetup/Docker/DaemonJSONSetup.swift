// docker: `registry-mirrors` in daemon.json. JSON has no comments, and dockerd refuses unknown keys: what has been
// inserted is noted in a file beside it.

internal import Configuration
internal import FoundationEssentials
internal import OCI

enum DaemonJSONSetup {
    static let recordPath = DaemonJSON.path + ".ociregistry-setup"
    private static let certificates = "/etc/docker/certs.d"
    private static let certificateName = "ca.crt"

    /// What is in daemon.json by `setup`.
    struct Record: Codable, Equatable {
        /// Whether there was no daemon.json.
        let created: Bool
        /// The text as it was inserted.
        let inserted: String
        let mirror: String
    }

    static func edit(_ edits: inout FileEdits, _ request: SetupRequest) throws(Refusal) -> SetupOutcome {
        var outcome = SetupOutcome(afterwards: [(DaemonJSON.path, "systemctl reload docker")])
        if let other = request.registries.first(where: { !$0.isDockerHub }) {
            throw Refusal(
                "--registry \(other): dockerd has mirrors for docker.io only. Pull images of other registries by a name"
                    + " with the mirror in it: docker pull MIRROR/\(other)/IMAGE")
        }
        try remove(&edits)
        for name in try edits.files.list(certificates) where edits.files.isDirectory("\(certificates)/\(name)") {
            try edits.removeOwn("\(certificates)/\(name)/\(certificateName)", directory: "\(certificates)/\(name)")
        }
        guard let mirror = request.mirror else { return outcome }
        guard mirror.path.isEmpty else {
            throw Refusal("--mirror: dockerd accepts no path in a mirror; give the address without \(mirror.path)")
        }
        if let authority = try request.authority() {
            try edits.setOwn("\(certificates)/\(mirror.authority)/\(certificateName)", authority)
        }
        try insert(&edits, mirror.description)
        outcome.notes.append(
            "dockerd uses mirrors for docker.io only. With a graph driver, 'docker pull' does not name the registry:"
                + " the mirror needs --default-ns docker.io.")
        return outcome
    }

    // MARK: Insert

    private static func insert(_ edits: inout FileEdits, _ mirror: String) throws(Refusal) {
        let place = edits.files.place(of: DaemonJSON.path)
        let bytes = try edits.read(DaemonJSON.path)
        let quoted = JSONText.quoted(mirror)
        let whole = "{\n  \"\(DaemonJSON.key)\": [\(quoted)]\n}\n"
        guard let bytes, let text = try DaemonJSON.read(bytes, of: place) else {
            try write(&edits, Array(whole.utf8) + (bytes ?? []), whole, mirror, created: bytes == nil)
            return
        }
        let mirrors = try DaemonJSON.mirrors(of: text, place)
        if let mirrors, mirrors.contains(mirror) {
            guard mirrors.first == mirror else {
                throw Refusal("\(place): \(DaemonJSON.key): has \(mirror) already, but not as the first: move it there")
            }
            return
        }
        let inserted: String
        let offset: Int
        if let mirrors {
            let members = text.members.filter { $0.key == DaemonJSON.key }
            guard members.count == 1, let member = members.first, bytes[member.value.lowerBound] == 0x5B else {
                throw Refusal("\(place): \(DaemonJSON.key): is there twice, or is null: add \(quoted) by hand")
            }
            inserted = mirrors.isEmpty ? quoted : quoted + ", "
            offset = member.value.lowerBound + 1
        } else {
            inserted = "\n  \"\(DaemonJSON.key)\": [\(quoted)]" + (text.members.isEmpty ? "\n" : ",")
            offset = text.start
        }
        let after = bytes[..<offset] + Array(inserted.utf8) + bytes[offset...]
        var expected = text.values
        expected[DaemonJSON.key] = .array(([mirror] + (mirrors ?? [])).map(JSONValue.string))
        guard JSONText(Array(after))?.values == expected else {
            throw Refusal("\(place): cannot be changed safely: add \(quoted) to \(DaemonJSON.key) by hand")
        }
        try write(&edits, Array(after), inserted, mirror, created: false)
    }

    private static func write(
        _ edits: inout FileEdits, _ after: [UInt8], _ inserted: String, _ mirror: String, created: Bool
    ) throws(Refusal) {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
        let record = Record(created: created, inserted: inserted, mirror: mirror)
        guard let data = try? encoder.encode(record) else { throw Refusal("\(recordPath): cannot be written as JSON") }
        // First, so that a daemon.json with an insertion always has its record.
        try edits.setOwn(recordPath, OwnFile.bytes([String(decoding: data, as: UTF8.self)]))
        try edits.set(DaemonJSON.path, after)
    }

    // MARK: Remove

    private static func remove(_ edits: inout FileEdits) throws(Refusal) {
        let place = edits.files.place(of: recordPath)
        guard let bytes = try edits.read(recordPath) else { return }
        let json = bytes.drop { $0 != 0x0A }
        guard let record = try? JSONDecoder().decode(Record.self, from: Data(json)), !record.inserted.isEmpty else {
            throw Refusal(
                "\(place): not the record that setup has written: remove it by hand, and the mirror from"
                    + " \(DaemonJSON.key)"
            )
        }
        if let now = try edits.read(DaemonJSON.path) {
            let rest = try without(record, now, edits.files)
            if rest == nil { edits.made.insert(DaemonJSON.path) }
            try edits.set(DaemonJSON.path, rest)
        }
        try edits.set(recordPath, nil)
    }

    /// The content without what was inserted; nil when nothing is left.
    private static func without(_ record: Record, _ now: [UInt8], _ files: NodeFiles) throws(Refusal) -> [UInt8]? {
        let place = files.place(of: DaemonJSON.path)
        let inserted = Array(record.inserted.utf8)
        if now.starts(with: inserted), record.inserted.hasPrefix("{") {
            let rest = Array(now.dropFirst(inserted.count))
            return record.created && rest.isEmpty ? nil : rest
        }
        let text = try DaemonJSON.read(now, of: place)
        let item = text?.members.first { $0.key == DaemonJSON.key }.map { $0.value.lowerBound + 1 }
        for offset in [text?.start, item].compactMap(\.self) where now[offset...].starts(with: inserted) {
            let after = Array(now[..<offset] + now[(offset + inserted.count)...])
            if JSONText(after) != nil { return after }
        }
        let mirrors = try text.map { text throws(Refusal) in try DaemonJSON.mirrors(of: text, place) ?? [] }
        guard mirrors?.contains(record.mirror) == true else { return now }
        throw Refusal(
            "\(place): has been written anew since setup: remove \(record.mirror) from \(DaemonJSON.key), and the file"
                + " \(files.place(of: recordPath)), by hand")
    }
}
