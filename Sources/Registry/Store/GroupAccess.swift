// Group access to a store. If the volume is writable by its group (OpenShift gives each project its own user id, all in
// group 0), other users of the group must be able to use the files that this user makes.

internal import Glibc

/// The group permissions of the store's files and directories. The admin socket never gets them.
struct GroupAccess: Sendable, Equatable {
    /// The group; if nil, files belong to their owner, and the umask decides who may read them.
    let group: gid_t?

    static let none = GroupAccess(group: nil)

    private static let fileBits: mode_t = S_IRGRP | S_IWGRP
    /// Includes the bit that makes new entries inherit the directory's group (inode(7)).
    private static let directoryBits: mode_t = S_IRGRP | S_IWGRP | S_IXGRP | S_ISGID

    private init(group: gid_t?) { self.group = group }

    /// Reads the directory at a path or, if that does not exist yet, its nearest existing parent. Blocks.
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
        // A world-writable parent (/tmp) does not mean that a new directory in it is the group's.
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

    /// Whether this process may assign files to a group: root may always, others only to their own groups.
    private static func isOwn(_ group: gid_t) -> Bool {
        guard geteuid() != 0, getegid() != group else { return true }
        let count = getgroups(0, nil)
        guard count > 0 else { return false }
        var groups = [gid_t](repeating: 0, count: Int(count))
        let found = getgroups(count, &groups)
        return found > 0 && groups.prefix(Int(found)).contains(group)
    }

    /// Whether a file or directory lacks the group's permissions and this process may add them.
    func isMissing(_ status: FileStatus) -> Bool {
        // A file with another hard link is excluded, since it may belong to a user's home directory.
        guard let group, status.isDirectory || status.isRegular && status.linkCount == 1 else { return false }
        let bits = status.isDirectory ? GroupAccess.directoryBits : GroupAccess.fileBits
        guard status.group != group || status.mode & bits != bits else { return false }
        return geteuid() == 0 || status.owner == geteuid()
    }

    /// Gives an open file or directory to the group, regardless of the umask. If that is refused, it stays as it is,
    /// since this process can use it in any case.
    func apply(to descriptor: Int32, _ path: String) {
        guard let group, let status = try? Disk.status(of: descriptor, path), isMissing(status) else { return }
        // The permissions must not go to a group other than the directory's.
        guard status.group == group || fchown(descriptor, uid_t.max, group) == 0 else { return }
        let bits = status.isDirectory ? GroupAccess.directoryBits : GroupAccess.fileBits
        fchmod(descriptor, status.mode | bits)
    }

    /// Gives a file or directory of an earlier release to the group, if necessary.
    func apply(to status: FileStatus, at path: String) {
        guard isMissing(status),
            let descriptor = try? Disk.open(path, status.isDirectory ? O_RDONLY | O_DIRECTORY : O_RDONLY)
        else { return }
        apply(to: descriptor, path)
        close(descriptor)
    }
}
