// A client that pulls whole images over one kept connection: the manifest by its tag, then config and layers, one
// after the other. (containerd fetches layers concurrently; here the pullers provide the concurrency.)

import OCI
import Registry

final class Puller: AnswerHandler {
    private unowned let pool: ClientPool
    private let connection: ClientConnection
    private var image = 0
    private var step = 0
    private var isHashed = false
    private var isLeaving = false
    private var begunNanoseconds: UInt64 = 0

    init(_ pool: ClientPool, _ connection: ClientConnection) {
        self.pool = pool
        self.connection = connection
    }

    /// When the outstanding request was made, on the loop's clock.
    var askedMilliseconds: UInt64? { connection.askedMilliseconds }

    /// Begins the next image, if there is one.
    func next() {
        guard !isLeaving else { return pool.leave(self) }
        guard let image = pool.take(self) else { return }
        self.image = image
        isHashed = pool.hashesNext()
        step = pool.catalog.images[image].steps.lowerBound
        begunNanoseconds = EventLoop.nowNanoseconds
        ask()
    }

    /// Ends after the current image, or at once when the puller is idle.
    func stop(isIdle: Bool) {
        isLeaving = true
        if isIdle { pool.leave(self) }
    }

    func close() { connection.close() }

    func timeOut() { connection.fail(Puller.lateness) }

    private static let lateness = "no answer in time"

    private func ask() { connection.ask(pool.catalog.request(step), keepsBody: isHashed, handler: self) }

    func answered(status: Int, sizeBytes: Int, body: [UInt8]) {
        pool.tally.add(answerBytes: sizeBytes)
        let wanted = pool.catalog.steps[step]
        guard status == 200 else { return wrong(.status, "status \(status)") }
        guard sizeBytes == wanted.sizeBytes else {
            return wrong(.length, "\(sizeBytes) bytes, not \(wanted.sizeBytes)")
        }
        if isHashed, body.withUnsafeBytes({ SHA256.hash($0) }) != wanted.digest {
            return wrong(.hash, "does not hash to \(wanted.digest)")
        }
        step += 1
        guard step == pool.catalog.images[image].steps.upperBound else { return ask() }
        pool.tally.add(pull: EventLoop.nowNanoseconds - begunNanoseconds, isHashed: isHashed)
        pool.ended(image)
        next()
    }

    func failed(_ reason: String) {
        pool.note(reason == Puller.lateness ? .timeout : .broken, pool.catalog.path(step), reason)
        pool.ended(image)
        if isLeaving { pool.leave(self) } else { pool.rest(self) }
    }

    /// Skips the rest of the image after a fault.
    private func wrong(_ fault: Fault, _ reason: String) {
        pool.note(fault, pool.catalog.path(step), reason)
        pool.ended(image)
        next()
    }
}
