// Most of what a cached answer costs outside the kernel is finding out what is meant: taking the target apart, checking
// each part, and three lookups. Clients of one image send the same targets, byte for byte, so what they meant is
// remembered with them: one lookup takes the place of all that, a third of the instructions of a request.
//
// What a target means depends on its bytes, and on what the caches and the tags' index hold. Those count what leaves
// them (`Store.CacheGeneration`): as long as that number is the same, so is the answer.

internal import BasicContainers
internal import OCI

/// Answers given from memory, by the target that they answered.
struct RecentAnswers: ~Copyable {
    /// Enough for the images of a busy hour; 288 KiB, and the targets' bytes.
    static let slotCount = 4096
    /// Longer ones are rare, and not worth their memory.
    static let maximumTargetBytes = 256

    /// What was answered, and for which upstream. The caches and this table hold them.
    struct Answer: BitwiseCopyable {
        enum Content: BitwiseCopyable {
            case manifest(Unmanaged<CachedManifest>)
            case blob(Unmanaged<CachedBlob>)
        }

        let content: Content
        /// Where in its cache it is.
        let position: Int
        let host: Unmanaged<HostTable.Entry>
        /// Whether the request named the host by `ns`, which is then echoed.
        let echoesHost: Bool

        /// What has left where this was found.
        @inline(__always)
        fileprivate func generation(_ all: Store.CacheGeneration) -> UInt64 {
            if case .manifest = content { all.manifests } else { all.blobs }
        }
    }

    private struct Slot: BitwiseCopyable {
        var target = UnsafeRawBufferPointer(start: nil, count: 0)
        var answer: Answer?
        var generation: UInt64 = 0
        /// Whether it has answered since another one wanted its place: that one is turned away, once.
        var wasUsed = false
    }

    private var slots = UniqueArray<Slot>(repeating: Slot(), count: slotCount)
    private let hash = KeyedHash()

    deinit {
        for index in 0..<slots.count { RecentAnswers.release(slots[index]) }
    }

    /// What such a request was answered with, if that still holds. No allocation.
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

    /// Which of its two places a target is given: where it is; else where nothing holds; else where something has not
    /// been used since another wanted its place. What has been used stays, once.
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

    /// The other place of what is at home in one: two that meet would else take turns, each time on the longer way.
    @inline(__always)
    private static func beside(_ home: Int) -> Int { home ^ 1 }

    @inline(__always)
    private func home(_ target: UnsafeRawBufferPointer) -> Int {
        Int(hash.of(target)) & (RecentAnswers.slotCount &- 1)
    }
}

extension API {
    /// Answers a request as the one before with the same target was, where that can be done from memory.
    /// - Returns: false when it has not been answered.
    @inline(__always)
    func answerAgain(_ connection: Connection, _ head: RequestHead, _ bytes: UnsafeRawBufferPointer) -> Bool {
        guard head.asksForWhole, head.registryHeader == nil,
            let answer = recentAnswers.answer(to: head.target.in(bytes), generation: store.generation)
        else { return false }
        return answer.host._withUnsafeGuaranteedRef { host in
            switch answer.content {
            case .manifest(let manifest):
                return manifest._withUnsafeGuaranteedRef { manifest in
                    // Whether the image is whole is looked at on the longer way.
                    guard manifest.nextWholeCheckMilliseconds > loop.nowMilliseconds else { return false }
                    count(connection, .manifest)
                    store.manifestCache.use(at: answer.position)
                    if answer.echoesHost { connection.extraField = host.namespaceField }
                    give(connection, manifest, host)
                    return true
                }
            case .blob(let blob):
                return blob._withUnsafeGuaranteedRef { blob in
                    count(connection, .blob)
                    store.smallBlobs.use(at: answer.position)
                    if answer.echoesHost { connection.extraField = host.namespaceField }
                    give(connection, blob)
                    return true
                }
            }
        }
    }

    /// Remembers that a request was answered with what is in memory.
    func note(_ connection: Connection, _ request: Request, _ content: RecentAnswers.Answer.Content, position: Int?) {
        guard let position, request.head.registryHeader == nil else { return }
        let answer = RecentAnswers.Answer(
            content: content, position: position, host: .passUnretained(request.target.host),
            echoesHost: !connection.extraField.isEmpty)
        recentAnswers.note(answer, to: request.head.target.in(request.bytes), generation: store.generation)
    }
}

extension RequestHead {
    /// A GET or HEAD without a precondition or a range.
    fileprivate var asksForWhole: Bool {
        (method == .get || method == .head) && range == nil && ifNoneMatch == nil
    }
}
