// What `setup` is going to change: nothing is written before all of it is known to be right.

package import Configuration

/// The changes of one call, with what has to be said about them.
package struct SetupPlan: Sendable {
    struct Change: Sendable {
        /// The node's path.
        let path: String
        /// Nil: there is no such file.
        let before: [UInt8]?
        let after: [UInt8]?
        /// Whether `setup` has made the file, although nothing in it says so.
        let isMade: Bool

        /// Whether the file is somebody else's, of which the first state is kept beside it.
        var needsBackup: Bool {
            before != nil && after != nil && !isMade && !OwnFile.isOwn(before) && !OwnFile.isOwn(after)
        }
    }

    static let backupSuffix = ".ociregistry-backup"

    let files: NodeFiles
    let changes: [Change]
    let isRemoval: Bool
    /// Directories that are removed when nothing is left in them.
    let emptied: [String]
    /// What one should know, a sentence or two each.
    package let notes: [String]
    /// What makes the runtime use the change; nil when it does by itself.
    let afterwards: String?

    /// Finds out what is to be done. Nothing is written.
    package init(_ request: SetupRequest) throws(Refusal) {
        var edits = FileEdits(NodeFiles(root: request.root))
        guard edits.files.isDirectory("/") else { throw Refusal("\(request.root): no such directory") }
        let outcome =
            switch request.runtime {
            case .containerd: try ContainerdSetup.edit(&edits, request)
            case .podman, .crio: try RegistriesConfSetup.edit(&edits, request)
            case .docker: try DaemonJSONSetup.edit(&edits, request)
            case .k3s: try K3sSetup.edit(&edits, request)
            }
        files = edits.files
        isRemoval = request.mirror == nil
        changes = edits.changes
        emptied = edits.emptied
        notes = outcome.notes
        let isChanged = { (path: String) in edits.changes.contains { $0.path == path } }
        afterwards = outcome.afterwards.first { $0.path.map(isChanged) ?? !edits.changes.isEmpty }?.command
    }

    package var isEmpty: Bool { changes.isEmpty }

    /// All changes as a unified diff.
    package var diff: String {
        changes.map { UnifiedDiff.text(files.place(of: $0.path), from: $0.before, to: $0.after) }.joined()
    }

    /// What is to be done so that the change has effect.
    package var nextStep: String {
        guard let afterwards else { return "The runtime reads these files at each pull: nothing has to be restarted." }
        return "To use it: \(afterwards)"
    }

    /// Makes the changes, each of them whole or not at all, and returns what has become of backups.
    package func apply() throws(Refusal) -> [String] {
        var remarks: [String] = []
        for change in changes {
            let backup = change.path + Self.backupSuffix
            if change.needsBackup, !isRemoval, !files.exists(backup), let before = change.before {
                try files.write(backup, before, like: change.path)
                remarks.append("The file as it was is kept as \(files.place(of: backup)).")
            }
            if let after = change.after {
                try files.write(change.path, after, like: change.path)
            } else {
                try files.remove(change.path)
            }
            guard isRemoval, let kept = try files.read(backup) else { continue }
            if kept == change.after {
                try files.remove(backup)
            } else {
                remarks.append(
                    "\(files.place(of: change.path)) has been changed otherwise since setup; its former state is kept"
                        + " as \(files.place(of: backup)).")
            }
        }
        for directory in emptied { files.removeIfEmpty(directory) }
        return remarks
    }
}

/// What a runtime's part of `setup` has to say beside its changes.
struct SetupOutcome {
    var notes: [String] = []
    /// The command that is needed when a certain file has changed, or any (nil).
    var afterwards: [(path: String?, command: String)] = []
}

/// The files as they would be, in the order in which they are set last. A file that names others is set after them, and
/// removed before them.
struct FileEdits {
    let files: NodeFiles
    private var order: [String] = []
    private var states: [String: (before: [UInt8]?, after: [UInt8]?)] = [:]
    var emptied: [String] = []
    /// Files that `setup` has made, although nothing in them says so.
    var made: Set<String> = []

    init(_ files: NodeFiles) { self.files = files }

    /// The content as it would be.
    mutating func read(_ path: String) throws(Refusal) -> [UInt8]? {
        if let state = states[path] { return state.after }
        let bytes = try files.read(path)
        order.append(path)
        states[path] = (bytes, bytes)
        return bytes
    }

    mutating func set(_ path: String, _ content: [UInt8]?) throws(Refusal) {
        _ = try read(path)
        states[path]?.after = content
        order.removeAll { $0 == path }
        order.append(path)
    }

    /// Writes a file that is `setup`'s own as a whole; one of somebody else is refused, unless it says the same.
    mutating func setOwn(_ path: String, _ content: [UInt8]) throws(Refusal) {
        if let now = try read(path), !OwnFile.isOwn(now) {
            throw Refusal(
                "\(files.place(of: path)): is there already, and was not written by setup: move it away first")
        }
        try set(path, content)
    }

    /// Takes a file away that is `setup`'s own, and its directory and the one above when they are left empty.
    mutating func removeOwn(_ path: String, directory: String? = nil) throws(Refusal) {
        guard OwnFile.isOwn(try read(path)) else { return }
        try set(path, nil)
        guard let directory, let slash = directory.lastIndex(of: "/") else { return }
        emptied += [directory, String(directory[..<slash])]
    }

    var changes: [SetupPlan.Change] {
        order.compactMap { path in
            guard let state = states[path], state.before != state.after else { return nil }
            return .init(path: path, before: state.before, after: state.after, isMade: made.contains(path))
        }
    }
}
