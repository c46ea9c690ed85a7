// A latch that holds threads of the pool.

import Foundation

/// A latch that jobs wait at.
final class Gatekeeper: @unchecked Sendable {
    // Sendable by the lock.
    private let lock = NSCondition()
    private var isOpen = false

    func pass() {
        lock.lock()
        while !isOpen { lock.wait() }
        lock.unlock()
    }

    func open() {
        lock.lock()
        isOpen = true
        lock.broadcast()
        lock.unlock()
    }
}
