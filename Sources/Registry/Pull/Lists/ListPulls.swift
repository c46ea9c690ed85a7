// The lists that are being fetched, each once, and the lists that are too long to be kept.

internal import Logging
internal import OCI

extension Puller {
    /// Lists known to be too long; clients name repositories freely.
    static let maximumLongLists = 1024
    /// How long a list counts as too long before its pages are gathered again.
    static let longListMilliseconds: UInt64 = 300_000

    /// Pause after a failure before a list that the cache has is asked for again: clients ask for each list several
    /// times, and each would wait for an upstream that is away.
    static let listFailurePauseMilliseconds: UInt64 = 10_000
    /// Lists in such a pause. Beyond it each is asked for with every request.
    static let maximumListFailures = 1024

    /// Fetches a list from its upstream and keeps it; calls made meanwhile share the answer.
    /// - Parameters:
    ///   - kept: the list that the cache has. A client that can get it does not wait for the end of the repository's
    ///     pause after a 429.
    ///   - then: called later. The list is in the store by then.
    package func list(
        _ name: ListName, from source: PullSource, replacing kept: KeptList? = nil,
        then: @escaping (Result<KeptList, ListFailure>) -> Void
    ) {
        if let running = listGathers[name] { return running.join(then) }
        if let end = longLists[name] {
            if context.loop.nowMilliseconds < end { return context.loop.deferred.complete(then, .failure(.tooLarge)) }
            longLists[name] = nil
        }
        if kept != nil, let (end, error) = listFailures[name] {
            if context.loop.nowMilliseconds < end {
                return context.loop.deferred.complete(then, .failure(.failed(error)))
            }
            listFailures[name] = nil
        }
        let gather = ListGather(name, source: source, puller: self, replacing: kept) { [self] outcome in
            listGathers[name] = nil
            listEnded(name, outcome, replacing: kept)
        }
        gather.join(then)
        listGathers[name] = gather
        gather.start()
    }

    private func listEnded(
        _ name: ListName, _ outcome: Result<KeptList, ListFailure>, replacing kept: KeptList?
    ) {
        switch outcome {
        case .success(let list):
            let result: ListRevalidation = kept.map { $0.pages == list.pages ? .unchanged : .changed } ?? .new
            context.metrics.lists.revalidated(name.kind.endpoint, result)
            context.store.putList(name, list)
            listFailures[name] = nil
        case .failure(.tooLarge):
            if longLists.count >= Puller.maximumLongLists { longLists = [:] }
            longLists[name] = context.loop.nowMilliseconds + Puller.longListMilliseconds
            context.logger.info("a list is too long to be kept, and is passed through", metadata: ["list": "\(name)"])
        case .failure(.failed(let error)):
            if kept != nil, OfflineReason(error) != nil {
                if listFailures.count >= Puller.maximumListFailures { listFailures = [:] }
                listFailures[name] = (
                    context.loop.nowMilliseconds + Puller.listFailurePauseMilliseconds, error
                )
            }
            context.metrics.lists.revalidated(name.kind.endpoint, .failed)
        }
    }
}

extension ListName.Kind {
    /// The endpoint that answers with such a list, for counts.
    package var endpoint: Endpoint { self == .tags ? .tags : .referrers }
}

/// The bytes of the lists that are being fetched. A list that finds no room fails, since two that wait for each other
/// would not end.
struct GatheredLists {
    /// Bytes of each list that need no room: nearly every list is shorter, so slow long ones do not stop it. The limits
    /// of requests bound their sum.
    static let freeBytes = 64 * 1024
    /// Bytes of all lists, and of those of one host: a slow upstream leaves room for others.
    static let maximumBytes = 4 * KeptList.maximumBytes
    static let maximumBytesPerHost = 2 * KeptList.maximumBytes

    private var byList: [ListName: Int] = [:]
    private var byHost: [RegistryHost: Int] = [:]
    private(set) var bytes = 0

    var isEmpty: Bool { byList.isEmpty && byHost.isEmpty && bytes == 0 }

    /// Records bytes of a list.
    /// - Returns: false if there is no room for them.
    mutating func add(_ count: Int, to name: ListName) -> Bool {
        let before = byList[name, default: 0]
        let after = before.addingSaturated(count)
        let more = GatheredLists.counted(after).subtractingSaturated(GatheredLists.counted(before))
        let ofHost = byHost[name.host, default: 0].addingSaturated(more)
        let total = bytes.addingSaturated(more)
        guard more == 0 || (total <= GatheredLists.maximumBytes && ofHost <= GatheredLists.maximumBytesPerHost) else {
            return false
        }
        byList[name] = after
        if ofHost > 0 { byHost[name.host] = ofHost }
        bytes = total
        return true
    }

    /// Forgets a list that has ended.
    mutating func remove(_ name: ListName) {
        let counted = GatheredLists.counted(byList.removeValue(forKey: name) ?? 0)
        bytes = bytes.subtractingSaturated(counted)
        let ofHost = byHost[name.host, default: 0].subtractingSaturated(counted)
        byHost[name.host] = ofHost > 0 ? ofHost : nil
    }

    /// The part of a list's bytes that needs room.
    private static func counted(_ bytes: Int) -> Int { max(0, bytes.subtractingSaturated(freeBytes)) }
}
