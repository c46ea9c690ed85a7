// observability/start-local with the real Prometheus, and with a Grafana that writes down how it was started.

import Foundation
import Glibc
import TestSupport
import Testing

@Suite struct StartLocalTests {
    private static let script = "\(Checkout.root)/observability/start-local"

    private static func start(
        _ arguments: [String], in files: TemporaryDirectory, _ environment: [String: String] = [:]
    ) throws -> ChildProcess {
        let base = ["TMPDIR": try files.directory("tmp")]
        return try ChildProcess([script] + arguments, environment: base.merging(environment) { $1 })
    }

    private static func leftovers(in files: TemporaryDirectory) throws -> [String] {
        try FileManager.default.contentsOfDirectory(atPath: files.file("tmp"))
    }

    @Test("start-local runs Prometheus with the target and the rules until it is stopped", .needs(.prometheus))
    func prometheus() throws {
        let files = try TemporaryDirectory()
        let (port, target) = (LoopbackPort.free(), LoopbackPort.free())
        let child = try Self.start(["--port", "\(port)", "--target=127.0.0.1:\(target)"], in: files)
        _ = try child.line(containing: "Ctrl-C", in: child.errors)
        #expect(child.errors.text.contains("http://127.0.0.1:\(port), scraping 127.0.0.1:\(target)"))

        let prometheus = try PrometheusClient(port: port)
        let configuration = try prometheus.data("/api/v1/status/config")["yaml"] as? String ?? ""
        #expect(configuration.contains("127.0.0.1:\(target)") && configuration.contains("job_name: ociregistry"))
        let groups = try prometheus.data("/api/v1/rules")["groups"] as? [[String: Any]]
        #expect((groups ?? []).count > 1)
        prometheus.close()

        #expect(child.stop(signal: SIGINT) == 0)
        #expect(try Self.leftovers(in: files) == [])
        #expect(child.errors.text.contains("no Grafana here") || child.errors.text.contains("Grafana: http"))
    }

    @Test("start-local starts Grafana where it is installed", .needs(.prometheus)) func grafana() throws {
        let files = try TemporaryDirectory()
        let program = try files.write(
            """
            #!/usr/bin/env bash
            env >"$RECORD"
            echo "$*" >>"$RECORD"
            exec \(Listener.command) "$GF_SERVER_HTTP_PORT"

            """, to: "bin/grafana-server")
        chmod(program, 0o755)
        let (port, grafanaPort) = (LoopbackPort.free(), LoopbackPort.free())
        let path = ProcessInfo.processInfo.environment["PATH"] ?? "/usr/bin:/bin"
        let child = try Self.start(
            ["--port", "\(port)", "--grafana-port", "\(grafanaPort)"], in: files,
            [
                "PATH": "\(files.file("bin")):\(path)", "RECORD": files.file("record"),
                "GRAFANA_HOME": try files.directory("home"),
            ])
        _ = try child.line(containing: "Ctrl-C", in: child.errors)
        #expect(child.errors.text.contains("http://127.0.0.1:\(grafanaPort)"))
        let record = try String(contentsOfFile: files.file("record"), encoding: .utf8).split(separator: "\n")
        for line in [
            "GF_SERVER_HTTP_ADDR=127.0.0.1", "PROMETHEUS_PORT=\(port)",
            "DASHBOARDS=\(Checkout.root)/observability/grafana/dashboards",
            "GF_PATHS_PROVISIONING=\(Checkout.root)/observability/grafana/provisioning",
            "--homepath=\(files.file("home"))",
        ] { #expect(record.contains(line[...]), "\(line)") }
        #expect(child.stop(signal: SIGTERM) == 0)
        #expect(try Self.leftovers(in: files) == [])
    }

    @Test("start-local fails and cleans up when Prometheus exits", .needs(.prometheus)) func exitedPrometheus() throws {
        let files = try TemporaryDirectory()
        let program = try files.write("#!/bin/sh\nexit 3\n", to: "bin/prometheus")
        chmod(program, 0o755)
        let path = ProcessInfo.processInfo.environment["PATH"] ?? "/usr/bin:/bin"
        let child = try Self.start(
            ["--port", "\(LoopbackPort.free())"], in: files, ["PATH": "\(files.file("bin")):\(path)"])
        #expect(try child.wait() == 1)
        #expect(child.errors.text.contains("Prometheus did not start"))
        #expect(try Self.leftovers(in: files) == [])
    }

    @Test(
        "start-local refuses a wrong argument and names it",
        arguments: [
            (["--port", "0"], "--port: '0' is not a port"), (["--port"], "--port needs a value"),
            (["--target", "localhost"], "--target: 'localhost' is not host:port"),
            (["--target", "a/b:1"], "is not host:port"), (["--target=x:70000"], "--target: '70000' is not a port"),
            (["--verbose"], "unknown argument '--verbose'"),
        ])
    func wrongArguments(_ arguments: [String], _ message: String) throws {
        let result = try Command.run([Self.script] + arguments)
        #expect(result.status == 1 && result.errors.contains(message), "\(result)")
    }

    @Test("start-local names a port that is in use", .needs(.prometheus)) func portInUse() throws {
        let holder = PortHolder()
        defer { holder.close() }
        let result = try Command.run([Self.script, "--port", "\(holder.port)"])
        #expect(result.status == 1 && result.errors.contains("port \(holder.port)"), "\(result)")
    }

    @Test("start-local --help lists the options") func help() throws {
        let text = String(decoding: try Command.check([Self.script, "--help"]), as: UTF8.self)
        for option in ["--target", "--port", "--grafana-port"] { #expect(text.contains(option)) }
    }
}
