import TestSupport
import Testing

@testable import OCI
@testable import Registry

@Suite struct IncompleteImagesTests {
    private static let host = RegistryHost("registry.test")!  // valid
    private static let repository = RepositoryName("team/app")!  // valid

    private func image(_ number: UInt8, missing: [Digest] = [], repository: RepositoryName = repository)
        -> IncompleteImages.Image
    {
        .init(host: Self.host, repository: repository, manifest: digestOf([number]), missing: missing)
    }

    private func key(_ digest: Digest, _ repository: RepositoryName = repository) -> PullKey {
        PullKey(host: Self.host, repository: repository, digest: digest)
    }

    @Test("a layer gives every image of its repository that names it, once")
    func take() throws {
        var images = IncompleteImages()
        let (shared, own) = (digestOf([100]), digestOf([101]))
        images.note(image(1, missing: [shared]), layers: [shared, own], now: 0)
        images.note(image(2, missing: [shared, own]), layers: [shared], now: 5)
        let other = try #require(RepositoryName("team/other"))
        #expect(images.take(key(shared, other), now: 6).isEmpty, "of another repository")
        #expect(images.take(key(digestOf([102])), now: 6).isEmpty, "a config is no layer")
        #expect(images.take(key(shared), now: 6).map(\.manifest) == [digestOf([1]), digestOf([2])])
        #expect(images.isEmpty && images.take(key(shared), now: 6).isEmpty && images.take(key(own), now: 6).isEmpty)
    }

    @Test("an image is forgotten ten minutes after its manifest was asked for, and asking again renews that")
    func lifetime() {
        var images = IncompleteImages()
        let layer = digestOf([100])
        images.note(image(1), layers: [layer], now: 0)
        images.note(image(1), layers: [layer], now: 300_000)
        #expect(images.count == 1)
        #expect(images.take(key(layer), now: 899_999).count == 1)
        images.note(image(1), layers: [layer], now: 1_000_000)
        #expect(images.take(key(layer), now: 1_600_000).isEmpty && images.isEmpty)
    }

    @Test("images that were taken leave nothing behind one that is waited for")
    func taken() {
        var images = IncompleteImages()
        images.note(image(1), layers: [digestOf([200])], now: 0)
        for number in 0..<5000 {
            let layer = digestOf(Array("\(number)".utf8))
            images.note(image(2), layers: [layer], now: 1)
            #expect(images.take(key(layer), now: 1).count == 1)
        }
        #expect(images.orderCount <= 2 * IncompleteImages.maximumImages + 1)
        #expect(images.take(key(digestOf([200])), now: 2).count == 1)
    }

    @Test("images and layers are bounded, and the oldest leave first")
    func bounds() {
        var images = IncompleteImages()
        func layer(_ number: Int) -> Digest { digestOf(Array("\(number)".utf8)) }
        for number in 0..<IncompleteImages.maximumImages + 10 {
            let image = IncompleteImages.Image(
                host: Self.host, repository: Self.repository, manifest: layer(-number), missing: [])
            images.note(image, layers: [layer(number)], now: 0)
        }
        #expect(images.count == IncompleteImages.maximumImages)
        #expect(images.take(key(layer(9)), now: 1).isEmpty && images.take(key(layer(10)), now: 1).count == 1)
        images.note(image(1), layers: (0...IncompleteImages.maximumLayers).map { layer($0) }, now: 1)
        #expect(images.count == IncompleteImages.maximumImages - 1, "more layers than there is place for")
        images.note(image(2), layers: (0..<IncompleteImages.maximumLayers).map { layer(-$0) }, now: 1)
        #expect(images.count == 1)
    }
}
