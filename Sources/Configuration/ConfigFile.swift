// Reads the configuration file, and checks the files that it names.

import Glibc

enum ConfigFile {
    /// The file's content, up to one byte more than the limit (the YAML reader then reports the excess).
    static func read(_ path: String) throws(Refusal) -> [UInt8] {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { throw Refusal("cannot be read: \(lastError())") }
        defer { close(descriptor) }
        let limit = YAMLReader.maximumBytes + 1
        var bytes = [UInt8](repeating: 0, count: limit)
        var count = 0
        while count < limit {
            let got = bytes.withUnsafeMutableBytes { buffer in
                Glibc.read(descriptor, buffer.baseAddress?.advanced(by: count), limit - count)
            }
            if got < 0 && errno == EINTR { continue }
            guard got >= 0 else { throw Refusal("cannot be read: \(lastError())") }
            if got == 0 { break }
            count += got
        }
        return Array(bytes[..<count])
    }

    /// Refuses a path that is not a file readable by this process, so that the error appears at the start and not at
    /// the first pull.
    static func check(_ path: String) throws(Refusal) {
        var status = stat()
        guard stat(path, &status) == 0, access(path, R_OK) == 0 else {
            throw Refusal("\(path): cannot be read: \(lastError())")
        }
        guard status.st_mode & S_IFMT == S_IFREG else { throw Refusal("\(path): not a file") }
    }

    /// Refuses a list of directories, with colons between, of which none exists. OpenSSL skips those that do not.
    static func checkDirectories(_ list: String) throws(Refusal) {
        _ = try ConfigRules.path(list)
        var status = stat()
        let isFound = list.split(separator: ":").contains {
            stat(String($0), &status) == 0 && status.st_mode & S_IFMT == S_IFDIR
        }
        guard isFound else { throw Refusal("\(list): no such directory") }
    }

    private static func lastError() -> String { String(cString: strerror(errno)) }
}
