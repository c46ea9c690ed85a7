// An upstream's image with signatures, for the tests of lists.

import TestSupport

@testable import OCI
@testable import Registry

/// A repository with an image and its signatures.
struct SignedImage {
    static let image = FakeImage(seed: 7)
    static let tags = "/v2/team/app/tags/list"
    static let referrers = "/v2/team/app/referrers/\(image.digest)"
    static let fallback = "/v2/team/app/manifests/sha256-\(image.digest.hex)"
    static let type = "application/vnd.test.signature"

    /// The manifest of a signature.
    static func signature(_ number: Int, of subject: FakeImage = image, repository: String = "") -> [UInt8] {
        let config = FakeImage.descriptor("application/vnd.oci.empty.v1+json", Array("{}".utf8))
        let about = FakeImage.descriptor(FakeImage.type, subject.manifest)
        return Array(
            """
            {"schemaVersion":2,"mediaType":"\(FakeImage.type)","artifactType":"\(type)","config":\(config),\
            "layers":[],"subject":\(about),"annotations":{"number":"\(number)","where":"\(repository)"}}
            """.utf8)
    }

    /// An entry with members that no decoder here knows.
    static func entry(_ number: Int, type: String? = type) -> String {
        let artifact = type.map { "\"artifactType\" : \"\($0)\"," } ?? ""
        let bytes = signature(number)
        return """
            { "mediaType":"\(FakeImage.type)", "digest":"\(digestOf(bytes))", "size":\(bytes.count),\(artifact)
              "platform":{"os":"linux"}, "annotations":{"a":null,"b":5}, "x-unknown":[1,{"}":"]"}], "n":1.50 }
            """
    }

    static func index(_ entries: [String]) -> FakeAnswer {
        let type = MediaType.ociIndex.text
        let list = entries.joined(separator: ",")
        let text = "{\"schemaVersion\":2,\"mediaType\":\"\(type)\",\"manifests\":[\(list)]}"
        return .ok(Array(text.utf8), type: type)
    }

    static func tagList(_ names: [String]) -> FakeAnswer {
        .json("{\"name\":\"team/app\",\"tags\":[\(names.map { "\"\($0)\"" }.joined(separator: ","))]}")
    }

    static func put(on fake: FakeUpstream) {
        image.put(on: fake, tag: "v1")
        fake.on(tags, tagList(["v1", "v2"]))
        fake.on(referrers, index([entry(1), entry(2)]))
        fake.on(fallback, .status(404))
    }
}
