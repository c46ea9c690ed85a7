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
        whenChecksKnown { [self] in
            perform({ () throws(StoreError) in try TagRecord.read(path) }) { result in
                let record = self.finishReading(name, path, result)
                self.loop.deferred.forEach(self.tagReads.removeValue(forKey: name) ?? []) {
                    $0(record ?? name.withBytes { self.tags.record($0) })
                }
            }
        }
    }

    /// Points a tag to a digest: in memory at once, on disk when `then` is called without an error. If the tag has that
    /// digest already, only the time of its last check changes. The digest that it had keeps a name of its own, so that
    /// clients find it by digest and it can be removed.
    /// - Parameter checked: when the upstream said so, on `tagClock`; nil: now. An answer that is older than the tag's
    ///   last check changes nothing.
    package func setTag(
        host: RegistryHost, repository: RepositoryName, tag: String, digest: Digest, checked: Int64? = nil,
        then: @escaping (StoreError?) -> Void = { _ in }
    ) {
        let name = TagName(host: host, repository: repository, tag: tag)
        guard name.isStorable else {
            return loop.deferred.complete(then, .unusable(path: name.description, reason: "not a tag"))
        }
        onTagSet?(host, repository, tag)
        let former = name.withBytes { tags.record($0) }
        let checked = checked ?? tagClock
        if let former, former.checkedMilliseconds > checked { return loop.deferred.complete(then, nil) }
        name.withBytes { bytes in
            tags.set(
                bytes,
                TagRecord(
                    digest: digest, resolvedAtSeconds: EventLoop.unixSeconds, checkedMilliseconds: checked))
        }
        guard !isClosing else { return loop.deferred.complete(then, .closed) }
        noteCheck(name, at: checked)
        if let former, former.digest != digest { nameFormer(former.digest, of: name) }
        if former?.digest == digest, !unsavedTags.contains(name) { return loop.deferred.complete(then, nil) }
        let write = Publisher.Write(
            directory: layout.tagDirectory(name), name: tag, content: .bytes(Layout.tagContent(digest)))
        evictionBackOff.mayLeave(inMilliseconds: millisecondsToLeaseEnd(of: digest), now: loop.nowMilliseconds)
        pruning?.namedRepositories.insert("\(host)/\(repository)")
        workBegins()
        unsavedTags.insert(name)
        publish(write) { [self] outcome in
            contentCount &+= 1
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
        publish(write) { [self] outcome in
            contentCount &+= 1
            if let error = outcome.error {
                noteFailure(error)
                let state = outcome.isNamed ? "may be lost by a crash" : "is not on disk"
                logger.error("store: \(host)/\(repository)@\(digest) \(state): \(error)")
            }
            then(outcome.error)
            workEnds()
        }
    }

    /// Gives the manifest that a tag meant a name by digest: a manifest without any name would never be removed.
    private func nameFormer(_ digest: Digest, of name: TagName) {
        guard manifests[digest] != nil || !isRecovered else { return }
        noteDigest(host: name.host, repository: name.repository, digest: digest)
    }

    /// Records that the upstream has confirmed a tag, if the tag still has this digest and was not checked later.
    /// - Parameter checked: when the upstream was asked, on `tagClock`.
    package func confirmTag(
        host: RegistryHost, repository: RepositoryName, tag: String, digest: Digest, checked: Int64
    ) {
        let name = TagName(host: host, repository: repository, tag: tag)
        guard !isClosing, means(name, digest, since: checked) else { return }
        let record = TagRecord(digest: digest, resolvedAtSeconds: EventLoop.unixSeconds, checkedMilliseconds: checked)
        name.withBytes { tags.set($0, record) }
        noteCheck(name, at: checked)
    }

    /// Whether a tag has this digest, and was not checked after this moment.
    private func means(_ name: TagName, _ digest: Digest, since checked: Int64) -> Bool {
        name.withBytes { tags.record($0) }.map { $0.digest == digest && $0.checkedMilliseconds <= checked } ?? false
    }

    /// Removes a tag, if it still has this digest and was not checked later. Its manifest keeps a name by digest.
    /// - Parameter checked: when the upstream was asked, on `tagClock`.
    package func removeTag(
        host: RegistryHost, repository: RepositoryName, tag: String, digest: Digest, checked: Int64
    ) {
        let name = TagName(host: host, repository: repository, tag: tag)
        guard !isClosing, means(name, digest, since: checked) else { return }
        nameFormer(digest, of: name)
        name.withBytes { tags.remove($0) }
        unsavedTags.remove(name)
        tagChecks.unwritten[name] = nil
        let (path, directory) = (layout.tag(name), layout.tagDirectory(name))
        workBegins()
        // After the writes of this tag that are under way.
        publisher.whenWritten { [self] in
            guard name.withBytes({ tags.record($0) }) == nil else { return workEnds() }
            publisher.exclusively({ () throws(StoreError) in
                try Disk.unlink(path)
                try Disk.syncDirectory(directory)
            }) { [self] (result: Result<Void, StoreError>) in
                if let error = result.failure { logger.error("store: tag \(name) cannot be removed: \(error)") }
                workEnds()
            }
        }
    }

    /// Adds a tag from the disk, unless memory has a newer one.
    func addTag(_ name: TagName, _ record: TagRecord) {
        onHostKnown?(name.host)
        var record = record
        record.resolvedAtSeconds = lastCheck(name, record)
        // A check that seems to be in the future was recorded with a wrong clock, and says nothing of the tag's age.
        let isPlausible = CheckFile.isPlausible(record.resolvedAtSeconds, now: EventLoop.unixSeconds)
        record.checkedMilliseconds = tagClock(ofSeconds: isPlausible ? record.resolvedAtSeconds : 0)
        name.withBytes { bytes in
            if tags.record(bytes) == nil { tags.set(bytes, record) }
        }
    }

    private func finishReading(_ name: TagName, _ path: String, _ result: Result<TagRecord, StoreError>) -> TagRecord? {
        if let newer = name.withBytes({ tags.record($0) }) { return newer }
        switch result {
        case .success(let record):
            addTag(name, record)
            return name.withBytes { tags.record($0) }
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
