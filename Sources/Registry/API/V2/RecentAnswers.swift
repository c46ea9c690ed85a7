// Most of a hit's cost outside the kernel is interpreting the target: splitting it, checking each part, and three
// look-ups. Clients of one image send the same targets, byte for byte, so this table maps a target's bytes to the
// earlier answer: one look-up replaces those steps and saves a third of a request's instructions.
//
// An answer depends on the target's bytes and on the content of the caches and of the tags' index. Those count their
// removals (`Store.CacheGeneration`): while the number is unchanged, the answer is valid.

internal import BasicContainers
internal import OCI

/// Answers from memory, by request target.
struct RecentAnswers: ~Copyable {
    /// Enough for the images of a busy hour; 352 KiB plus the targets' bytes.
    static let slotCount = 4096
    /// Longest target remembered; longer ones are rare and not worth their memory.
    static let maximumTargetBytes = 256

    /// When a tag was checked, and until when its answer may be repeated, on the store's `tagClock`.
    struct TagTimes: BitwiseCopyable {
        var checkedMilliseconds: Int64
        var freshUntil: Int64

        /// The times of an answer by digest.
        static let none = TagTimes(checkedMilliseconds: .max, freshUntil: .max)

        @inline(__always)
        var isOfTag: Bool { checkedMilliseconds != .max }
    }

    /// The content and upstream of an answer. The caches and this table retain them.
    struct Answer: BitwiseCopyable {
        enum Content: BitwiseCopyable {
            case manifest(Unmanaged<CachedManifest>)
            case blob(Unmanaged<CachedBlob>)
            /// A blob that is sent from its file.
            case file(Unmanaged<OpenFile>)
        }

        let content: Content
        /// Its position in its cache.
        let position: Int
        let host: Unmanaged<HostTable.Entry>
        /// Whether the request named the host by `ns`, which is then echoed.
        let echoesHost: Bool
        /// How long the answer may be repeated although images are not whole. Of a manifest: until when. Its image was
        /// checked for this target, which names one repository. Of a blob: while no further image is noted
        /// (`IncompleteImages.notedCount`), since it is a layer of none.
        var checked: UInt64 = 0
        var tag = TagTimes.none

        /// The generation of the cache that holds the content.
        @inline(__always)
        fileprivate func generation(_ all: Store.CacheGeneration) -> UInt64 {
            switch content {
            case .manifest: all.manifests
            case .blob: all.blobs
            case .file: all.files
            }
        }
    }

    private struct Slot: BitwiseCopyable {
        var target = UnsafeRawBufferPointer(start: nil, count: 0)
        var answer: Answer?
        var generation: UInt64 = 0
        /// Whether it was used since another target last competed for its slot; that protects it once.
        var wasUsed = false
    }

    private var slots = UniqueArray<Slot>(repeating: Slot(), count: slotCount)
    private let hash = KeyedHash()

    deinit {
        for index in 0..<slots.count { RecentAnswers.release(slots[index]) }
    }

    /// The earlier answer to this target, if it is still valid. No allocation.
    @inline(__always)
    mutating func answer(to target: UnsafeRawBufferPointer, generation: Store.CacheGeneration) -> Answer? {
        let home = home(target)
        return answer(at: home, to: target, generation)
            ?? answer(at: RecentAnswers.beside(home), to: target, generation)
    }

    @inline(__always)
    private mutating func answer(
        at index: Int, to target: UnsafeRawBufferPointer, _ generation: Store.CacheGeneration
    ) -> Answer? {
        guard let answer = slots[index].answer, slots[index].generation == answer.generation(generation),
            slots[index].target.equals(target)
        else { return nil }
        if !slots[index].wasUsed { slots[index].wasUsed = true }
        return answer
    }

    /// Remembers an answer.
    mutating func note(_ answer: Answer, to target: UnsafeRawBufferPointer, generation: Store.CacheGeneration) {
        guard !target.isEmpty, target.count <= RecentAnswers.maximumTargetBytes,
            let index = place(for: target, generation)
        else { return }
        var slot = slots[index]
        if !slot.target.equals(target) {
            let copy = UnsafeMutableRawBufferPointer.allocate(byteCount: target.count, alignment: 8)
            copy.copyMemory(from: target)
            slot.target.deallocate()
            slot.target = UnsafeRawBufferPointer(copy)
            slot.wasUsed = false
        }
        _ = answer.host.retain()
        slot.answer?.host.release()
        slot.answer = answer
        slot.generation = answer.generation(generation)
        slots[index] = slot
    }

    /// Chooses one of a target's two slots: the one with this target, otherwise an invalid one, otherwise one that was
    /// not used since the last competition. If both were used, they are kept this time and the result is nil.
    private mutating func place(for target: UnsafeRawBufferPointer, _ generation: Store.CacheGeneration) -> Int? {
        let home = home(target)
        let other = RecentAnswers.beside(home)
        if slots[home].target.equals(target) { return home }
        if slots[other].target.equals(target) { return other }
        if !holds(home, generation) { return home }
        if !holds(other, generation) { return other }
        if !slots[home].wasUsed { return home }
        if !slots[other].wasUsed { return other }
        slots[home].wasUsed = false
        slots[other].wasUsed = false
        return nil
    }

