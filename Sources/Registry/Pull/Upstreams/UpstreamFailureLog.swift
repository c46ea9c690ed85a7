// The log lines of failures whose reason clients do not get (`UpstreamFailure.registryError`). A blob pull writes its
// own.

internal import Logging
internal import OCI

extension UpstreamClient {
    /// Logs a failure whose reason clients do not get.
    func log(_ error: RegistryError, _ request: UpstreamRequest, of host: RegistryHost) {
        guard error.internalMessage != nil else { return }
        var metadata: Logger.Metadata = [
            "host": "\(host)", "repository": "\(request.repository)", "method": "\(request.method)",
            "kind": "\(request.kind)", "reason": "\(error.operatorMessage)",
        ]
        if !request.requestID.isEmpty { metadata["id"] = "\(request.requestID)" }
        services.logger.log(level: failureLevel, "upstream request failed", metadata: metadata)
    }
}
