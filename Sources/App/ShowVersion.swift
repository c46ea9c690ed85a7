// The `version` command: prints this program's version and those of the system libraries it runs on.

import ArgumentParser
import OCI
import Registry

struct ShowVersion: ParsableCommand {
    static let configuration = CommandConfiguration(commandName: "version", abstract: "Show the version.")

    @OptionGroup var global: GlobalOptions

    func run() {
        print("ociregistry \(Version.text)")
        print("libuv \(EventLoop.libraryVersion), \(CurlMulti.libraryVersion), \(SHA256.libraryVersion)")
    }
}
