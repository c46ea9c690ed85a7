// The events and actions of a PullMachine.

package import OCI

extension PullMachine {
    /// The parts of an upstream's answer that a pull needs.
    package struct Answer: Sendable, Equatable {
        package var status: Int
        package var contentLength: Int64?
        /// `Content-Range` of a 206: first byte and total, where stated; of a 416 only the total.
        package var rangeFirst: Int64?
        package var rangeTotal: Int64?
        /// The end of the requested range; nil when the rest of the content was requested.
        package var requestedEnd: Int64?

        package init(
            status: Int, contentLength: Int64? = nil, rangeFirst: Int64? = nil, rangeTotal: Int64? = nil,
            requestedEnd: Int64? = nil
        ) {
            self.requestedEnd = requestedEnd
            self.status = status
            self.contentLength = contentLength
            self.rangeFirst = rangeFirst
            self.rangeTotal = rangeTotal
        }
    }

    package enum Event: Sendable, Equatable {
        /// The file is open and holds this many hashed bytes of an earlier pull.
        case opened(offset: Int64)
        /// The final answer's head, after tokens and redirects.
        case answered(Answer)
        /// Room is reserved: for the whole, or for the beginning of a body of unknown length.
        case reserved
        /// The upstream's body ended; `total` bytes are in the file or on their way to it.
        case bodyEnded(total: Int64)
        /// The file has the bytes up to `position`, and a span that was requested ahead begins there.
        case reachedSpan(position: Int64)
        /// The span's bytes, up to `position`, are hashed and belong to the content.
        case tookSpan(position: Int64)
        /// The exchange failed before or during the body; `received` bytes are in the file or on their way to it.
        case broke(RegistryError, received: Int64)
        /// The upstream refused the request (404, 403 and the like). A retry would not help.
        case refused(RegistryError)
        /// The upstream answered 429, or did so shortly before, in which case no request was sent.
        /// - Parameter canWait: whether the pause ends while clients still wait.
        case rateLimited(RegistryError, canWait: Bool)
        case backOffElapsed
        /// Whether the hash of the whole file equals the digest.
        case verified(Bool)
        case committed
        /// The store could not write, reserve, verify or commit.
        case storeFailed(RegistryError)
    }

    package enum Action: Sendable, Equatable {
        /// Request the bytes from this offset on (0: all of them).
        case request(offset: Int64)
        /// Skip this many received bytes, which are already in the file.
        case skip(Int64)
        /// Announce the size to the readers (nil: unknown until the end) and let them begin.
        case announce(sizeBytes: Int64?)
        /// Reserve this many bytes in total; nil: for a body of unknown length, as it grows.
        case reserve(Int64?)
        /// Hash the span that begins here, when its request has ended.
        case takeSpan(position: Int64)
        /// Cancel the exchange, whose answer is not used.
        case dropExchange
        case backOff(milliseconds: UInt64)
        /// Wait for the end of the repository's pause, then report `backOffElapsed`.
        case waitForPause
        case verify
        /// Begin a new, empty file; end the readers that were given bytes of the old one.
        case startOver
        /// Give the readers the last byte, and the file its final name.
        case commit
        /// The blob is stored and the pull has ended.
        case finish
        /// The pull has failed: end every reader. The received bytes are kept for a later pull, or discarded.
        case fail(RegistryError, keepPartial: Bool)
    }
}
