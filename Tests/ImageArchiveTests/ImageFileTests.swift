// Lists, globs, and telling lists from tarballs.

import TestSupport
import Testing

@testable import ImageArchive
@testable import OCI
@testable import Registry

@Suite struct ImageFileTests {
    private let directory: TemporaryDirectory

    init() throws { directory = try TemporaryDirectory() }

    @Test("an image list is read without comments, blank lines and duplicates") func lists() throws {
        let digest = "sha256:" + String(repeating: "a", count: 64)
        let text =
            "\u{FEFF}# images\r\nalpine\r\n\r\n  quay.io/a/b/c:V1.2  \n#x\nalpine\n\tlocalhost:5000/x@\(digest)\n"
        let path = try directory.write(text, to: "list.tar.gz")
        guard case .list(let list) = try ImageFile.open(path) else {
            Issue.record("not a list")
            return
        }
        #expect(
            list.names.map(\.description) == [
                "docker.io/library/alpine", "quay.io/a/b/c:V1.2", "localhost:5000/x@\(digest)",
            ])
        #expect(list.names.map(\.reference.description) == ["latest", "V1.2", digest])
        #expect(try ImageList.parse([], path: "x").isEmpty)
    }

    @Test("every invalid line of an image list is reported with its number") func badLines() throws {
        let text = "alpine\nUPPER/case\n# fine\nalpine:\nx y\n\u{7}\u{FF}\n"
        let error = #expect(throws: ImageListError.self) { try ImageList.parse(Array(text.utf8), path: "list") }
        #expect(
            "\(try #require(error))" == """
                list:2: not an image reference: 'UPPER/case'
                list:4: not an image reference: 'alpine:'
                list:5: not an image reference: 'x y'
                list:6: not an image reference: '???'
                """)
    }

    @Test("archives, layouts and unknown files are recognised by content, not by name", .needs(.zstd))
    func kinds() throws {
        let archive = SampleArchive.one().archive
        let tar = try archive.write(to: directory, "images.txt")
        try Command.check(["gzip", "-k", tar])
        try Command.check(["zstd", "-q", "-k", tar])
        let layout = try archive.unpack(to: directory, "layout")
        for path in [tar, tar + ".gz", tar + ".zst", layout] {
            guard case .archive(let archive) = try ImageFile.open(path) else {
                Issue.record("\(path) is not an archive")
                continue
            }
            #expect(archive.images.count == 1 && archive.path == path)
        }
        let noise = try directory.write([0, 1, 2, 3], to: "noise")
        #expect(throws: ImageFileError.archive(ArchiveError(noise, .unknownContent))) { try ImageFile.open(noise) }
        let error = #expect(throws: ImageFileError.self) { try ImageFile.open(directory.file("none")) }
        #expect("\(try #require(error))" == "\(directory.file("none")): stat: No such file or directory")
    }

    @Test("file arguments expand globs and commas, and a pattern without a match is an error") func fileNames() throws {
        for name in ["a.tar", "b.tar", "c.txt", "x,y", "star*"] { try directory.write("", to: name) }
        func names(_ text: String) throws -> [String] {
            let whole = text.split(separator: ",", omittingEmptySubsequences: false)
                .map { $0.isEmpty ? "" : "\(directory.path)/\($0)" }.joined(separator: ",")
            return try FileNames.expand(whole).map { String($0.dropFirst(directory.path.count + 1)) }
        }
        #expect(try names("a.tar") == ["a.tar"])
        #expect(try names("*.tar") == ["a.tar", "b.tar"])
        #expect(try names("c.txt,*.tar,a.tar") == ["c.txt", "a.tar", "b.tar"])
        #expect(try FileNames.expand("\(directory.path)/x,y") == ["\(directory.path)/x,y"])
        #expect(try names("star*") == ["star*"])
        #expect(try names("[ac].*") == ["a.tar", "c.txt"])
        // The same from where somebody else is, whatever that directory is called.
        let odd = try directory.directory("o[d]d *\\")
        for name in ["a.tar", "b.tar", "x,y"] { try directory.write("", to: "o[d]d *\\/\(name)") }
        #expect(try FileNames.expand("*.tar,x?y", in: odd) == ["a.tar", "b.tar", "x,y"])
        #expect(try FileNames.expand("x,y", in: odd) == ["x,y"])
        #expect(try FileNames.expand("\(directory.path)/c.*,b.tar", in: odd) == ["\(directory.path)/c.txt", "b.tar"])
        #expect(throws: FileNames.Failure.noMatch(pattern: "c.*")) { try FileNames.expand("c.*", in: odd) }
        for bad in ["", "a.tar,", ",a.tar"] { #expect(throws: FileNames.Failure.self) { try names(bad) } }
        let none = "\(directory.path)/*.zip"
        #expect(throws: FileNames.Failure.noMatch(pattern: none)) { try names("a.tar,*.zip") }
    }

    @Test(
        "texts that are not image references are refused",
        arguments: [
            "", ":", "@", "/", "a/", "/a", "A", "a:b:c", "a@sha256:x", "a b", "x.io", "x.io/", "x.io:99999/a", "a//b",
            "-x.io/a",
        ])
    func invalidNames(_ text: String) {
        // `x.io` alone is a repository of Docker Hub, as everywhere.
        #expect((ImageName(text) == nil) == (text != "x.io"))
    }

    @Test("short and long names of a Docker Hub image are the same image") func dockerHubNames() {
        for text in ["alpine:1", "library/alpine:1", "docker.io/alpine:1", "index.docker.io/library/alpine:1"] {
            #expect(ImageName(text)?.description == "docker.io/library/alpine:1")
        }
        #expect(ImageName("localhost/x")?.host.text == "localhost")
        #expect(ImageName("x:1", defaultHost: RegistryHost("quay.io") ?? .dockerHub)?.description == "quay.io/x:1")
    }

    @Test("entry names are normalised, and links that lead outside are refused") func entryNames() {
        #expect(EntryName.normalized("./blobs//sha256/./x/") == "blobs/sha256/x")
        #expect(EntryName.normalized("./") == "")
        #expect(EntryName.normalized("/x") == nil)
        #expect(EntryName.normalized("x/..") == nil)
        #expect(EntryName.resolve(link: "../b/layer.tar", at: "a/layer.tar") == "b/layer.tar")
        #expect(EntryName.resolve(link: "../../b", at: "a/layer.tar") == nil)
        #expect(EntryName.resolve(link: "/b", at: "a/layer.tar") == nil)
    }
}
