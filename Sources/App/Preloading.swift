// `--preload-images`: a load in the running server. It serves from the start; what is not loaded yet is pulled when it
// is asked for, as ever. What comes of it goes to the log.

import Configuration
import Logging
import Registry

extension Loader {
    /// Starts loading what the configuration names, and logs how it goes; nil when it names nothing.
    static func preload(_ config: Config, _ context: LoadContext, logger: Logger) -> Loader? {
        guard let files = config.preloadImages else { return nil }
        let choices = LoadChoices(platforms: config.platforms, isAirGapped: config.airGapped)
        let loader = Loader(context, choices) { event in
            switch event {
            case .loaded(let image, let file):
                logger.info("preloaded", metadata: ["image": "\(image)", "file": "\(file)"])
            case .present(let image, let file):
                logger.debug("preload: in the cache already", metadata: ["image": "\(image)", "file": "\(file)"])
            case .failed(let failure):
                var metadata: Logger.Metadata = ["file": "\(failure.file)", "reason": "\(failure.reason)"]
                if let image = failure.image { metadata["image"] = "\(image)" }
                logger.error("preload failed", metadata: metadata)
            }
        }
        loader.load(files) { report in
            logger.info("preload ended", metadata: report.counts)
        }
        return loader
    }
}
