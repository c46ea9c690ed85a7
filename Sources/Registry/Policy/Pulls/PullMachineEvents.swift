// The input and output of a PullMachine: the events of one blob pull, and the actions to perform.

package import OCI

extension PullMachine {
    /// The upstream's answer to a request, as far as it matters to a pull.
    package struct Answer: Sendable, Equatable {
        package var status: Int
        package var contentLength: Int64?
        /// A 206's `Content-Range`: first byte and total, where stated; a 416's total alone.
        package var rangeFirst: Int64?
        package var rangeTotal: Int64?

        package init(status: Int, contentLength: Int64? = nil, rangeFirst: Int64? = nil, rangeTotal: Int64? = nil) {
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
        /// The upstream's body ended; the file and what is on its way to it come to `total` bytes.
        case bodyEnded(total: Int64)
        /// The exchange failed, before or amid the body; `received` bytes are in the file or on their way to it.
        case broke(RegistryError, received: Int64)
        /// The upstream refuses it: 404, 403 and the like. A retry would not help.
        case refused(RegistryError)
        /// The upstream answered 429, or did so shortly before and was not asked.
        /// - Parameter canWait: whether the pause ends while clients still wait.
        case rateLimited(RegistryError, canWait: Bool)
        case backOffElapsed
        /// The whole file's hash is, or is not, the digest.
        case verified(Bool)
        case committed
        /// The store could not write, reserve, verify or commit.
        case storeFailed(RegistryError)
    }

    package enum Action: Sendable, Equatable {
        /// Ask the upstream for the bytes from this offset on (0: all of it).
        case request(offset: Int64)
        /// The next bytes received are already in the file: pass over this many.
        case skip(Int64)
        /// Tell the readers the size (nil: unknown until the end) and let them begin.
        case announce(sizeBytes: Int64?)
        /// Keep room for so much in all; nil: for a body of unknown length, as it grows.
        case reserve(Int64?)
        /// Stop the exchange, whose answer is of no use.
        case dropExchange
        case backOff(milliseconds: UInt64)
        /// Wait for the end of the repository's pause, and report `backOffElapsed` then.
        case waitForPause
        case verify
        /// Begin a new, empty file; end the readers that were given bytes of the old one.
        case startOver
        case commit
        /// The pull has ended: the readers get the last byte.
        case finish
        /// The pull has failed: end every reader. The bytes so far are kept for a later pull, or are discarded.
        case fail(RegistryError, keepPartial: Bool)
    }
}
