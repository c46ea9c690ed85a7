// `--preload-images`: a load inside the running server, which serves from the start. An image that is not loaded yet
// is pulled on request. The results go to the log.

import Configuration
import Logging
import Registry

extension Loader {
    /// Starts loading the configured files and logs the events; nil when none are configured.
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
