// The checks of a whole configuration. They come after the command line, which may change what the file says.

import Configuration
import Registry

extension Config {
    /// Reads proxies and authorities from the environment, unless nothing is fetched.
    mutating func readEnvironment(_ variable: (String) -> String?) throws(ConfigError) {
        if !airGapped { environment = try UpstreamEnvironment(variable) }
    }

    /// What is wrong with the listeners: the key, and the reason, which begins with the key.
    var listenerProblems: [(key: String, refusal: Refusal)] {
        var problems = portProblems
        func check(_ key: String, _ access: () throws(Refusal) -> AdminAccess) {
            do throws(Refusal) { _ = try access() } catch { problems.append((key, error)) }
        }
        if let point = adminListen {
            check("adminListen") { () throws(Refusal) in
                try AdminAccess.listener(host: point.host, token: adminToken)
            }
        }
        check("adminOnServingPort") { () throws(Refusal) in
            try AdminAccess.servingPort(isOpen: adminOnServingPort, token: adminToken)
        }
        return problems
    }
}
