// `load`: fills the cache from lists and archives, then exits. It works on the cache itself, so no server may.

import ArgumentParser
import Logging
import Registry

struct Load: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Fill the cache from image lists and tarballs.",
        discussion: """
            What is in the cache already is not fetched again, and a load that was stopped goes on where it was. \
            The cache must not be in use by a server.
            """)

    @OptionGroup var global: GlobalOptions

    @Option(
        help: .init(
            "Image lists or tarballs: a file, a quoted glob, or several with commas between.", valueName: "files"),
        completion: .file(), transform: { try ConfigRules.path($0) })
    var imageFile: String?

    @Option(
        help: .init("Name of a tarball's one image that has no usable name in it.", valueName: "reference"),
        transform: { try Load.imageName($0) })
    var resolveRef: ImageName?

    @Option(
        help: .init("Give up an upstream that makes no progress for so long (default: 60000).", valueName: "ms"),
        transform: { try ConfigRules.timeoutMilliseconds($0) })
    var pullTimeout: Int?

    @OptionGroup var platforms: PlatformOptions

    func run() throws {
        ProcessSetup.apply()
        let config = try global.resolve { config in
            platforms.apply(to: &config)
            if let imageFile { config.imageFile = imageFile }
            if let pullTimeout { config.pullTimeoutMilliseconds = pullTimeout }
        }
        guard let files = config.imageFile else {
            throw ValidationError("--image-file (or imageFile in the configuration file): no files are given")
        }
        let log = try config.openLog()
        defer { log.close() }
        let logger = Logger(label: "ociregistry") { _ in LineLogHandler(writer: log, level: config.logLevel) }
        let loading: Loading
        do {
            loading = try Loading(config: config, resolveAs: resolveRef, logger: logger)
        } catch let error as StoreError {
            throw error.startFailure
        }
        try loading.run(files)
    }

    private static func imageName(_ text: String) throws -> ImageName {
        guard let name = ImageName(text) else { throw ValidationError("not an image reference: \(text)") }
        return name
    }
}

extension StoreError {
    /// What a sub-command that needs the cache for itself ends with when it cannot be had.
    var startFailure: ExitCode {
        guard case .locked(_, let holder) = self else { return StartFailure.report("\(self)", ExitCode.failure) }
        return StartFailure.report(
            """
            a server is using this cache (\(holder)).
            Stop it and try again, or start it with --preload-images to fill its cache while it serves.
            """, Exit.inUse)
    }
}
