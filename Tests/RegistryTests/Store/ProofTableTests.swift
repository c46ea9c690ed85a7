// The index of proofs in memory, compared with a plain model of it.

import TestSupport
import Testing

@testable import OCI
@testable import Registry

@Suite struct ProofTableTests {
    struct Proof: Hashable {
        let digest: Digest
        let repository: String
    }

    @Test(
        "the table agrees with a set of pairs after any changes", arguments: [1, 2, 3, UInt64.random(in: 4 ... .max)])
    func model(_ seed: UInt64) {
        var random = SeededRandom(seed: seed)
        let digests = (0..<12).map { digestOf([UInt8($0)], $0 % 4 == 0 ? .sha512 : .sha256) }
        let names = (0..<9).map { "registry.example/team/app\($0)" }
        let table = ProofTable()
        var model: Set<Proof> = []
        for step in 0..<4000 {
            let digest = digests.randomElement(using: &random)!
            let name = names.randomElement(using: &random)!
            switch Int.random(in: 0..<20, using: &random) {
            case 0:
                table.apply(.removeContent(digest))
                model = model.filter { $0.digest != digest }
            case 1:
                table.apply(.removeRepository(name))
                model = model.filter { $0.repository != name }
            default:
                table.apply(.add(digest, repository: name))
                model.insert(Proof(digest: digest, repository: name))
            }
            let agrees = digests.allSatisfy { digest in
                names.allSatisfy {
                    table.contains(digest, $0) == model.contains(Proof(digest: digest, repository: $0))
                }
            }
            #expect(agrees, "seed \(seed), step \(step)")
            guard agrees else { return }
        }
        var listed: Set<Proof> = []
        table.forEach { listed.insert(Proof(digest: $0, repository: $1)) }
        #expect(listed == model)
        table.removeAll()
        #expect(!table.contains(digests[0], names[0]) && table.count == 0)
    }

    @Test("beyond the limit of names the oldest repository is forgotten, and its number is not given to another one")
    func names() {
        let table = ProofTable(maximumNames: 3)
        for number in 0..<5 { table.apply(.add(digestOf([UInt8(number)]), repository: "registry.example/r\(number)")) }
        for number in 0..<5 {
            for other in 0..<5 {
                let isProven = table.contains(digestOf([UInt8(number)]), "registry.example/r\(other)")
                #expect(isProven == (number == other && number >= 2))
            }
        }
        table.apply(.add(digestOf([9]), repository: "registry.example/r0"))
        #expect(!table.contains(digestOf([0]), "registry.example/r0"))
        #expect(table.contains(digestOf([9]), "registry.example/r0"))
    }

    @Test("content in more repositories than the limit loses its second oldest proof, not the latest")
    func limit() {
        let table = ProofTable()
        let digest = digestOf([1])
        for number in 0...ProofTable.maximumRepositories {
            table.apply(.add(digest, repository: "registry.example/r\(number)"))
        }
        #expect(table.contains(digest, "registry.example/r0"))
        #expect(!table.contains(digest, "registry.example/r1"))
        #expect(table.contains(digest, "registry.example/r\(ProofTable.maximumRepositories)"))
        #expect(table.count == ProofTable.maximumRepositories)
    }
}
