// Tag lists of upstreams with pages of their own kinds.

import TestSupport
import Testing

@testable import OCI
@testable import Registry

@Suite struct TagListTests {
    private static let path = "/v2/team/app/tags/list"

    /// Follows the links of a list to its end.
    private func pages(_ mirror: MirrorKit, _ start: String) -> [String] {
        var (texts, target) = ([String](), Optional(start))
        while let next = target, texts.count < 10 {
            let answer = mirror.get(next)
            texts.append(answer.text)
            target = answer.header("link").map { String($0.dropFirst().prefix { $0 != ">" }) }
        }
        return texts
    }

    @Test(
        "pages and their order are the upstream's, whatever tells them apart",
        arguments: [
            "</v2/team/app/tags/list?n=2&next_page=Mg%3D%3D>; rel=\"next\"",
            "<https://registry.test/v2/team/app/tags/list?next_page=Mg%3D%3D>; rel=\"next\"",
            "<?next_page=Mg%3D%3D>; rel=\"first\", </other/path?next_page=Mg%3D%3D#x>; rel=next",
        ])
    func opaquePages(_ link: String) throws {
        let mirror = try MirrorKit()
        let first = #"{"name":"team/app","tags":["v2","v1","v10"],"next":"x"}"#
        let second = #"{ "name": "team/app", "tags": ["v3", "Latest"] }"#
        mirror.fake.on(Self.path) { request in
            let isSecond = request.query?.lowercased().contains("next_page=mg%3d%3d") == true
            return isSecond ? .json(second) : FakeAnswer.json(first).adding("Link", link)
        }
        let shown = { (tags: String) in #"{"name":"team/app","tags":[\#(tags)]}"# }
        #expect(
            pages(mirror, Self.path + "?ns=registry.test") == [shown(#""v2","v1","v10","v3","Latest""#)],
            "\(mirror.fake.requests.map(\.query))")
        #expect(
            pages(mirror, Self.path + "?ns=registry.test&n=2")
                == [#""v2","v1""#, #""v10","v3""#, #""Latest""#].map(shown))
        #expect(mirror.fake.requests.count == 2, "the whole list is asked for once")
        #expect(mirror.fake.requests.allSatisfy { $0.query?.contains("ns=registry.test") == true }, "of the client")
        mirror.close()
    }

    @Test("a list that the upstream refuses to page is asked for once more without n")
    func withoutPages() throws {
        let mirror = try MirrorKit()
        mirror.fake.on(Self.path) { request in
            request.query?.contains("n=5") == true ? .status(400) : .json(#"{"name":"team/app","tags":["a"]}"#)
        }
        // Only a list that is too long to be kept is passed through.
        mirror.puller.keptListPages = 0
        #expect(mirror.get(Self.path).status == 200)
        mirror.fake.forgetRequests()
        #expect(mirror.get(Self.path + "?n=5&x=1").status == 200)
        #expect(mirror.fake.requests.map { $0.query?.hasPrefix("x=1") } == [false, true])
        #expect(mirror.fake.requests.count == 2)
        mirror.fake.on(Self.path, .status(400))
        #expect(mirror.get(Self.path + "?last=x").status == 400)
        #expect(mirror.fake.requests.count == 3, "there is no n to leave out")
        #expect(mirror.get(Self.path + "?n=5&last=x").status == 400)
        #expect(mirror.fake.requests.count == 5, "and only once")
        mirror.close()
    }

    @Test("an error in a list's parameters is passed on, and any other status or an unreadable list is a 502")
    func errors() throws {
        let mirror = try MirrorKit()
        let answers: [(FakeAnswer, Int)] = [
            (.status(422), 422), (.status(416), 416), (.status(418), 502), (.json("[1]"), 502),
        ]
        for (answer, status) in answers {
            mirror.fake.on(Self.path, answer)
            #expect(mirror.get(Self.path).status == status)
        }
        mirror.fake.on(Self.path, .json(#"{"name":"team/app","tags":null}"#))
        #expect(mirror.get(Self.path).text == #"{"name":"team/app","tags":[]}"#)
        mirror.close()
    }

    @Test("no entries are asked of no upstream")
    func zero() throws {
        let mirror = try MirrorKit()
        #expect(mirror.get(Self.path + "?n=0").text == #"{"name":"team/app","tags":[]}"#)
        #expect(mirror.get(Self.path + "?n=x").status == 400 && mirror.fake.requests.isEmpty)
        mirror.close()
    }
}
