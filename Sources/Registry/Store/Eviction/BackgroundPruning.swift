// Scheduled pruning by age while the server runs (`pruneConfig`).

package import Configuration
internal import Logging
internal import OCI

/// Prunes a store on a schedule.
package final class BackgroundPruning {
    /// Delay of the first run: short, so that a server that is restarted daily prunes at all, and long enough to serve
    /// the first clients undisturbed.
    static let firstMilliseconds: UInt64 = 60_000

    private let store: Store
    private let schedule: PruneSchedule
    private var timer: Timer?

    package init(_ store: Store, _ schedule: PruneSchedule) {
        self.store = store
        self.schedule = schedule
    }

    package func start() {
        let timer = Timer(on: store.loop) { [unowned self] in run() }
        let pause = UInt64(clamping: schedule.frequencySeconds).multipliedSaturated(by: 1000)
        timer.start(afterMilliseconds: min(BackgroundPruning.firstMilliseconds, pause), everyMilliseconds: pause)
        timer.unreference()
        self.timer = timer
    }

    package func close() {
        timer?.close()
        timer = nil
    }

    /// Runs one prune and logs its result; `then` gets whether it succeeded.
    package func run(then: @escaping (Bool) -> Void = { _ in }) {
        let (kind, isPinned, logger) = (schedule.kind, store.limits.isPinned, store.logger)
        let cutoff = EventLoop.unixSeconds - schedule.durationSeconds
        let age = OrphanAge(
            createdBefore: kind == .created ? cutoff : .max,
            usedBefore: kind == .accessed ? min(cutoff, store.leaseBegin) : store.leaseBegin)
        store.prune(
            selecting: { image in
                let seconds = kind == .accessed ? image.pulledSeconds : image.createdSeconds
                return try seconds < cutoff && !isPinned(image)
            }, limit: schedule.limit, dryRun: schedule.isDryRun,
            orphanAge: age,
            reporting: { BackgroundPruning.log($0, logger) }
        ) { result in
            if case .failure(let error) = result { logger.error("prune: \(error)") }
            then((try? result.get()) != nil)
        }
    }

    /// Runs off the loop, since there may be many images.
    private static func log(_ report: PruneReport, _ logger: Logger) {
        for image in report.images {
            let message: Logger.Message = report.isDryRun ? "prune: would remove" : "prune: removed"
            logger.info(message, metadata: ["image": "\(image.name)"])
        }
        for blob in report.orphans {
            let message: Logger.Message = report.isDryRun ? "prune: would remove" : "prune: removed"
            logger.info(message, metadata: ["blob": "\(blob.digest)"])
        }
        logger.notice(
            "prune",
            metadata: [
                "images": "\(report.images.count)", "blobs": "\(report.blobCount)", "bytes": "\(report.freedBytes)",
                "in_use": "\(report.skipped.count)", "dry_run": "\(report.isDryRun)",
            ])
    }
}
