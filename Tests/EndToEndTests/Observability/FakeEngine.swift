// A container engine that only writes down what it is asked, and answers on the port of what it "runs": there is no
// registry to pull real images from where tests run.

import Foundation
import Glibc
import TestSupport

/// `docker` and `podman`, first on PATH.
struct FakeEngine {
    /// What can be wrong; the file of that name in the engine's directory makes it so.
    enum Trouble: String {
        case dockerIsBroken = "broken-docker"
        case podmanIsBroken = "broken-podman"
        case nothingCanBePulled = "no-network"
        /// What is run ends at once.
        case containersDie = "dies"
        /// What is run goes on and never answers.
        case containersAreMute = "mute"
    }

    let files: TemporaryDirectory
    let prometheusPort = LoopbackPort.free()
    let grafanaPort = LoopbackPort.free()

    init() throws {
        files = try TemporaryDirectory()
        for name in ["docker", "podman"] {
            let path = try files.write(Self.script, to: "bin/\(name)")
            chmod(path, 0o755)
        }
    }

    func make(_ trouble: Trouble) throws { try files.write("", to: trouble.rawValue) }
    func have(image: String) throws { try files.write("", to: "images/\(image)") }
    /// A container that was started by hand or has ended.
    func have(container: String, running: Bool) throws { try files.write("\(running)\n", to: "container-\(container)") }

    func run(_ script: String, _ arguments: [String] = [], _ environment: [String: String] = [:]) throws
        -> Command.Result
    {
        let path = ProcessInfo.processInfo.environment["PATH"] ?? "/usr/bin:/bin"
        let base = [
            "PATH": "\(files.file("bin")):\(path)", "FAKE": files.path, "PROMETHEUS_PORT": "\(prometheusPort)",
            "GRAFANA_PORT": "\(grafanaPort)",
        ]
        return try Command.run(
            ["\(Checkout.root)/observability/\(script)"] + arguments,
            environment: base.merging(environment) { $1 })
    }

    /// Every call so far, a line each: the engine's name and its arguments.
    var calls: [String] { text(of: "calls").split(separator: "\n").map(String.init) }
    /// The calls with this sub-command.
    func calls(_ command: String) -> [String] {
        calls.filter { $0.split(separator: " ").dropFirst().first == command[...] }
    }
    /// What a container is given as its administrator's password, by the environment.
    var password: String { text(of: "password") }

    private func text(of name: String) -> String {
        (try? String(contentsOfFile: files.file(name), encoding: .utf8)) ?? ""
    }

    private static let script = #"""
        #!/usr/bin/env bash
        me=${0##*/}
        echo "$me $*" >>"$FAKE/calls"
        name=${!#}
        case "$1 ${2-}" in
        info*) [ ! -e "$FAKE/broken-$me" ] ;;
        "image inspect") [ -e "$FAKE/images/$name" ] ;;
        pull*)
            if [ -e "$FAKE/no-network" ]; then
                echo "no route to host" >&2
                exit 1
            fi
            ;;
        "container inspect") cat "$FAKE/container-$name" 2>/dev/null ;;
        logs*) echo "last words of $name" ;;
        rm*)
            if [ -e "$FAKE/pid-$name" ]; then kill "$(cat "$FAKE/pid-$name")"; fi
            rm -f "$FAKE/pid-$name" "$FAKE/container-$name"
            ;;
        run*)
            name=$(sed -n 's/.*--name \([^ ]*\).*/\1/p' <<<"$*")
            port=$(sed -nE 's/.*(listen-address=127\.0\.0\.1:|GF_SERVER_HTTP_PORT=)([0-9]+).*/\2/p' <<<"$*")
            printf %s "${GF_SECURITY_ADMIN_PASSWORD-}" >"$FAKE/password"
            if [ -e "$FAKE/dies" ]; then
                echo false >"$FAKE/container-$name"
                exit
            fi
            echo true >"$FAKE/container-$name"
            [ ! -e "$FAKE/mute" ] || exit 0
            listen-once-a-time "$port" >/dev/null 2>&1 </dev/null &
            echo $! >"$FAKE/pid-$name"
            ;;
        esac
        """#.replacingOccurrences(of: "listen-once-a-time", with: Listener.command)
}

/// Answers every request with an empty 200, in a shell: `Listener.command PORT`. It ends by itself, whatever happens to
/// the test that started it.
enum Listener {
    static let command = #"""
        perl -MIO::Socket::INET -e 'alarm 60; \#
        my $server = IO::Socket::INET->new(LocalAddr => "127.0.0.1:$ARGV[0]", Listen => 9, ReuseAddr => 1) or die; \#
        while (my $client = $server->accept) { \#
        while (my $line = <$client>) { last if $line eq "\r\n" } \#
        print $client "HTTP/1.0 200 OK\r\n\r\n"; close $client }'
        """#
}
