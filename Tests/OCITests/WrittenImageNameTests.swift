// Why a text is no image name, and which parts of a name were added.

import Testing

@testable import OCI

@Suite struct WrittenImageNameTests {
    @Test(
        "an invalid name is refused with the part that is wrong",
        arguments: [
            ("Foo/bar", "invalid repository name"), ("a b", "invalid repository name"), ("", "invalid repository name"),
            ("quay.io/", "invalid repository name"), ("a//b", "invalid repository name"), ("a:.x", "no tag"),
            ("a:", "no tag"), ("a@sha256:1", "no digest"), ("a@", "no digest"), ("a.b:99999/x", "registry is not"),
            ("-a.b/x", "registry is not"),
        ])
    func invalid(_ text: String, _ reason: String) {
        let error = #expect(throws: WrittenImageName.Invalid.self) { try WrittenImageName(text) }
        #expect(error?.description.contains(reason) == true)
        #expect(ImageName(text) == nil)
    }

    @Test("the host as written, and an added library/, are known") func added() throws {
        let hub = try WrittenImageName("Index.Docker.io/alpine")
        #expect(hub.hostText == "Index.Docker.io" && hub.isLibraryAdded && hub.name.host == .dockerHub)
        let short = try WrittenImageName("a/b")
        #expect(short.hostText == nil && !short.isLibraryAdded)
        #expect(short.name == ImageName("a/b"))
    }
}
