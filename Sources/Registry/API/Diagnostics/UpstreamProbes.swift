// Whether the configured registries can be reached: name, connection, TLS, credentials and token, by a request for
// `/v2/`, which counts in no registry's quota.

internal import OCI

/// Asks every configured registry once.
final class UpstreamProbes {
    typealias Check = DiagnosticReport.Check

    /// Registries that are asked, and those that are asked at the same time.
    static let maximumHosts = 32
    static let maximumConcurrent = 8
    /// How long a registry is waited for.
    static let deadlineMilliseconds: UInt64 = 10_000
    /// The answer to a ping is empty or `{}`.
    private static let limitBytes = 64 * 1024
    private static let memoryBytes = 1024 * 1024

    private let client: UpstreamClient
    private let memory: MemoryBudget
    private var waiting: ArraySlice<RegistryHost> = []
    private var running: [RegistryHost: BufferedFetch] = [:]
    private var checks: [Check] = []
    private var isDefault = false
    private var then: (([Check]) -> Void)?

    init(_ client: UpstreamClient) {
        self.client = client
        memory = MemoryBudget(on: client.loop, limitBytes: UpstreamProbes.memoryBytes)
    }

    /// Asks, and calls `then` with a check for each registry. Without a configured one, Docker Hub is asked. One run at
    /// a time.
    func run(then: @escaping ([Check]) -> Void) {
        let hosts = client.configuredHosts
        isDefault = hosts.isEmpty && client.upstream(for: .dockerHub).config == nil
        checks = []
        self.then = then
        waiting = (hosts.isEmpty ? [.dockerHub] : hosts).prefix(UpstreamProbes.maximumHosts)
        startNext()
    }

    private func startNext() {
        while running.count < UpstreamProbes.maximumConcurrent, let host = waiting.popFirst() { ask(host) }
        guard running.isEmpty, waiting.isEmpty, let then else { return }
        self.then = nil
        then(checks.sorted { $0.subject < $1.subject })
    }

    private func ask(_ host: RegistryHost) {
        let seconds = client.rateLimitSeconds[host]
        let start = client.loop.nowMilliseconds
        guard let repository = RepositoryName("ociregistry-canary/ping") else { return }
        var request = UpstreamRequest(method: .get, path: "/v2/", repository: repository, kind: .ping)
        request.waitsForPause = false
        running[host] = BufferedFetch(
            request, to: host, client: client, memory: memory, limitBytes: UpstreamProbes.limitBytes,
            deadlineMilliseconds: UpstreamProbes.deadlineMilliseconds
        ) { [self] result in
            running[host] = nil
            checks.append(check(host, result.map { _ in client.loop.nowMilliseconds &- start }, paused: seconds))
            startNext()
        }
    }

    private func check(_ host: RegistryHost, _ result: Result<UInt64, RegistryError>, paused: Int?) -> Check {
        func make(_ state: Check.State, _ message: String, _ remedy: String = "") -> Check {
            // Nobody has named Docker Hub here: a network without it is no fault.
            let state = isDefault && state == .failed ? .warning : state
            return Check(name: "upstream", subject: host.text, state, message, remedy: remedy)
        }
        switch result {
        case .success(let milliseconds):
            if let paused {
                return make(
                    .warning, "answers, and has asked for a pause: \(paused) s are left",
                    "use credentials with a higher limit, or longer times in tagPolicies")
            }
            guard let left = client.remainingPulls(of: host) else {
                return make(.ok, "answers in \(milliseconds) ms")
            }
            return make(
                left > 0 ? .ok : .warning, "answers in \(milliseconds) ms, \(left) pulls are left",
                left > 0 ? "" : "cached images are served; use credentials with a higher limit")
        case .failure(let error) where error.status == 429:
            return make(
                .warning, "asks for fewer requests (429)",
                "cached images are served; use credentials with a higher limit")
        case .failure(let error) where error.status == 403 && error.upstreamStatus == 401:
            return make(.failed, "refuses the credentials: \(error.reason)", "check auth of this registry")
        case .failure(let error):
            guard let details = error.internalMessage else { return make(.failed, error.reason, Cause.other.remedy) }
            // Addresses of this network, which such details have, are for the log alone.
            let cause = Cause(details)
            return make(.failed, "cannot be reached: \(cause.text); the server's log has the details", cause.remedy)
        }
    }

    /// Why an upstream cannot be reached, as far as clients are told.
    private enum Cause {
        case name, certificate, proxy, address, noAnswer, other

        /// - Parameter details: libcurl's text, or this server's.
        init(_ details: String) {
            let text = details.asciiLowercased
            if text.contains("resolve") || text.contains("lookup") {
                self = .name
            } else if text.contains("certificate") || text.contains("ssl") || text.contains("tls") {
                self = .certificate
            } else if text.contains("proxy") {
                self = .proxy
            } else if text.contains("may have such an address") {
                self = .address
            } else if text.contains("timed out") || text.contains("not answer") || text.contains("within") {
                self = .noAnswer
            } else {
                self = .other
            }
        }

        var text: String {
            switch self {
            case .name: "its name cannot be resolved"
            case .certificate: "TLS fails"
            case .proxy: "the proxy fails or refuses"
            case .address: "it leads to an address that is not allowed"
            case .noAnswer: "no answer"
            case .other: "no connection"
            }
        }

        var remedy: String {
            switch self {
            case .name: "check the name, and the name servers of the mirror's machine"
            case .certificate: "set tls.ca of this registry, and check the clock of the mirror's machine"
            case .proxy: "check proxy and noProxy in the mirror's configuration"
            case .address: "name the host in registries, see privateUpstreams"
            case .noAnswer, .other: "check the network between the mirror and the registry: firewall, proxy, noProxy"
            }
        }
    }
}
