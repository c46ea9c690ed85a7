// A list of tags or of referrers as the cache keeps it, and its file: a line with the time of the last answer and a
// checksum, then the pages as JSON, each after a line with its size. A file that a disk has changed must not be read
// as a shorter list.

package import OCI

/// The name of a list.
package struct ListName: Hashable, Sendable, CustomStringConvertible {
    package enum Kind: Hashable, Sendable {
        case tags
        /// The referrers of a manifest.
        case referrers(Digest)
    }

    package let host: RegistryHost
    package let repository: RepositoryName
    package let kind: Kind

    package init(host: RegistryHost, repository: RepositoryName, kind: Kind) {
        self.host = host
        self.repository = repository
        self.kind = kind
    }

    package var description: String {
        switch kind {
        case .tags: "the tags of \(host)/\(repository)"
        case .referrers(let subject): "the referrers of \(host)/\(repository)@\(subject)"
        }
    }
}

/// A whole list.
package struct KeptList: Sendable, Equatable {
    /// Most bytes of a list, over its pages: 100,000 tags of the longest, or 30,000 referrers of the usual 500 bytes.
    /// A longer list is passed through page by page.
    package static let maximumBytes = 16 * 1024 * 1024
    /// Most pages of a list: some registries give 100 entries a page.
    package static let maximumPages = 1000

    /// When an upstream last confirmed it, in seconds since 1970; 0 if only an archive has had it so far.
    package var checkedAtSeconds: Int64
    /// Each page as JSON: an index of referrers, or a tag list.
    package var pages: [[UInt8]]

    package init(checkedAtSeconds: Int64, pages: [[UInt8]]) {
        self.checkedAtSeconds = checkedAtSeconds
        self.pages = pages
    }

    /// The size of its pages.
    var byteCount: Int { pages.reduce(0) { $0 + $1.count } }

    // MARK: The file

    private static let mark = "ociregistry-list 1"
    /// Largest file: the pages, and a line for each of them.
    static let maximumFileBytes = maximumBytes + maximumPages * 24 + 256

    /// The content of its file.
    var fileContent: [UInt8] {
        var rest: [UInt8] = []
        rest.reserveCapacity(byteCount + pages.count * 24)
        for page in pages { rest += Array("page \(page.count)\n".utf8) + page + [0x0A] }
        let checksum = rest.withUnsafeBytes { SHA256.hash($0).hex }
        return Array("\(KeptList.mark) \(checkedAtSeconds) \(checksum)\n".utf8) + rest
    }

    /// Reads what `fileContent` made; nil for anything else.
    package init?(fileContent bytes: [UInt8]) {
        guard let end = bytes.prefix(256).firstIndex(of: 0x0A) else { return nil }
        let words = String(decoding: bytes[..<end], as: UTF8.self).split(separator: " ")
        guard words.count == 4, "\(words[0]) \(words[1])" == KeptList.mark,
            let checked = OutsideNumber.decimal(String(words[2]), in: OutsideNumber.seconds)
        else { return nil }
        let checksum = bytes.withUnsafeBytes { SHA256.hash(UnsafeRawBufferPointer(rebasing: $0[(end + 1)...])).hex }
        guard checksum == words[3] else { return nil }
        checkedAtSeconds = checked
        pages = []
        var rest = bytes[(end + 1)...]
        while !rest.isEmpty {
            guard let lineEnd = rest.prefix(32).firstIndex(of: 0x0A), rest.starts(with: "page ".utf8) else {
                return nil
            }
            let digits = String(decoding: rest[..<lineEnd].dropFirst(5), as: UTF8.self)
            let body = rest[(lineEnd + 1)...]
            guard let count = OutsideNumber.decimal(digits, in: 0...KeptList.maximumBytes), count < body.count,
                body[body.startIndex + count] == 0x0A, pages.count < KeptList.maximumPages
            else { return nil }
            pages.append(Array(body.prefix(count)))
            rest = body.dropFirst(count + 1)
        }
    }
}

extension Layout {
    static let referrersName = "_referrers"

    private func listsDirectory(_ host: RegistryHost, _ repository: RepositoryName) -> String {
        "\(lists)/\(host.text)/\(repository.text)"
    }

    /// The directory and the file name of a list.
    func listFile(_ name: ListName) -> (directory: String, name: String) {
        let directory = listsDirectory(name.host, name.repository)
        return switch name.kind {
        case .tags: (directory, Layout.tagsName)
        case .referrers(let subject): ("\(directory)/\(Layout.referrersName)", Layout.digestFileName(subject))
        }
    }

    func list(_ name: ListName) -> String {
        let (directory, file) = listFile(name)
        return "\(directory)/\(file)"
    }
}
