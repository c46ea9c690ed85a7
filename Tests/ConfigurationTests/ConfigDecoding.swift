// Decodes configurations for the tests, and gives the problems as they are printed.

@testable import Configuration

/// The configuration of a file `c.yaml` with this text.
func decode(_ yaml: String, environment: [String: String] = [:]) throws(ConfigError) -> Config {
    try ConfigDecoder.decode(yaml: Array(yaml.utf8), file: "c.yaml") { environment[$0] }
}

/// What is printed for a file `c.yaml` with this text; empty when it is accepted.
func complaint(_ yaml: String, environment: [String: String] = [:]) -> String {
    do throws(ConfigError) {
        _ = try decode(yaml, environment: environment)
        return ""
    } catch {
        return error.description
    }
}
