// What the environment says about upstreams: proxies and certificate authorities, in the variables that other programs
// read. The configuration file overrides it.

internal import OCI

/// Proxies and authorities from environment variables.
package struct UpstreamEnvironment: Sendable, Equatable {
    /// For upstreams that are reached over plain HTTP.
    package var httpProxy: ProxyURL?
    /// For upstreams that are reached over HTTPS.
    package var httpsProxy: ProxyURL?
    package var noProxy = NoProxyList()
    /// `SSL_CERT_FILE`: replaces the system's file of authorities.
    package var caFile: String?
    /// `SSL_CERT_DIR`: replaces the system's directory; several, with colons between, as OpenSSL reads them.
    package var caDirectories: String?

    /// The variables that the proxies and their exceptions come from, in the spelling that counts.
    package struct Names: Sendable, Equatable {
        package var httpProxy: String?
        package var httpsProxy: String?
        package var noProxy: String?
    }

    package private(set) var names = Names()

    package init() {}

    /// Reads the variables. Of two spellings the one in small letters counts, as in curl; `HTTP_PROXY` counts too,
    /// since no client can set variables of this process as it could those of a CGI program.
    /// - Throws: every problem found. A proxy that was silently left out would be a proxy that was circumvented.
    package init(_ variable: (String) -> String?) throws(ConfigError) {
        var problems: [ConfigError.Problem] = []
        func report(_ name: String, _ reason: String) {
            problems.append(.init(file: "environment", line: nil, key: name, reason: reason))
        }
        func proxy(_ names: String...) -> (ProxyURL?, name: String?) {
            guard let (name, text) = UpstreamEnvironment.first(names, variable) else { return (nil, nil) }
            do throws(Refusal) { return (try ProxyURL(text), name) } catch { report(name, error.reason) }
            return (nil, nil)
        }
        (httpProxy, names.httpProxy) = proxy("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY")
        (httpsProxy, names.httpsProxy) = proxy("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY")
        if let (name, text) = UpstreamEnvironment.first(["no_proxy", "NO_PROXY"], variable) {
            noProxy = NoProxyList(ignoringErrorsIn: text)
            names.noProxy = name
        }
        if let (name, text) = UpstreamEnvironment.first(["SSL_CERT_FILE"], variable) {
            do throws(Refusal) { try ConfigFile.check(try ConfigRules.path(text)) } catch { report(name, error.reason) }
            caFile = text
        }
        if let (name, text) = UpstreamEnvironment.first(["SSL_CERT_DIR"], variable) {
            do throws(Refusal) { try ConfigFile.checkDirectories(text) } catch { report(name, error.reason) }
            caDirectories = text
        }
        guard problems.isEmpty else { throw ConfigError(problems: problems) }
    }

    /// The first variable that is set and not empty.
    private static func first(
        _ names: [String], _ variable: (String) -> String?
    ) -> (name: String, text: String)? {
        for name in names {
            if let text = variable(name), !text.isEmpty { return (name, text) }
        }
        return nil
    }
}
