// The quarantine: damaged or foreign files are moved here instead of being removed, as evidence. A file keeps its old
// name, with the reason appended; the log has both paths.

internal import Glibc
internal import OCI

extension Layout {
    /// Longest part of a reason in a file name.
    private static let maximumReasonBytes = 40
    /// Files kept with the same name and reason; later ones replace the last. More would show nothing new about a
    /// failing disk.
    private static let maximumTwins = 100

    /// Moves the file at this path into the quarantine.
    /// - Returns: its new path.
    @discardableResult
    func setAside(_ path: String, reason: String) throws(StoreError) -> String {
        let target = try quarantineName(path, reason)
        try Disk.rename(path, target)
        return target
    }

    /// Keeps the file at this path in the quarantine as well, before another one replaces it.
    /// - Returns: its second path.
    func keepAside(_ path: String, reason: String) throws(StoreError) -> String {
        let target = try quarantineName(path, reason)
        try Disk.unlink(target)
        try Disk.link(path, target)
        return target
    }

    private func quarantineName(_ path: String, _ reason: String) throws(StoreError) -> String {
        try Disk.makeDirectories(quarantine, group)
        let name = path.split(separator: "/").last.map(String.init) ?? "unnamed"
        let base = quarantine + "/" + Layout.shortened(name) + "." + Layout.slug(reason)
        var target = base
        var twin = 1
        while twin < Layout.maximumTwins, (try? Disk.status(at: target)) != nil {
            twin += 1
            target = "\(base).\(twin)"
        }
        return target
    }

    /// Shortens a name so that the reason and a number fit into a file name (255 bytes).
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
