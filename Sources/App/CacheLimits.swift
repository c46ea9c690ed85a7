// Converts the configured cache life to the store's limits, for the server and for the commands that open the store
// themselves.

import Configuration
import Registry

extension StoreLimits {
    /// - Throws: when the pattern of pinned images is invalid.
    init(_ config: Config) throws {
        self.init()
        budget = config.budget
        leaseSeconds = config.leaseSeconds
        guard let text = config.pinned else { return }
        let pattern = try Pattern(text)
        isPinned = { try pattern.matches($0.name) }
    }
}
