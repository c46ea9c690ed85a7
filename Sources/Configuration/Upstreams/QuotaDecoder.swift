// Decodes `quota` of an entry of `registries`: what is saved of the requests that the registry allows.

internal import OCI

enum QuotaDecoder {
    static func key<Target>(_ reserve: WritableKeyPath<Target, Int?>) -> ConfigKey<Target> {
        let keys: [ConfigKey<Target>] = [
            .init(name: "reserve") { value, target throws(Refusal) in
                try value.assignUnlessEmpty(ConfigRules.quotaReserve, to: &target[keyPath: reserve])
            }
        ]
        return .init(name: "quota", children: keys.map(\.name)) { value, target throws(Refusal) in
            try value.decode(keys, into: &target)
        }
    }
}

extension ConfigRules {
    /// Registries that state a limit allow at most thousands of pulls in their period; more is a typing error.
    private static let maximumQuotaReserve = 1_000_000

    static func quotaReserve(_ text: String) throws(Refusal) -> Int? {
        guard let number = OutsideNumber.decimal(text, in: 1...maximumQuotaReserve) else {
            throw Refusal("must be a number of pulls from 1 to \(maximumQuotaReserve), not \(shown(text))")
        }
        return number
    }
}
