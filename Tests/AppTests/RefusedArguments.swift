// How a command line is refused.

import ArgumentParser

@testable import App

/// The error's first line, as printed, and its exit status; nil when the arguments are accepted.
func parseRefusal(_ arguments: [String]) -> (message: String, status: Int32)? {
    do {
        _ = try OCIRegistry.parseAsRoot(arguments)
        return nil
    } catch {
        return (OCIRegistry.message(for: error), OCIRegistry.exitCode(for: error).rawValue)
    }
}
