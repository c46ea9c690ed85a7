// The index of proofs in memory: which content may be served in which repositories. Content has one repository in most
// cases, so the first is kept beside the digest.

internal import BasicContainers
package import OCI

/// Proofs by digest and repository. Filled off the loop, then used on the loop only.
package final class ProofTable: @unchecked Sendable {
    // Sendable by hand-over: a job fills it, and no job uses it after that.

    /// Repositories of one digest. A base layer may be in thousands; a registry that makes up names for a tiny blob
    /// must not fill the memory. Beyond it the oldest proof is dropped, and asked for again when it is needed.
    package static let maximumRepositories = 4096

    /// Repositories of all proofs. More than a large cluster pulls from; a client that makes up names gets the oldest
    /// ones forgotten.
    package static let maximumNames = 262_144

    /// The repositories of one digest, by number.
    private struct Holders {
        var first: UInt32
        /// The others, as an index of `more`; −1 when there are none.
        var others: Int32 = -1
    }

    private var holders = DigestMap<Holders>()
    private var more: [[UInt32]] = []
    private var freeMore: [Int32] = []
    private var repositories = RepositoryNumbers()
    /// Number of proofs.
    package private(set) var count = 0

    private let maximumNames: Int

    package init(maximumNames: Int = ProofTable.maximumNames) { self.maximumNames = maximumNames }

    /// Whether the content may be served in the repository, whose name is `host/name`. Allocates nothing.
    package func contains(_ digest: Digest, _ repository: UnsafeRawBufferPointer) -> Bool {
        guard let held = holders[digest], let number = repositories.number(of: repository) else { return false }
        if held.first == number { return true }
        return held.others >= 0 && more[Int(held.others)].contains(number)
    }

    package func contains(_ digest: Digest, _ repository: String) -> Bool {
        var repository = repository
        return repository.withUTF8 { contains(digest, UnsafeRawBufferPointer($0)) }
    }

    package func apply(_ change: ProofChange) {
        switch change {
        case .add(let digest, let repository): add(digest, repository)
        case .removeContent(let digest): remove(digest)
        case .removeRepository(let repository): repositories.remove(repository)
        }
    }

    package func removeAll() {
        holders = DigestMap()
        (more, freeMore, count) = ([], [], 0)
        repositories = RepositoryNumbers()
    }

    /// Calls `body` with every proof; those of one digest follow each other in the order in which they were added.
    func forEach(_ body: (Digest, _ repository: String) throws -> Void) rethrows {
        try holders.forEach { digest, held in
            for number in [held.first] + (held.others < 0 ? [] : more[Int(held.others)]) {
                guard let name = repositories.name(of: number) else { continue }
                try body(digest, name)
            }
        }
    }

    private func add(_ digest: Digest, _ repository: String) {
        guard !contains(digest, repository), let number = repositories.add(repository) else { return }
        repositories.forgetOldest(above: maximumNames)
        guard var held = holders[digest] else {
            count += 1
            return holders[digest] = Holders(first: number)
        }
        // The number of a removed repository is of no use.
        if repositories.name(of: held.first) == nil {
            held.first = number
            return holders[digest] = held
        }
        guard held.others >= 0 else {
            held.others = freeMore.popLast() ?? Int32(more.count)
            if Int(held.others) == more.count { more.append([number]) } else { more[Int(held.others)] = [number] }
            count += 1
            return holders[digest] = held
        }
        let list = Int(held.others)
        if more[list].count >= ProofTable.maximumRepositories - 1 {
            more[list].removeFirst()
        } else {
            count += 1
        }
        more[list].append(number)
    }

    private func remove(_ digest: Digest) {
        guard let held = holders[digest] else { return }
        count -= 1
        if held.others >= 0 {
            count -= more[Int(held.others)].count
            more[Int(held.others)] = []
            freeMore.append(held.others)
        }
        holders[digest] = nil
    }
}

/// Numbers for the names of repositories.
private struct RepositoryNumbers: ~Copyable {
    private var names = UniqueArray<UnsafeRawBufferPointer>()
    private var index = HashPositions()
    private let hash = KeyedHash()
    /// All numbers below it are forgotten.
    private var oldest = 0

    deinit {
        for number in 0..<names.count { names[number].deallocate() }
    }

    func number(of name: UnsafeRawBufferPointer) -> UInt32? {
        index.first(hash.of(name)) { names[$0].equals(name) }.map { UInt32(truncatingIfNeeded: $0) }
    }

    /// Nil for the number of a removed repository.
    func name(of number: UInt32) -> String? {
        let name = names[Int(number)]
        return name.isEmpty ? nil : String(decoding: name, as: UTF8.self)
    }

    /// The repository's number; nil when there are too many.
    mutating func add(_ name: String) -> UInt32? {
        var name = name
        return name.withUTF8 { text in
            let text = UnsafeRawBufferPointer(text)
            if let known = number(of: text) { return known }
            guard let number = UInt32(exactly: names.count), number < .max else { return nil }
            let copy = UnsafeMutableRawBufferPointer.allocate(byteCount: text.count, alignment: 1)
            copy.copyMemory(from: text)
            names.append(UnsafeRawBufferPointer(copy))
            index.insert(hash.of(text), Int(number))
            return number
        }
    }

    /// Forgets a repository.
    mutating func remove(_ name: String) {
        var name = name
        name.withUTF8 { text in
            if let number = number(of: UnsafeRawBufferPointer(text)) { remove(Int(number)) }
        }
    }

    mutating func forgetOldest(above maximum: Int) {
        while index.count > maximum, oldest < names.count {
            if !names[oldest].isEmpty { remove(oldest) }
            oldest += 1
        }
    }

    /// The number is not used again, so that its proofs match nothing.
    private mutating func remove(_ number: Int) {
        index.remove(hash.of(names[number]), number)
        names[number].deallocate()
        names[number] = .init(start: nil, count: 0)
    }
}