    private func holds(_ index: Int, _ generation: Store.CacheGeneration) -> Bool {
        guard let answer = slots[index].answer else { return false }
        return slots[index].generation == answer.generation(generation)
    }

    private static func release(_ slot: Slot) {
        slot.target.deallocate()
        slot.answer?.host.release()
    }

    /// The second slot of a target: otherwise two targets of one slot would keep replacing each other.
    @inline(__always)
    private static func beside(_ home: Int) -> Int { home ^ 1 }

    @inline(__always)
    private func home(_ target: UnsafeRawBufferPointer) -> Int {
        Int(hash.of(target)) & (RecentAnswers.slotCount &- 1)
    }
}

extension API {
    /// Answers a request from memory like the earlier request with the same target, if possible.
    /// - Returns: whether the request was answered.
    @inline(__always)
    func answerAgain(_ connection: Connection, _ head: RequestHead, _ bytes: UnsafeRawBufferPointer) -> Bool {
        guard head.asksForWhole, head.registryHeader == nil,
            let answer = recentAnswers.answer(to: head.target.in(bytes), generation: store.generation)
        else { return false }
        return answer.host._withUnsafeGuaranteedRef { host in
            switch answer.content {
            case .manifest(let manifest):
                return manifest._withUnsafeGuaranteedRef { manifest in
                    // The slower path checks whether the image is complete.
                    let now = loop.nowMilliseconds
                    guard manifest.nextWholeCheckMilliseconds > now || answer.checked > now else {
                        return false
                    }
                    if answer.tag.isOfTag {
                        let clock = store.tagClock(at: now)
                        guard clock < answer.tag.freshUntil else { return false }
                        metrics.tags.served(ageMilliseconds: clock &- answer.tag.checkedMilliseconds)
                    }
                    count(connection, .manifest)
                    store.manifestCache.use(at: answer.position)
                    if answer.echoesHost { connection.extraField = host.namespaceField }
                    give(connection, manifest, host)
                    return true
                }
            case .blob(let blob):
                // The slower path prefetches the rest of an image that is not whole.
                guard answer.checked == puller.incompleteImages.notedCount else { return false }
                return blob._withUnsafeGuaranteedRef { blob in
                    count(connection, .blob)
                    store.smallBlobs.use(at: answer.position)
                    if answer.echoesHost { connection.extraField = host.namespaceField }
                    give(connection, blob)
                    return true
                }
            case .file(let file):
                guard answer.checked == puller.incompleteImages.notedCount else { return false }
                return file._withUnsafeGuaranteedRef { file in
                    count(connection, .blob)
                    store.openFiles.use(at: answer.position)
                    store.touch(file, store.openFiles.digest(at: answer.position))
                    if answer.echoesHost { connection.extraField = host.namespaceField }
                    connection.respond(file: file, fields: file.responseFields, verdict: .hit) {
                        pullInstead(connection, head, bytes)
                    }
                    return true
                }
            }
        }
    }

    /// The retry for a request whose cached blob turns out to be damaged.
    private func pullInstead(
        _ connection: Connection, _ head: RequestHead, _ bytes: UnsafeRawBufferPointer
    ) -> Connection.Retry {
        var retry: Connection.Retry = { $0.respond(.unavailable("the content cannot be read now")) }
        withPath(connection, head, bytes) { path in
            let route = Route(path)
            guard let digest = Digest(ascii: route.reference),
                let (host, name) = try? upstream(connection, route, head, bytes),
                let target = try? Target(host, name)
            else { return }
            retry = pullInstead(connection, digest, Request(route: route, target: target, head: head, bytes: bytes))
        }
        return retry
    }

    /// Remembers that a request was answered from memory.
    /// - Parameters:
    ///   - digest: the blob's; nil for a manifest.
    ///   - tag: when the request's tag was checked; nil for a request by digest.
    func note(
        _ connection: Connection, _ request: Request, _ content: RecentAnswers.Answer.Content, position: Int?,
        digest: Digest? = nil, tag: RecentAnswers.TagTimes? = nil
    ) {
        guard let position, request.head.registryHeader == nil else { return }
        var answer = RecentAnswers.Answer(
            content: content, position: position, host: .passUnretained(request.target.host),
            echoesHost: !connection.extraField.isEmpty)
        if let tag { answer.tag = tag }
        switch content {
        // A HEAD checks nothing.
        case .manifest where request.isHead: break
        case .manifest: answer.checked = loop.nowMilliseconds &+ Puller.wholeCheckPauseMilliseconds
        case .blob, .file:
            let isLayer = digest.map { puller.mayCompleteImage($0) } ?? true
            answer.checked = isLayer ? .max : puller.incompleteImages.notedCount
        }
        recentAnswers.note(answer, to: request.head.target.in(request.bytes), generation: store.generation)
    }
}

extension RequestHead {
    /// Whether it is a GET or HEAD without a precondition or a range, for which a cached answer is good enough.
    fileprivate var asksForWhole: Bool {
        (method == .get || method == .head) && range == nil && ifNoneMatch == nil && !refusesCached
    }
}
