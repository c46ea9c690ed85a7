// The responses to `POST /cmd/reload`: one fact a line, or JSON. Pure.

internal import Configuration
internal import OCI

enum ReloadText {
    /// A line for each changed key, or for each problem.
    static func lines(_ outcome: Result<ConfigChanges, ConfigError>) -> String {
        switch outcome {
        case .failure(let error): return error.description + "\n"
        case .success(let changes):
            let lines =
                changes.used.map { "changed: \($0)" } + changes.needRestart.map { "needs a restart: \($0)" }
                + ["the configuration was reloaded"]
            return lines.joined(separator: "\n") + "\n"
        }
    }

    static func json(_ outcome: Result<ConfigChanges, ConfigError>) -> String {
        switch outcome {
        case .success(let changes):
            return "{\"changed\":\(list(changes.used)),\"needRestart\":\(list(changes.needRestart))}\n"
        case .failure(let error):
            return "{\"problems\":[\(error.problems.map(object).joined(separator: ","))]}\n"
        }
    }

    private static func list(_ keys: [String]) -> String {
        "[\(keys.map(RegistryError.quoted).joined(separator: ","))]"
    }

    private static func object(_ problem: ConfigError.Problem) -> String {
        let line = problem.line.map { "\($0)" } ?? "null"
        return "{\"file\":\(RegistryError.quoted(problem.file)),\"line\":\(line),"
            + "\"key\":\(RegistryError.quoted(problem.key)),\"reason\":\(RegistryError.quoted(problem.reason))}"
    }
}
