// Images that clients have lately asked for by manifest, and of which the cache lacks blobs: which of them a requested
// layer belongs to.

internal import DequeModule
package import OCI

/// The images of the last minutes that are not whole, by their layers. A pure value; times are the loop's milliseconds.
package struct IncompleteImages {
    /// How long after its manifest was asked for a layer still belongs to the same client's pull.
    package static let lifetimeMilliseconds: UInt64 = 600_000
    /// Images remembered: more than a fleet starts at a time. The oldest leaves first.
    package static let maximumImages = 1024
    /// Layers remembered in all, about 200 bytes each: a manifest of 4 MiB can name 30,000.
    package static let maximumLayers = 65_536

    /// An image to be completed.
    package struct Image {
        package let host: RegistryHost
        package let repository: RepositoryName
        /// The image's manifest.
        package let manifest: Digest
        /// Its config and layers that were missing.
        package let missing: [Digest]

        package init(host: RegistryHost, repository: RepositoryName, manifest: Digest, missing: [Digest]) {
            self.host = host
            self.repository = repository
            self.manifest = manifest
            self.missing = missing
        }
    }

    private struct Entry {
        let image: Image
        let layers: [PullKey]
        let endMilliseconds: UInt64
    }

    private var entries: [UInt64: Entry] = [:]
    private var byLayer: [PullKey: [UInt64]] = [:]
    private var order: Deque<UInt64> = []
    /// How many of the images have a layer, whatever their repositories. Nearly every requested blob is a layer of
    /// none, which one lookup finds out.
    private var imagesByDigest: [Digest: Int] = [:]
    private var layerCount = 0
    private var nextNumber: UInt64 = 0

    package init() {}

    package var isEmpty: Bool { entries.isEmpty }
    /// Images noted so far.
    package var notedCount: UInt64 { nextNumber }

    /// Whether an image of any repository has this layer.
    package func mayHave(_ layer: Digest) -> Bool { !entries.isEmpty && imagesByDigest[layer] != nil }

    package var count: Int { entries.count }
    /// Places in the order of age, those of images that are gone included.
    var orderCount: Int { order.count }

    /// Remembers an image whose manifest was asked for.
    /// - Parameter layers: the layers that a client may ask for next, present ones included.
    package mutating func note(_ image: Image, layers: [Digest], now: UInt64) {
        dropOld(now: now)
        guard layers.count <= IncompleteImages.maximumLayers, !layers.isEmpty else { return }
        let keys = Set(layers).map { PullKey(host: image.host, repository: image.repository, digest: $0) }
        // The same image asked for again takes the place of what is known of it.
        let former = (byLayer[keys[0]] ?? []).filter { entries[$0]?.image.manifest == image.manifest }
        for number in former { remove(number) }
        while entries.count >= IncompleteImages.maximumImages
            || layerCount + keys.count > IncompleteImages.maximumLayers, let oldest = order.popFirst()
        {
            remove(oldest)
        }
        nextNumber += 1
        entries[nextNumber] = Entry(
            image: image, layers: keys, endMilliseconds: now + IncompleteImages.lifetimeMilliseconds)
        order.append(nextNumber)
        layerCount += keys.count
        for key in keys {
            byLayer[key, default: []].append(nextNumber)
            imagesByDigest[key.digest, default: 0] += 1
        }
    }

    /// A client has asked for a blob: the images that it is a layer of. Each is given once.
    package mutating func take(_ layer: PullKey, now: UInt64) -> [Image] {
        dropOld(now: now)
        let numbers = byLayer[layer] ?? []
        let images = numbers.compactMap { entries[$0]?.image }
        for number in numbers { remove(number) }
        return images
    }

    private mutating func dropOld(now: UInt64) {
        while let first = order.first, entries[first].map({ $0.endMilliseconds <= now }) ?? true {
            order.removeFirst()
            remove(first)
        }
    }

    private mutating func remove(_ number: UInt64) {
        guard let entry = entries.removeValue(forKey: number) else { return }
        layerCount -= entry.layers.count
        for key in entry.layers {
            byLayer[key]?.removeAll { $0 == number }
            if byLayer[key]?.isEmpty == true { byLayer[key] = nil }
            let others = (imagesByDigest[key.digest] ?? 1) - 1
            imagesByDigest[key.digest] = others > 0 ? others : nil
        }
        // Numbers of images that were taken stay behind one that is still waited for.
        if order.count > 2 * IncompleteImages.maximumImages { order.removeAll { entries[$0] == nil } }
    }
}
