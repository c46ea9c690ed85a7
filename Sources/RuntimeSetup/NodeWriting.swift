// Writes the files of a node: a reader sees the old content or the new one, also after a power failure.

internal import Configuration
internal import Glibc

extension NodeFiles {
    /// Replaces a file, or makes it with the directories above it. Mode and owner of an existing file are kept.
    /// - Parameter model: the file whose mode and owner are taken; mode 0644 when there is none.
    func write(_ path: String, _ bytes: [UInt8], like model: String) throws(Refusal) {
        if let link = try symbolicLink(in: path) { throw link }
        let place = resolved(self.place(of: path))
        try makeDirectories(above: path)
        var status = stat()
        let hasModel = stat(self.place(of: model), &status) == 0
        let temporary = place + ".ociregistry-\(getpid())"
        // What an interrupted run has left behind.
        unlink(temporary)
        let file = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0o600)
        guard file >= 0 else { throw failure(place) }
        var isDone = false
        defer {
            close(file)
            if !isDone { unlink(temporary) }
        }
        // Without the right to give files away, the owner stays the caller.
        if hasModel { _ = fchown(file, status.st_uid, status.st_gid) }
        guard fchmod(file, hasModel ? status.st_mode & 0o7777 : 0o644) == 0, Self.writeAll(file, bytes),
            fsync(file) == 0, rename(temporary, place) == 0
        else { throw failure(place) }
        isDone = true
        syncDirectory(of: place)
    }

    func remove(_ path: String) throws(Refusal) {
        if let link = try symbolicLink(in: path) { throw link }
        let place = place(of: path)
        guard unlink(place) == 0 || errno == ENOENT else { throw failure(place) }
        syncDirectory(of: place)
    }

    /// Removes a directory when nothing is in it.
    func removeIfEmpty(_ path: String) { rmdir(place(of: path)) }

    private func failure(_ place: String) -> Refusal {
        let code = errno
        let hint = code == EACCES || code == EPERM ? "; setup writes system files, which takes root" : ""
        return Refusal("\(place): \(Self.reason(code))\(hint)")
    }

    /// The file that a symbolic link means, so that the link stays.
    private func resolved(_ place: String) -> String {
        guard root.isEmpty, let target = realpath(place, nil) else { return place }
        defer { free(target) }
        return String(cString: target)
    }

    private func makeDirectories(above path: String) throws(Refusal) {
        var place = root
        for part in path.split(separator: "/").dropLast() {
            place += "/\(part)"
            guard mkdir(place, 0o755) == 0 || errno == EEXIST else { throw failure(place) }
        }
    }

    private static func writeAll(_ file: Int32, _ bytes: [UInt8]) -> Bool {
        var written = 0
        while written < bytes.count {
            let count = bytes[written...].withUnsafeBytes { Glibc.write(file, $0.baseAddress, $0.count) }
            if count < 0 {
                guard errno == EINTR else { return false }
            } else {
                written += count
            }
        }
        return true
    }

    private func syncDirectory(of place: String) {
        let directory = place.lastIndex(of: "/").map { String(place[..<$0]) } ?? "."
        let file = open(directory.isEmpty ? "/" : directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard file >= 0 else { return }
        fsync(file)
        close(file)
    }
}
