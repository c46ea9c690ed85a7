// What `GET /v2/_ociregistry/report` and `GET /v2/_ociregistry/canary/ID` answer. Both ends are this program: the
// server writes these, and `doctor` reads them.

/// The state of a server, as far as clients may know it.
package struct DiagnosticReport: Codable, Sendable, Equatable {
    /// One thing that has been checked.
    package struct Check: Codable, Sendable, Equatable {
        package enum State: String, Codable, Sendable { case ok, warning, failed }

        /// `store` or `upstream`.
        package var name: String
        /// The registry, for `upstream`; empty otherwise.
        package var subject: String
        package var state: State
        package var message: String
        /// What to do; empty where nothing has to be done.
        package var remedy: String

        package init(name: String, subject: String = "", _ state: State, _ message: String, remedy: String = "") {
            self.name = name
            self.subject = subject
            self.state = state
            self.message = message
            self.remedy = remedy
        }
    }

    package var version: String
    /// The server's clock, since 1970.
    package var unixMilliseconds: Int64
    package var checks: [Check]

    package init(version: String, unixMilliseconds: Int64, checks: [Check]) {
        self.version = version
        self.unixMilliseconds = unixMilliseconds
        self.checks = checks
    }

    /// Nil when the bytes are no report.
    package static func read(_ bytes: [UInt8]) -> DiagnosticReport? {
        NDJSONLine.decode(bytes, as: DiagnosticReport.self)
    }
}

/// The requests for one canary that have arrived.
package struct CanaryArrivals: Codable, Sendable, Equatable {
    /// How a request named the registry.
    package enum Naming: String, Codable, Sendable {
        /// The query `ns=`, as containerd sends it.
        case ns
        /// A host before `/v2`.
        case prefix
        /// The field `X-Registry`.
        case header
        /// The first part of the repository.
        case path
        /// Not at all; the configuration's `defaultNamespace` counts.
        case defaultNamespace
        /// Not at all, and there is no `defaultNamespace`: any other image would get 404.
        case none
    }

    /// One request.
    package struct Arrival: Codable, Sendable, Equatable {
        package var method: String
        /// `manifests/pull`, for example.
        package var request: String
        package var namedBy: Naming
        /// The registry that the request named; empty for `none`.
        package var host: String
        /// The address and port that the request came from.
        package var client: String
        package var userAgent: String
    }

    package var requests: [Arrival]

    /// Nil when the bytes are no such list.
    package static func read(_ bytes: [UInt8]) -> CanaryArrivals? {
        NDJSONLine.decode(bytes, as: CanaryArrivals.self)
    }
}
