// Whether a store is one user's or a group's. Where the volume is writable by its group (OpenShift gives each project a
// user id of its own, all of group 0), another user of the group must be able to use what this one has made.

internal import Glibc

/// What the store's files and directories give to the group of the directory that they are in. The socket for
/// administration is never the group's.
struct GroupAccess: Sendable, Equatable {
    /// The group; nil: files are made for their owner, and others may read them as the umask has it.
    let group: gid_t?

    static let none = GroupAccess(group: nil)

    private static let fileBits: mode_t = S_IRGRP | S_IWGRP
    /// With the bit that has everything inside get the directory's group (inode(7)).
    private static let directoryBits: mode_t = S_IRGRP | S_IWGRP | S_IXGRP | S_ISGID

    private init(group: gid_t?) { self.group = group }

    /// Looks at the directory at a path, or where it is still to be made, at the one above that is there. Blocks.
    init(of path: String) {
        var status = stat()
        var place = path
        while stat(place, &status) != 0 {
            let parent = GroupAccess.parent(of: place)
            guard errno == ENOENT, parent != place else {
                self = .none
                return
            }
            place = parent
        }
        // The mode of a world-writable directory (/tmp) says nothing about what is made in it.
        let isOpenToAll = place != path && status.st_mode & S_IWOTH != 0
        let isGroups = status.st_mode & S_IFMT == S_IFDIR && status.st_mode & S_IWGRP != 0 && !isOpenToAll
        self.init(group: isGroups && GroupAccess.isOwn(status.st_gid) ? status.st_gid : nil)
    }

    private static func parent(of path: String) -> String {
        var path = Substring(path)
        while path.utf8.count > 1, path.utf8.last == 0x2F { path.removeLast() }
        guard let slash = path.utf8.lastIndex(of: 0x2F) else { return path == "." ? "/" : "." }
        return slash == path.startIndex ? "/" : String(path[..<slash])
    }

    /// Whether this process may give files to a group: root may, others to groups that they are in.
    private static func isOwn(_ group: gid_t) -> Bool {
        guard geteuid() != 0, getegid() != group else { return true }
        let count = getgroups(0, nil)
        guard count > 0 else { return false }
        var groups = [gid_t](repeating: 0, count: Int(count))
        let found = getgroups(count, &groups)
        return found > 0 && groups.prefix(Int(found)).contains(group)
    }

    /// Whether something lacks what the group should have, and this process may change that.
    func isMissing(_ status: FileStatus) -> Bool {
        // Not a file with another hard link: it may belong to a user's home directory.
        guard let group, status.isDirectory || status.isRegular && status.linkCount == 1 else { return false }
        let bits = status.isDirectory ? GroupAccess.directoryBits : GroupAccess.fileBits
        guard status.group != group || status.mode & bits != bits else { return false }
        return geteuid() == 0 || status.owner == geteuid()
    }

    /// Gives an open file or directory to the group, whatever the umask has taken away. If that is refused, it stays as
    /// it is: this process can use it in any case.
    func apply(to descriptor: Int32, _ path: String) {
        guard let group, let status = try? Disk.status(of: descriptor, path), isMissing(status) else { return }
        // Not to another group than the directory's.
        guard status.group == group || fchown(descriptor, uid_t.max, group) == 0 else { return }
        let bits = status.isDirectory ? GroupAccess.directoryBits : GroupAccess.fileBits
        fchmod(descriptor, status.mode | bits)
    }

    /// The same for what a former release has made, if it needs it.
    func apply(to status: FileStatus, at path: String) {
        guard isMissing(status),
            let descriptor = try? Disk.open(path, status.isDirectory ? O_RDONLY | O_DIRECTORY : O_RDONLY)
        else { return }
        apply(to: descriptor, path)
        close(descriptor)
    }
}
