// The `export` command: writes cached images to an OCI layout that skopeo, podman, containerd and `load` read.

import ArgumentParser
import Configuration
import OCI
import Registry

struct Export: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Write images of the cache as an OCI layout.",
        discussion: "It only reads the cache, so a server may be using it.")

    @OptionGroup var global: GlobalOptions

    @Option(
        help: .init("Images whose names match, instead of naming them.", valueName: "regex[,regex]"),
        transform: { try Pattern($0) })
    var pattern: Pattern?

    @Option(
        help: .init("Where to write; a tarball when it ends in .tar, else a directory.", valueName: "path"),
        completion: .file(), transform: { try ConfigRules.path($0) })
    var output: String

    @Argument(help: .init("Images by name, with tag or digest.", valueName: "image"))
    var images: [String] = []

    func validate() throws {
        if (pattern == nil) == images.isEmpty { throw ValidationError("name images, or give a --pattern") }
        if let wrong = images.first(where: { ImageName($0) == nil }) {
            throw ValidationError("not an image reference: \(wrong)")
        }
    }

    func run() throws {
        ProcessSetup.apply()
        let config = try global.resolve { _ in }
        let choice = pattern.map { CacheExport.Choice.matching($0) } ?? .named(images.compactMap { ImageName($0) })
        do {
            try write(try CacheExport(imagePath: config.imagePath, choice))
        } catch let error as ExitCode {
            throw error
        } catch {
            throw StartFailure.report("\(error)", ExitCode.failure)
        }
    }

    /// Writes every requested image or none: a missing image could not be added at an offline destination.
    private func write(_ export: CacheExport) throws {
        guard export.problems.isEmpty else {
            throw StartFailure.report(export.problems.joined(separator: "\n"), ExitCode.failure)
        }
        guard !export.names.isEmpty else { throw StartFailure.report("no image matches", ExitCode.failure) }
        let progress = ProgressLines()
        var copied: Int64 = 0
        try export.write(to: output) { count in
            copied += Int64(count)
            progress.draw(copied, of: export.blobBytes)
        }
        progress.clear()
        for name in export.names { print(name) }
    }
}
