// Tags: after recovery all are in memory, and each is also a small file. They are case-sensitive: `Latest` is not
// `latest`.

internal import Logging
package import OCI

extension Store {
    /// A tag from memory, by the bytes of a request. Allocates nothing.
    package func tag(_ name: TagBytes) -> TagRecord? { tags.record(name) }

    /// A tag from memory.
    package func tag(host: RegistryHost, repository: RepositoryName, tag: String) -> TagRecord? {
        TagName(host: host, repository: repository, tag: tag).withBytes { tags.record($0) }
    }

    /// A tag from memory, or from the disk while recovery has not finished. Nil when the store does not have it.
    /// As in `findBlob`, absence is checked again just before the call.
    package func findTag(
        host: RegistryHost, repository: RepositoryName, tag: String, then: @escaping (TagRecord?) -> Void
    ) {
        let name = TagName(host: host, repository: repository, tag: tag)
        let record = name.withBytes { tags.record($0) }
        if record != nil || isRecovered || !name.isStorable {
            return loop.deferred.enqueue { [self] in then(record ?? name.withBytes { tags.record($0) }) }
        }
        if tagReads[name] != nil {
            tagReads[name]?.append(then)
            return
        }
        tagReads[name] = [then]
        let path = layout.tag(name)
        perform({ () throws(StoreError) in try TagRecord.read(path) }) { result in
            let record = self.finishReading(name, path, result)
            self.loop.deferred.forEach(self.tagReads.removeValue(forKey: name) ?? []) {
                $0(record ?? name.withBytes { self.tags.record($0) })
            }
        }
    }

    /// Points a tag to a digest, with the current time: in memory at once, on disk when `then` is called without an
    /// error. If the tag has that digest already, only its time in memory changes; nothing is written, and after a
    /// restart its time is its file's again.
    package func setTag(
        host: RegistryHost, repository: RepositoryName, tag: String, digest: Digest,
        then: @escaping (StoreError?) -> Void = { _ in }
    ) {
        let name = TagName(host: host, repository: repository, tag: tag)
        guard name.isStorable else {
            return loop.deferred.complete(then, .unusable(path: name.description, reason: "not a tag"))
        }
        onTagSet?(host, repository, tag)
        let former = name.withBytes { tags.record($0) }
        name.withBytes { tags.set($0, TagRecord(digest: digest, resolvedAtSeconds: EventLoop.unixSeconds)) }
        guard !isClosing else { return loop.deferred.complete(then, .closed) }
        if former?.digest == digest, !unsavedTags.contains(name) { return loop.deferred.complete(then, nil) }
        let write = Publisher.Write(
            directory: layout.tagDirectory(name), name: tag, content: .bytes(Layout.tagContent(digest)))
        evictionBackOff.mayLeave(inMilliseconds: millisecondsToLeaseEnd(of: digest), now: loop.nowMilliseconds)
        pruning?.namedRepositories.insert("\(host)/\(repository)")
        workBegins()
        unsavedTags.insert(name)
        publisher.publish(write) { [self] outcome in
            if let error = outcome.error {
                noteFailure(error)
                let state = outcome.isNamed ? "may be lost by a crash" : "is kept in memory only"
                logger.error("store: tag \(name) \(state): \(error)")
            } else if name.withBytes({ tags.record($0) })?.digest == digest {
                unsavedTags.remove(name)
            }
            then(outcome.error)
            workEnds()
        }
    }

    /// Records that a repository was asked for this manifest by its digest. The record is a name of the manifest like a
    /// tag, but on disk only, since no lookup uses it.
    package func noteDigest(
        host: RegistryHost, repository: RepositoryName, digest: Digest,
        then: @escaping (StoreError?) -> Void = { _ in }
    ) {
        guard !isClosing else { return loop.deferred.complete(then, .closed) }
        let write = Publisher.Write(
            directory: layout.digestsDirectory(host, repository), name: Layout.digestFileName(digest),
            content: .bytes(Layout.tagContent(digest)))
        evictionBackOff.mayLeave(inMilliseconds: millisecondsToLeaseEnd(of: digest), now: loop.nowMilliseconds)
        pruning?.namedRepositories.insert("\(host)/\(repository)")
        workBegins()
        publisher.publish(write) { [self] outcome in
            if let error = outcome.error {
                noteFailure(error)
                let state = outcome.isNamed ? "may be lost by a crash" : "is not on disk"
                logger.error("store: \(host)/\(repository)@\(digest) \(state): \(error)")
            }
            then(outcome.error)
            workEnds()
        }
    }

    /// Adds a tag from the disk, unless memory has a newer one.
    func addTag(_ name: TagName, _ record: TagRecord) {
        onHostKnown?(name.host)
        name.withBytes { bytes in
            if tags.record(bytes) == nil { tags.set(bytes, record) }
        }
    }

    private func finishReading(_ name: TagName, _ path: String, _ result: Result<TagRecord, StoreError>) -> TagRecord? {
        if let newer = name.withBytes({ tags.record($0) }) { return newer }
        switch result {
        case .success(let record):
            addTag(name, record)
            return record
        case .failure(let error) where error.isMissing:
            return nil
        case .failure(let error):
            // Recovery will reach the file and set it aside.
            logger.error("store: cannot read tag \(name): \(error)")
            return nil
        }
    }
}

extension TagName {
    /// Whether the tag matches the grammar, and so is a safe file name too.
    fileprivate var isStorable: Bool {
        withBytes { Reference.isValidTag($0.tag) }
    }
}

extension TagRecord {
    /// Reads a tag's file. Must run off the loop.
    static func read(_ path: String) throws(StoreError) -> TagRecord {
        let content = try Disk.readFile(path, maximumBytes: Layout.maximumTagFileBytes)
        let status = try Disk.status(at: path)
        guard let digest = content.withUnsafeBytes({ Layout.readTag($0) }) else {
            throw .unusable(path: path, reason: "not a digest and a line end")
        }
        return TagRecord(digest: digest, resolvedAtSeconds: status.modifiedSeconds)
    }
}
