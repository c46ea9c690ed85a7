// `config_path` in containerd's config.toml, in the table of the file's version.

internal import Configuration

enum ContainerdConfigEdit {
    private static let key = "config_path"

    static func remove(_ edits: inout FileEdits) throws(Refusal) {
        let path = ContainerdConfig.path
        guard let bytes = try edits.read(path) else { return }
        if OwnFile.isOwn(bytes) { return try edits.removeOwn(path) }
        try edits.set(path, try MarkedBlock.remove(from: bytes, of: edits.files.place(of: path)))
    }

    /// - Returns: what one should know about it.
    static func insert(
        _ edits: inout FileEdits, _ config: ContainerdConfig?, _ directory: String
    ) throws(Refusal) -> [String] {
        let path = ContainerdConfig.path
        let place = edits.files.place(of: path)
        guard let config, let main = config.sources.first else {
            let table = header(ContainerdConfig.registryTable(version: ContainerdConfig.ownVersion))
            let lines = ["version = \(ContainerdConfig.ownVersion)", "", table, "\(key) = \"\(directory)\""]
            try edits.set(path, OwnFile.bytes(lines))
            return []
        }
        if let conflict = config.conflicts.first {
            throw Refusal(
                "\(edits.files.place(of: conflict.source.path)):\(conflict.line): \(conflict.key): the CRI plugin does"
                    + " not load with it beside config_path: move it to hosts.toml files, and remove it there")
        }
        if config.isCRIDisabled {
            return [
                "The CRI plugin is disabled in \(place) (disabled_plugins), so config_path is not set there. 'nerdctl'"
                    + " reads \(directory) by itself, 'ctr images pull' with --hosts-dir."
            ]
        }
        let directories = config.hostsDirectories
        if let replaced = directories.replaced {
            throw Refusal(
                "\(edits.files.place(of: replaced.source.path)):\(replaced.line): this imported table of the CRI plugin"
                    + " replaces that of config.toml: set config_path = \"\(directory)\" in its registry table")
        }
        if !directories.paths.isEmpty { return [] }
        var changed = main
        for table in config.writtenTables {
            let bytes = try inserted(into: changed, table, directory, place)
            changed = .init(path: path, bytes: bytes, document: try TOMLReader.read(bytes, of: place))
        }
        try edits.set(path, changed.bytes)
        return []
    }

    private static func header(_ path: [String]) -> String {
        "[" + path.map { $0.contains(".") ? "\"\($0)\"" : $0 }.joined(separator: ".") + "]"
    }

    private static func inserted(
        into main: ContainerdConfig.Source, _ table: [String], _ directory: String, _ place: String
    ) throws(Refusal) -> [UInt8] {
        let after = change(main, table, "\(key) = \"\(directory)\"", "\"\(directory)\"")
        guard let after, let read = try? TOMLReader.read(after, of: place),
            read.root.value(at: table + [key]) == .string(directory),
            read.root.equals(main.document.root, except: table + [key])
        else {
            let line = ContainerdConfig.line(of: table, in: main.document)
            throw Refusal(
                "\(place):\(line): \(table.joined(separator: ".")) is written in a way that setup does not change: set"
                    + " \(key) = \"\(directory)\" there by hand")
        }
        return after
    }

    /// Nil where a value stands in the way.
    private static func change(
        _ main: ContainerdConfig.Source, _ table: [String], _ pair: String, _ value: String
    ) -> [UInt8]? {
        let bytes = main.bytes
        if let written = main.document.root.table(at: table)?.place(of: key) {
            guard !written.isInline, main.document.root.value(at: table + [key]) == .string("") else { return nil }
            let start = bytes[..<written.key].lastIndex(of: 0x0A).map { $0 + 1 } ?? 0
            let end = bytes[written.value.upperBound...].firstIndex(of: 0x0A).map { $0 + 1 } ?? bytes.count
            var line =
                bytes[start..<written.value.lowerBound] + Array(value.utf8) + bytes[written.value.upperBound..<end]
            while let last = line.last, last == 0x0A || last == 0x0D { line.removeLast() }
            return MarkedBlock.replace(start..<end, with: [String(decoding: line, as: UTF8.self)], in: bytes)
        }
        if let header = main.document.headers.first(where: { $0.path == table }) {
            return MarkedBlock.insert([pair], at: header.end, into: bytes)
        }
        return MarkedBlock.insert([header(table), pair], at: bytes.count, into: bytes)
    }
}

extension TOMLTable {
    /// Whether both have the same content but for the value at a path, and the tables above it where they are new.
    func equals(_ other: TOMLTable, except path: [String]) -> Bool {
        guard let first = path.first else { return self == other }
        for key in Set(keys).union(other.keys) {
            guard key == first else {
                if self[key] != other[key] { return false }
                continue
            }
            if path.count == 1 { continue }
            guard let mine = self[key]?.table, other[key] == nil || other[key]?.table != nil else { return false }
            let others = other[key]?.table ?? TOMLTable(.implicit)
            if !mine.equals(others, except: Array(path.dropFirst())) { return false }
        }
        return true
    }
}
