// Fuzzes the content of files and streams: the configuration, image lists, last uses, and a server's event lines.

import Configuration
import ImageArchive
import OCI
import Registry

enum FileEntries {
    static func config(_ bytes: UnsafeRawBufferPointer) {
        do {
            let config = try ConfigDecoder.decode(yaml: Array(bytes), file: "f.yaml") { $0.isEmpty ? nil : "value" }
            require((1...86_400_000).contains(config.pullTimeoutMilliseconds), "\(config.pullTimeoutMilliseconds) ms")
            require(config.budget.maxBytes ?? 1 > 0 && config.budget.minFreeBytes ?? 1 > 0, "\(config.budget)")
            let levels = Budget.Levels(usedBytes: .max, freeBytes: 0)
            require(config.budget.excess(ContentSize.maximum, levels) >= 0, "\(config.budget)")
        } catch {
            require(!"\(error)".isEmpty, "an error without a reason")
        }
    }

    static func list(_ bytes: UnsafeRawBufferPointer) {
        for name in (try? ImageList.parse(Array(bytes), path: "list")) ?? [] {
            require(ImageName("\(name)") == name, "\(name) is not read as it is written")
        }
    }

    /// Lines of `ACCESS` and `CHECKS`.
    static func access(_ bytes: UnsafeRawBufferPointer) {
        for line in bytes.split(separator: 0x0A) {
            if let check = CheckFile.parse(UnsafeRawBufferPointer(rebasing: line)) {
                require(OutsideNumber.seconds.contains(check.seconds), "\(check.seconds)")
            }
            guard let use = AccessFile.parse(UnsafeRawBufferPointer(rebasing: line)) else { continue }
            require(OutsideNumber.seconds.contains(use.seconds), "\(use)")
        }
    }

    /// Lines of `PROOFS` and `LEDGER`. Bytes that are no line of them are given a right checksum as well.
    static func proofs(_ bytes: UnsafeRawBufferPointer) {
        var ledger = CooldownLedger()
        for line in bytes.split(separator: 0x0A) {
            let line = UnsafeRawBufferPointer(rebasing: line)
            let check = Array(" \(SHA256.hash(line).hex.prefix(CheckedLine.checkDigits))".utf8)
            for text in [Array(line), Array(line) + check] {
                if let change = text.withUnsafeBytes({ LedgerLine.parse($0) }) {
                    let again = LedgerLine.format(change).dropLast().withUnsafeBytes { LedgerLine.parse($0) }
                    require(again == change, "\(change) is not read as it is written")
                    ledger.apply(change)
                }
                let header = text.withUnsafeBytes { ProofLine.parseHeader($0) }
                require(header.map { (0...ContentSize.maximum).contains($0) } ?? true, "a header of \(header ?? 0)")
                guard let change = text.withUnsafeBytes({ ProofLine.parse($0) }) else { continue }
                require(ProofLine.format(change).dropLast() == text[...], "\(change) is not written as it is read")
            }
        }
        require(ledger.newestSeconds <= OutsideNumber.seconds.upperBound, "\(ledger.newestSeconds)")
    }

    /// Lines of JSON from a server.
    static func news(_ bytes: UnsafeRawBufferPointer) {
        for line in bytes.split(separator: 0x0A) {
            if case .progress(let progress)? = NDJSONLine.decode(line, as: LoadRunEvent.self) { _ = progress.ended }
            if case .ended(let report)? = NDJSONLine.decode(line, as: VerifyEvent.self) { _ = report.isSound }
        }
    }
}
