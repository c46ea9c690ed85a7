// Real reverse proxies in front of a server under test: nginx and HAProxy, each with the test's own configuration.

internal import Foundation

/// A proxy on a free loopback port; it is stopped when the value is released.
package final class ReverseProxy {
    /// `127.0.0.1:port`
    package let address: String
    package let process: ChildProcess
    private let files: TemporaryDirectory

    /// - Parameter http: makes the content of nginx's `http` block for the address to listen on.
    package static func nginx(http: (_ address: String) throws -> String) throws -> ReverseProxy {
        let files = try TemporaryDirectory()
        let address = "127.0.0.1:\(LoopbackPort.free())"
        // As root, nginx would switch to a user that may not enter the temporary directory.
        let user = geteuid() == 0 ? "user root;" : ""
        let places = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map {
            "\($0)_temp_path \(files.file($0));"
        }
        let configuration = try files.write(
            """
            \(user)
            daemon off;
            worker_processes 1;
            pid \(files.file("pid"));
            error_log stderr notice;
            events { worker_connections 1024; }
            http {
            access_log off;
            \(places.joined(separator: "\n"))
            \(try http(address))
            }
            """, to: "nginx.conf")
        let process = try ChildProcess(["nginx", "-e", "stderr", "-c", configuration])
        // Its sockets are listening when it logs this line.
        _ = try process.line(containing: "start worker process", in: process.errors)
        return ReverseProxy(address, process, files)
    }

    /// - Parameter sections: makes HAProxy's `frontend`, `backend` and `listen` sections for the address to listen on.
    package static func haproxy(sections: (_ address: String) throws -> String) throws -> ReverseProxy {
        let files = try TemporaryDirectory()
        let address = "127.0.0.1:\(LoopbackPort.free())"
        let configuration = try files.write(
            """
            defaults
                mode http
                timeout connect 5s
                timeout client 90s
                timeout server 90s
            \(try sections(address))

            """, to: "haproxy.cfg")
        // Master and worker in the foreground: the master logs when the worker listens.
        let process = try ChildProcess(["haproxy", "-W", "-db", "-f", configuration])
        _ = try process.line(containing: "Loading success", in: process.errors)
        return ReverseProxy(address, process, files)
    }

    private init(_ address: String, _ process: ChildProcess, _ files: TemporaryDirectory) {
        self.address = address
        self.process = process
        self.files = files
    }
}
