// What is found wrong is moved here rather than removed: it is evidence, and it is out of the way. The name it had
// stays readable, with the reason behind it; the log has both paths.

internal import Glibc
internal import OCI

extension Layout {
    /// Longest part of a reason that goes into a name.
    private static let maximumReasonBytes = 40
    /// Things of one name and reason kept; later ones replace the last. A disk that keeps producing them says enough by
    /// then.
    private static let maximumTwins = 100

    /// Moves whatever has this path into the quarantine.
    /// - Returns: where it is now.
    @discardableResult
    func setAside(_ path: String, reason: String) throws(StoreError) -> String {
        try Disk.makeDirectories(quarantine, group)
        let name = path.split(separator: "/").last.map(String.init) ?? "unnamed"
        let base = quarantine + "/" + Layout.shortened(name) + "." + Layout.slug(reason)
        var target = base
        var twin = 1
        while twin < Layout.maximumTwins, (try? Disk.status(at: target)) != nil {
            twin += 1
            target = "\(base).\(twin)"
        }
        try Disk.rename(path, target)
        return target
    }

    /// Leaves room in a file name (255 bytes) for the reason and the number.
    private static func shortened(_ name: String) -> String {
        String(decoding: name.utf8.prefix(Int(NAME_MAX) - maximumReasonBytes - 8), as: UTF8.self)
    }

    private static func slug(_ reason: String) -> String {
        let bytes = reason.asciiLowercased.utf8.prefix(maximumReasonBytes).map { byte -> UInt8 in
            ASCII.isLetter(byte) || ASCII.isDigit(byte) ? byte : 0x2D
        }
        return String(decoding: bytes, as: UTF8.self)
    }
}
