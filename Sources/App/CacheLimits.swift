// From what the configuration says of the cache's life to what the store obeys: the same for the server and for the
// commands that open the store themselves.

import Configuration
import Registry

extension StoreLimits {
    /// - Throws: when the pattern of pinned images is none.
    init(_ config: Config) throws {
        self.init()
        budget = config.budget
        leaseSeconds = config.leaseSeconds
        guard let text = config.pinned else { return }
        let pattern = try Pattern(text)
        isPinned = { try pattern.matches($0.name) }
    }
}
