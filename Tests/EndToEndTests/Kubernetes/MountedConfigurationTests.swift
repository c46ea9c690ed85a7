// A configuration file in a mounted ConfigMap: kubelet changes it by replacing a symbolic link to a directory.

import Foundation
import TestSupport
import Testing

@Suite struct MountedConfigurationTests {
    @Test(
        "a reload reads the file that the replaced link of a ConfigMap leads to, and reloadOnChange notices it",
        arguments: [false, true])
    func reload(_ isWatched: Bool) throws {
        let mount = try TemporaryDirectory()
        let settings = "host: 127.0.0.1\nport: 0\n" + (isWatched ? "reloadOnChange: true\n" : "")
        try mount.write(settings, to: "..first/config.yaml")
        try mount.write("\(settings)logLevel: info\n", to: "..second/config.yaml")
        try FileManager.default.createSymbolicLink(atPath: mount.file("..data"), withDestinationPath: "..first")
        try FileManager.default.createSymbolicLink(
            atPath: mount.file("config.yaml"), withDestinationPath: "..data/config.yaml")
        let server = try ChildProcess([
            Checkout.server, "serve", "--config-file", mount.file("config.yaml"), "--image-path", mount.file("images"),
        ])
        _ = try server.line(containing: "listening on http://127.0.0.1:", in: server.errors)

        try FileManager.default.createSymbolicLink(atPath: mount.file("..new"), withDestinationPath: "..second")
        #expect(rename(mount.file("..new"), mount.file("..data")) == 0)
        if isWatched {
            let line = try server.line(containing: "the configuration was reloaded", in: server.errors)
            #expect(line.contains("logLevel"))
        } else {
            let result = try Command.run([Checkout.server, "reload", "--image-path", mount.file("images")])
            #expect(result.status == 0 && result.text.contains("changed: logLevel"), "\(result)")
        }
        server.stop()
        #expect(try server.wait() == 0)
    }
}
