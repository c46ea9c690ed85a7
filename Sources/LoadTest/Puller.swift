// A client that pulls one whole image after another over one kept connection: the manifest by its tag, then config and
// layers, each when the one before has come. (containerd asks for layers side by side; here the pullers are.)

import Registry

final class Puller: AnswerHandler {
    private unowned let crowd: Crowd
    private let connection: ClientConnection
    private var image = 0
    private var step = 0
    private var isHashed = false
    private var isLeaving = false
    private var begunNanoseconds: UInt64 = 0

    init(_ crowd: Crowd, _ connection: ClientConnection) {
        self.crowd = crowd
        self.connection = connection
    }

    /// Since when an answer has been waited for, on the loop's clock.
    var askedMilliseconds: UInt64? { connection.askedMilliseconds }

    /// Begins the next image, if there is one.
    func next() {
        guard !isLeaving else { return crowd.leave(self) }
        guard let image = crowd.take(self) else { return }
        self.image = image
        isHashed = crowd.hashesNext()
        step = crowd.catalog.images[image].steps.lowerBound
        begunNanoseconds = EventLoop.nowNanoseconds
        ask()
    }

    /// Ends when the image under way has been pulled; at once when it is idle.
    func stop(isIdle: Bool) {
        isLeaving = true
        if isIdle { crowd.leave(self) }
    }

    func close() { connection.close() }

    func timeOut() { connection.fail(Puller.lateness) }

    private static let lateness = "no answer in time"

    private func ask() { connection.ask(crowd.catalog.request(step), keepsBody: isHashed, handler: self) }

    func answered(status: Int, sizeBytes: Int, body: [UInt8]) {
        crowd.tally.add(answerBytes: sizeBytes)
        let wanted = crowd.catalog.steps[step]
        guard status == 200 else { return wrong(.status, "status \(status)") }
        guard sizeBytes == wanted.sizeBytes else {
            return wrong(.length, "\(sizeBytes) bytes, not \(wanted.sizeBytes)")
        }
        if isHashed, body.withUnsafeBytes({ SHA256.hash($0) }) != wanted.digest {
            return wrong(.hash, "does not hash to \(wanted.digest)")
        }
        step += 1
        guard step == crowd.catalog.images[image].steps.upperBound else { return ask() }
        crowd.tally.add(pull: EventLoop.nowNanoseconds - begunNanoseconds, isHashed: isHashed)
        crowd.ended(image)
        next()
    }

    func failed(_ reason: String) {
        crowd.note(reason == Puller.lateness ? .timeout : .broken, crowd.catalog.path(step), reason)
        crowd.ended(image)
        if isLeaving { crowd.leave(self) } else { crowd.rest(self) }
    }

    /// The rest of the image is not asked for: it would be of no use.
    private func wrong(_ fault: Fault, _ reason: String) {
        crowd.note(fault, crowd.catalog.path(step), reason)
        crowd.ended(image)
        next()
    }
}
