// When manifests were last served: in memory, and now and then appended to one file, so that a hit costs no write. A
// crash loses the last minute of it, which only makes something look a minute older.

internal import Glibc
internal import Logging

/// The last use of each manifest, in seconds since 1970.
struct AccessTimes {
    /// How exactly it is known: a manifest used again within this is not noted again.
    static let granularityMilliseconds: UInt64 = 30_000
    /// How often it is written.
    static let flushMilliseconds: UInt64 = 60_000

    private(set) var seconds = DigestMap<Int64>()
    private var unwritten: [(digest: Digest, seconds: Int64)] = []

    mutating func touch(_ digest: Digest, at now: Int64) {
        seconds[digest] = now
        unwritten.append((digest, now))
    }

    mutating func forget(_ digest: Digest) { seconds[digest] = nil }

    /// Takes what the disk had; what memory has is newer.
    mutating func merge(_ former: DigestMap<Int64>) {
        let newer = seconds
        seconds = former
        // Few: the file is read right after the start.
        newer.forEach { seconds[$0] = $1 }
    }

    /// What has to be appended to the file.
    mutating func takeUnwritten() -> [(digest: Digest, seconds: Int64)] {
        defer { unwritten = [] }
        return unwritten
    }
}

/// `ACCESS`: lines of `seconds digest`, the last of a digest counts. Off the loop.
enum AccessFile {
    /// Largest file that is read; what is beyond it was written by somebody else.
    static let maximumBytes = 512 * 1024 * 1024

    static func line(_ digest: Digest, _ seconds: Int64) -> [UInt8] { Array("\(seconds) \(digest)\n".utf8) }

    /// Reads the file, and writes it anew when most of its lines are out of date. A line that is none (the last, when
    /// the machine stopped in the middle of it) is passed over.
    static func load(_ layout: Layout) throws(StoreError) -> DigestMap<Int64> {
        let bytes: [UInt8]
        do throws(StoreError) {
            bytes = try Disk.readFile(layout.access, maximumBytes: maximumBytes)
        } catch {
            if error.isMissing { return [:] }
            throw error
        }
        var result = DigestMap<Int64>()
        var lines = 0
        bytes.withUnsafeBytes { raw in
            for line in raw.split(separator: 0x0A) {
                lines += 1
                guard let space = line.firstIndex(of: 0x20),
                    let digest = Digest(ascii: UnsafeRawBufferPointer(rebasing: line[(space + 1)...])),
                    let time = OutsideNumber.decimal(
                        String(decoding: line[..<space], as: UTF8.self), in: OutsideNumber.seconds)
                else { continue }
                result[digest] = time
            }
        }
        if lines > 2 * result.count + 1000 { try rewrite(result, layout) }
        return result
    }

    static func append(
        _ uses: [(digest: Digest, seconds: Int64)], _ layout: Layout
    ) throws(StoreError) {
        let lines = uses.flatMap { line($0.digest, $0.seconds) }
        let descriptor = try Disk.open(layout.access, O_WRONLY | O_CREAT | O_APPEND)
        defer { close(descriptor) }
        try Disk.write(lines, to: descriptor, layout.access)
    }

    private static func rewrite(_ times: DigestMap<Int64>, _ layout: Layout) throws(StoreError) {
        var lines: [UInt8] = []
        times.forEach { lines += line($0, $1) }
        let temporary = "\(layout.temporary)/ACCESS"
        try Disk.unlink(temporary)
        let descriptor = try Disk.open(temporary, O_WRONLY | O_CREAT | O_EXCL)
        defer { close(descriptor) }
        try Disk.write(lines, to: descriptor, temporary)
        try Disk.sync(descriptor, temporary)
        try Disk.rename(temporary, layout.access)
    }
}

extension Store {
    /// What has been served this recently is not removed: a client that has the manifest is about to ask for the
    /// layers, and large ones on slow lines take minutes.
    package static let leaseSeconds: Int64 = 600

    /// A manifest is being served. No allocation but twice a minute, and while images are being removed.
    package func touch(_ manifest: CachedManifest) {
        let now = loop.nowMilliseconds
        guard now >= manifest.nextTouchMilliseconds || pruning != nil else { return }
        pruning?.touched.insert(manifest.digest)
        manifest.nextTouchMilliseconds = now + AccessTimes.granularityMilliseconds
        accessTimes.touch(manifest.digest, at: EventLoop.unixSeconds)
    }

    /// Reads the times of former runs, then keeps the file up to date.
    func startAccessTimes() {
        let layout = layout
        perform({ () throws(StoreError) in try AccessFile.load(layout) }) { [self] result in
            switch result {
            case .success(let former): accessTimes.merge(former)
            case .failure(let error): logger.error("store: last uses are not known: \(error)")
            }
            guard !isClosing else { return }
            let timer = Timer(on: loop) { [unowned self] in flushAccessTimes() }
            timer.start(
                afterMilliseconds: AccessTimes.flushMilliseconds, everyMilliseconds: AccessTimes.flushMilliseconds)
            timer.unreference()
            accessTimer = timer
        }
    }

    func flushAccessTimes() {
        let uses = accessTimes.takeUnwritten()
        guard !uses.isEmpty else { return }
        let layout = layout
        perform({ () throws(StoreError) in try AccessFile.append(uses, layout) }) { [self] result in
            if let error = result.failure { logger.error("store: last uses cannot be written: \(error)") }
        }
    }
}
