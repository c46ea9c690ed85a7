// observability/start-containers and stop-containers against an engine that writes down what it is asked.

import Foundation
import TestSupport
import Testing

@Suite struct StartContainersTests {
    @Test("start-containers runs Prometheus and Grafana on loopback until stop-containers") func startAndStop() throws {
        let engine = try FakeEngine()
        let started = try engine.run("start-containers")
        #expect(started.status == 0, "\(started)")
        #expect(started.text.contains("http://127.0.0.1:\(engine.prometheusPort)"))
        #expect(started.text.contains("http://127.0.0.1:\(engine.grafanaPort)"))
        #expect(started.text.contains("user admin"))

        #expect(engine.calls("pull").count == 2)
        for pull in engine.calls("pull") { #expect(pull.contains(/docker\.io\/\w+\/\w+:v?\d+\.\d+\.\d+$/), "\(pull)") }
        let runs = engine.calls("run")
        #expect(runs.count == 2)
        for run in runs {
            #expect(run.contains("--network host") && run.contains("--detach"), "\(run)")
            #expect(!run.contains("--publish") && !run.contains("0.0.0.0"), "\(run)")
            let mounts = run.matches(of: /--volume (\S+?):(\S+?):(\S+)/)
            #expect(!mounts.isEmpty)
            for mount in mounts {
                #expect(mount.3 == "ro,z")
                #expect(FileManager.default.fileExists(atPath: String(mount.1)), "\(mount.1) is mounted")
            }
        }
        #expect(runs.first?.contains("--web.listen-address=127.0.0.1:\(engine.prometheusPort)") == true)
        #expect(runs.last?.contains("GF_SERVER_HTTP_ADDR=127.0.0.1") == true)
        #expect(runs.last?.contains("PROMETHEUS_PORT=\(engine.prometheusPort)") == true)
        #expect(!engine.password.isEmpty && !engine.calls.contains { $0.contains("PASSWORD=") })
        #expect(started.text.contains("password \(engine.password);"))

        let again = try engine.run("start-containers")
        #expect(again.status == 0 && again.errors.contains("running already"), "\(again)")
        #expect(again.text == started.text)
        #expect(engine.calls("run").count == 2 && engine.calls("pull").count == 2)

        #expect(try engine.run("stop-containers").status == 0)
        #expect(engine.calls("rm").count == 2)
        let nothing = try engine.run("stop-containers")
        #expect(nothing.status == 0 && nothing.errors.contains("nothing to stop"))
        #expect(engine.calls("rm").count == 2)
    }

    @Test("images chosen by the environment are used, and not pulled when they exist") func chosenImages() throws {
        let engine = try FakeEngine()
        for image in ["mirror.test/p:1", "mirror.test/g:2"] { try engine.have(image: image) }
        let images = ["PROMETHEUS_IMAGE": "mirror.test/p:1", "GRAFANA_IMAGE": "mirror.test/g:2"]
        #expect(try engine.run("start-containers", [], images).status == 0)
        #expect(engine.calls("pull").isEmpty)
        #expect(engine.calls("run").first?.contains(" mirror.test/p:1 --config.file=") == true)
        #expect(engine.calls("run").last?.hasSuffix(" mirror.test/g:2") == true)
        #expect(try engine.run("stop-containers").status == 0)
    }

    @Test("podman is used when docker does not work") func podman() throws {
        let engine = try FakeEngine()
        try engine.make(.dockerIsBroken)
        #expect(try engine.run("start-containers").status == 0)
        #expect(engine.calls("run").allSatisfy { $0.hasPrefix("podman ") })
        #expect(try engine.run("stop-containers").status == 0)
        #expect(engine.calls("rm").count == 2)
    }

    @Test("without a working engine the script fails and names the alternatives") func noEngine() throws {
        let engine = try FakeEngine()
        try engine.make(.dockerIsBroken)
        try engine.make(.podmanIsBroken)
        let broken = try engine.run("start-containers")
        #expect(broken.status == 1 && broken.errors.contains("docker podman"), "\(broken)")
        let none = try engine.run("start-containers", [], ["ENGINE": "no-such-engine"])
        #expect(none.status == 1 && none.errors.contains("start-local"), "\(none)")
        #expect(engine.calls("run").isEmpty)
    }

    @Test("a port that is in use or invalid is named with its variable") func portInUse() throws {
        let engine = try FakeEngine()
        let holder = PortHolder()
        defer { holder.close() }
        let result = try engine.run("start-containers", [], ["PROMETHEUS_PORT": "\(holder.port)"])
        #expect(result.status == 1, "\(result)")
        #expect(result.errors.contains("port \(holder.port)") && result.errors.contains("PROMETHEUS_PORT"))
        #expect(engine.calls("run").isEmpty)
        for port in ["0", "65536", "http"] {
            let refused = try engine.run("start-containers", [], ["GRAFANA_PORT": port])
            #expect(refused.status == 1, "\(refused)")
            #expect(refused.errors.contains("GRAFANA_PORT: '\(port)' is not a port"), "\(refused)")
        }
    }

    @Test("a failed pull shows the error and the variable that chooses another image") func failedPull() throws {
        let engine = try FakeEngine()
        try engine.make(.nothingCanBePulled)
        let result = try engine.run("start-containers")
        #expect(result.status == 1, "\(result)")
        #expect(result.errors.contains("no route to host") && result.errors.contains("PROMETHEUS_IMAGE"))
    }

    @Test("a container that exits at once has its log shown") func exitedContainer() throws {
        let engine = try FakeEngine()
        try engine.make(.containersDie)
        let result = try engine.run("start-containers")
        #expect(result.status == 1 && result.errors.contains("last words of ociregistry-prometheus"), "\(result)")
    }

    @Test("a container that does not become ready is given up after READY_SECONDS") func silentContainer() throws {
        let engine = try FakeEngine()
        try engine.make(.containersAreMute)
        let result = try engine.run("start-containers", [], ["READY_SECONDS": "1"])
        #expect(result.status == 1 && result.errors.contains("within 1 s"), "\(result)")
    }

    @Test("a stopped container of an earlier start is replaced") func leftover() throws {
        let engine = try FakeEngine()
        try engine.have(container: "ociregistry-grafana", running: false)
        #expect(try engine.run("start-containers").status == 0)
        #expect(engine.calls("rm").count == 1 && engine.calls("run").count == 2)
        #expect(try engine.run("stop-containers").status == 0)
    }

    @Test("the container scripts take no arguments", arguments: ["start-containers", "stop-containers"])
    func argumentsAreRefused(_ script: String) throws {
        let engine = try FakeEngine()
        let result = try engine.run(script, ["--help-me"])
        #expect(result.status == 1 && result.errors.contains("takes no arguments"), "\(result)")
        #expect(engine.calls.isEmpty)
    }

    /// Everything people run from here.
    @Test("shellcheck accepts every script, and every script is executable", .needs(.shellcheck))
    func shellcheck() throws {
        let scripts = [
            "observability/start-containers", "observability/stop-containers", "observability/start-local",
            "scripts/serve", "scripts/test", "scripts/soak", "scripts/bench", "scripts/load-test",
            "scripts/soak.d/image.sh", "scripts/soak.d/monitoring.sh", "scripts/soak.d/roots.sh",
            "deploy/kubernetes/components/monitoring/generate", "scripts/package", "scripts/package.d/image.sh",
        ]
        let findings = SourceTree.paths(under: ["findings"]).filter { $0.hasSuffix(".sh") }
        let paths = (scripts + findings).map { "\(Checkout.root)/\($0)" }
        let result = try Command.run(
            ["shellcheck", "--external-sources", "--source-path=\(Checkout.root)"] + paths)
        #expect(result.status == 0, "\(result)")
        for path in paths { #expect(FileManager.default.isExecutableFile(atPath: path)) }
    }
}
