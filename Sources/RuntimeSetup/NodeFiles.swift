// The files of a node, below `/` or below the directory where a container has mounted them.

internal import Configuration
internal import Glibc

/// Reads the files of a node. Paths are the node's own: `/etc/containerd/config.toml`.
struct NodeFiles {
    /// Far above any real configuration.
    static let maximumBytes = 1024 * 1024
    /// Entries of one directory: a node has as many as registries.
    static let maximumEntries = 4096

    /// Without a slash at its end; empty for `/`.
    let root: String

    init(root: String) {
        var root = root[...]
        while root.hasSuffix("/") { root.removeLast() }
        self.root = String(root)
    }

    /// Where the node's file is found from here.
    func place(of path: String) -> String { root + path }

    /// The content of a file; nil when there is none.
    func read(_ path: String) throws(Refusal) -> [UInt8]? {
        let place = place(of: path)
        if let link = try symbolicLink(in: path) { throw link }
        // Without waiting: a FIFO would block.
        let file = open(place, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
        guard file >= 0 else {
            if errno == ENOENT || errno == ENOTDIR { return nil }
            throw Refusal("\(place): \(Self.reason(errno))")
        }
        defer { close(file) }
        var status = stat()
        guard fstat(file, &status) == 0, status.st_mode & S_IFMT == S_IFREG else {
            throw Refusal("\(place): not a regular file")
        }
        var bytes: [UInt8] = []
        while bytes.count <= Self.maximumBytes {
            let count = withUnsafeTemporaryAllocation(byteCount: 65536, alignment: 1) { buffer in
                let count = Glibc.read(file, buffer.baseAddress, buffer.count)
                if count > 0 { bytes += buffer[..<count] }
                return count
            }
            if count == 0 { return bytes }
            if count < 0, errno != EINTR { throw Refusal("\(place): \(Self.reason(errno))") }
        }
        throw Refusal("\(place): larger than \(Self.maximumBytes) bytes")
    }

    /// The names in a directory, sorted by their bytes. Empty when there is no directory.
    func list(_ path: String) throws(Refusal) -> [String] {
        let place = place(of: path)
        if let link = try symbolicLink(in: path) { throw link }
        guard let directory = opendir(place) else {
            if errno == ENOENT || errno == ENOTDIR { return [] }
            throw Refusal("\(place): \(Self.reason(errno))")
        }
        defer { closedir(directory) }
        var names: [String] = []
        while let entry = readdir(directory) {
            let name = withUnsafeBytes(of: entry.pointee.d_name) {
                String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self)
            }
            if name == "." || name == ".." { continue }
            names.append(name)
            guard names.count <= Self.maximumEntries else {
                throw Refusal("\(place): more than \(Self.maximumEntries) entries")
            }
        }
        return names.sorted { $0.utf8.lexicographicallyPrecedes($1.utf8) }
    }

    func isDirectory(_ path: String) -> Bool {
        var status = stat()
        return stat(place(of: path), &status) == 0 && status.st_mode & S_IFMT == S_IFDIR
    }

    func exists(_ path: String) -> Bool { access(place(of: path), F_OK) == 0 }

    /// The refusal of a path below another root that has a symbolic link in it: an absolute link means a file of the
    /// node there, and one of this machine here.
    func symbolicLink(in path: String) throws(Refusal) -> Refusal? {
        guard !root.isEmpty else { return nil }
        var place = root
        for part in path.split(separator: "/") {
            guard part != ".." else { throw Refusal("\(self.place(of: path)): must not have .. in it") }
            place += "/\(part)"
            var status = stat()
            guard lstat(place, &status) == 0 else { return nil }
            if status.st_mode & S_IFMT == S_IFLNK {
                return Refusal(
                    "\(place): a symbolic link, which below a root other than / may lead out of it; put a file or"
                        + " directory in its place, or run setup on the node itself")
            }
        }
        return nil
    }

    static func reason(_ code: Int32) -> String { String(cString: strerror(code)) }
}

extension TOMLReader {
    /// - Parameter place: the file, for the refusal: `file:line:column: reason`.
    static func read(_ text: [UInt8], of place: String) throws(Refusal) -> TOMLDocument {
        do {
            return try read(text)
        } catch {
            throw Refusal("\(place):\(error.line):\(error.column): not TOML: \(error.reason)")
        }
    }
}
