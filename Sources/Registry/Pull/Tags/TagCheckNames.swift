// Names and results of revalidations, for the log, the metrics and the decisions about policies.

internal import Configuration
internal import Logging
internal import OCI

extension TagChecks {
    /// Whether the pause after a failed revalidation lasts.
    func isPaused(_ name: TagName) -> Bool { failures[name].map { context.store.tagClock < $0.pauseEnd } ?? false }
}

extension TagChecks.Outcome {
    var result: TagCheckResult {
        switch self {
        case .unchanged: .unchanged
        case .moved: .moved
        case .held: .held
        case .failed(let failure, _): .failed(failure)
        }
    }
}

extension TagName {
    func metadata(_ further: Logger.Metadata) -> Logger.Metadata {
        further.merging(["host": "\(host)", "repository": "\(repository)", "tag": "\(tag)"]) { mine, _ in mine }
    }
}

extension TagPolicies: NameRules {
    func decide(_ name: TagName) -> TagPolicy {
        decide(host: name.host, repository: name.repository, tag: name.tag)
    }
}

extension TagName: DecidableName {
    func withText<R>(_ body: (UnsafeRawBufferPointer) -> R) -> R { withBytes { $0.withText(body) } }
}
