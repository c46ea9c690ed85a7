// The mirror itself: whether it answers, what it says of its store and its upstreams, and whether its clock is right.

internal import Glibc
package import Registry

package typealias Check = DiagnosticReport.Check

struct MirrorChecks {
    /// Clocks that differ by more make certificates and tokens fail.
    static let clockWarningMilliseconds: UInt64 = 5_000
    static let clockFailureMilliseconds: UInt64 = 60_000
    /// A report waits for upstreams; the server ends it after a minute.
    private static let reportMilliseconds = 75_000

    let address: MirrorAddress
    let authorities: String?

    /// Whether the mirror has answered, and the lines so far.
    func run() -> (isReachable: Bool, checks: [Check]) {
        let start = now()
        do throws(HTTPFailure) {
            let answer = try get("/v2/", milliseconds: 10_000)
            let milliseconds = now() - start
            guard answer.status == 200 || answer.status == 401 else {
                return (
                    false,
                    [
                        server(
                            .failed, "answers \(answer.status) to /v2/, which no registry does",
                            "check the address: another program may listen there, or a proxy that cannot reach it")
                    ]
                )
            }
            let how = address.isSecure ? "over TLS, its certificate is trusted" : "over plain HTTP"
            return (true, [server(.ok, "answers in \(milliseconds) ms \(how)")] + report())
        } catch {
            return (false, [server(.failed, MirrorChecks.text(error), remedy(error))])
        }
    }

    /// The requests for a canary that have arrived; nil when the mirror does not say.
    func arrivals(of id: String) -> [CanaryArrivals.Arrival]? {
        guard let answer = try? get(DiagnosticsEndpoint.canaryPath + id, milliseconds: 10_000), answer.status == 200
        else { return nil }
        return CanaryArrivals.read(answer.body)?.requests
    }

    private func server(_ state: Check.State, _ message: String, _ remedy: String = "") -> Check {
        Check(name: "server", subject: address.url, state, message, remedy: remedy)
    }

    private func get(_ path: String, milliseconds: Int) throws(HTTPFailure) -> HTTPResponse {
        var request = HTTPRequest(address.url + path)
        request.authorities = authorities
        request.milliseconds = milliseconds
        return try HTTPExchange.perform(request)
    }

    private func report() -> [Check] {
        do throws(HTTPFailure) {
            let answer = try get(DiagnosticsEndpoint.reportPath, milliseconds: MirrorChecks.reportMilliseconds)
            if answer.status == 200, let report = DiagnosticReport.read(answer.body) {
                return [MirrorChecks.clock(report.unixMilliseconds, now: now())] + report.checks
            }
            guard answer.status == 404 || answer.status == 200 else {
                return [server(.warning, "returned \(answer.status) in place of a report", "see the server's log")]
            }
            return [
                server(
                    .warning, "returned no report",
                    "it is another program or an older version, or has diagnostics: false in its configuration")
            ]
        } catch {
            return [server(.warning, "returned no report: \(error.reason)", "see the server's log")]
        }
    }

    /// Compares the mirror's clock with this machine's; both in milliseconds since 1970.
    static func clock(_ milliseconds: Int64, now: Int64) -> Check {
        let (difference, overflow) = milliseconds.subtractingReportingOverflow(now)
        let size = overflow ? UInt64.max : difference.magnitude
        guard size > clockWarningMilliseconds else {
            return Check(name: "clock", .ok, "the mirror's and this machine's agree")
        }
        return Check(
            name: "clock", size > clockFailureMilliseconds ? .failed : .warning,
            "the mirror's is \(size / 1000) s \(milliseconds < now ? "behind" : "ahead of") this machine's",
            remedy: "set both by NTP: certificates and tokens depend on it")
    }

    /// Milliseconds since 1970.
    private func now() -> Int64 { EventLoop.unixMilliseconds }

    // MARK: Failures

    private static func text(_ failure: HTTPFailure) -> String {
        switch failure.kind {
        case .nameUnknown: "its name cannot be resolved: \(failure.reason)"
        case .refused: "nothing listens there: \(failure.reason)"
        case .timedOut: "no answer: \(failure.reason)"
        case .untrusted: "its certificate is not trusted: \(failure.reason)"
        case .notTLS: "no TLS: \(failure.reason)"
        case .broken: failure.reason
        }
    }

    private func remedy(_ failure: HTTPFailure) -> String {
        switch failure.kind {
        case .nameUnknown: return "check the name, and the name servers of this machine"
        case .refused: return "start the server (systemctl status ociregistry), or correct the port of --mirror"
        case .timedOut: return "check the firewall and the route between this machine and the mirror"
        case .untrusted:
            if failure.reason.contains("not yet valid") || failure.reason.contains("expired") {
                return "check the clock of this machine, and renew the certificate"
            }
            return authorities == nil
                ? "name its certificate authority with --ca" : "--ca is not the authority that has issued it"
        case .notTLS: return "the server there speaks plain HTTP: use http:// in --mirror"
        case .broken: return "check what listens there"
        }
    }
}
