// The `load` command: fills the cache from lists and archives, then exits. A server that uses the cache runs the load
// and streams its events; without a server this process runs the same code.

import ArgumentParser
import Configuration
import Glibc
import Logging
import OCI
import Registry

struct Load: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Fill the cache from image lists and tarballs.",
        discussion: """
            What is in the cache already is not fetched again, and a load that was stopped resumes where it was. A \
            server that runs on the cache is asked to do it: it reads the files itself, and reaches registries as its \
            own configuration says.
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

    @Flag(help: "Load the signatures, attestations and SBOMs of the lists' images too.")
    var referrers = false

    @OptionGroup var platforms: PlatformOptions

    func run() throws {
        ProcessSetup.apply()
        let config = try global.resolve { config in
            platforms.apply(to: &config)
            if let imageFile { config.imageFile = imageFile }
            if let pullTimeout { config.pullTimeoutMilliseconds = pullTimeout }
            try config.readEnvironment(Environment.value)
        }
        guard let files = config.imageFile else {
            throw ValidationError("--image-file (or imageFile in the configuration file): no files are given")
        }
        let progress = ProgressLines()
        var report: LoadReport?
        func record(_ event: LoadRunEvent) {
            progress.show(event)
            if case .ended(let ended) = event { report = ended }
        }
        do {
            if try !ask(files, config, record) { try loadAlone(files, config, record) }
        } catch {
            progress.clear()
            if let error = error as? StoreError { throw error.startFailure }
            if let error = error as? Failure { throw StartFailure.report("\(error)", ExitCode.failure) }
            throw error
        }
        // A load stopped by the server is not complete either.
        if report.map({ $0.isStopped || !$0.failures.isEmpty }) ?? true { throw ExitCode.failure }
    }

    /// - Returns: false when no server runs.
    private func ask(_ files: String, _ config: Config, _ onEvent: @escaping (LoadRunEvent) -> Void) throws -> Bool {
        let order = AdminCommand.Load(
            files: files, directory: try Load.workingDirectory(), platforms: config.platforms, resolveAs: resolveRef,
            isAirGapped: config.airGapped, includesReferrers: referrers)
        return try AdminStreamClient.follow(.load(order), socket: Store.adminSocket(imagePath: config.imagePath)) {
            line in
            guard let event = NDJSONLine.decode(line, as: LoadRunEvent.self) else { throw AdminClient.broken }
            onEvent(event)
        }
    }

    private func loadAlone(_ files: String, _ config: Config, _ onEvent: @escaping (LoadRunEvent) -> Void) throws {
        let log = try config.openLog()
        defer { log.close() }
        let logger = Logger(label: "ociregistry") { _ in LineLogHandler(writer: log) }
        try Loading(config: config, resolveAs: resolveRef, includesReferrers: referrers, logger: logger)
            .run(files, onEvent: onEvent)
    }

    private static func workingDirectory() throws -> String {
        guard let directory = getcwd(nil, 0) else {
            throw Failure(description: "the working directory: \(String(cString: strerror(errno)))")
        }
        defer { free(directory) }
        return String(cString: directory)
    }

    private static func imageName(_ text: String) throws -> ImageName {
        guard let name = ImageName(text) else { throw ValidationError("not an image reference: \(text)") }
        return name
    }
}

extension StoreError {
    /// The exit status of a sub-command that could not open the store.
    var startFailure: ExitCode {
        guard case .locked(_, let holder) = self else { return StartFailure.report("\(self)", ExitCode.failure) }
        // A server would have answered on its socket: another command holds the lock, or a server without a socket.
        return StartFailure.report(
            """
            this cache is in use (\(holder)), and the process that uses it does not answer.
            Try again when it has ended.
            """, Exit.inUse)
    }
}
