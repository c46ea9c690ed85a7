// The registry hosts of Amazon ECR, and the API endpoints that belong to them.

package import OCI

/// A partition of AWS: a set of regions with its own domains and its own accounts. The domains are those of the SDKs'
/// partitions.json; the registries' domains are those of the ECR credential provider for kubelet.
package struct AWSPartition: Sendable, Equatable {
    /// What the names of its regions begin with; empty for the one that has all other regions.
    let regionPrefix: String
    /// The domain of its endpoints.
    let domain: String
    /// The domain of its dual-stack endpoints, which have IPv6 addresses as well.
    let dualStackDomain: String
    /// The domain of dual-stack registries.
    let dualStackRegistryDomain: String

    static let all = [
        AWSPartition(
            regionPrefix: "cn-", domain: "amazonaws.com.cn", dualStackDomain: "api.amazonwebservices.com.cn",
            dualStackRegistryDomain: "on.amazonwebservices.com.cn"),
        AWSPartition(
            regionPrefix: "eusc-", domain: "amazonaws.eu", dualStackDomain: "api.amazonwebservices.eu",
            dualStackRegistryDomain: "on.amazonwebservices.eu"),
        AWSPartition(
            regionPrefix: "us-iso-", domain: "c2s.ic.gov", dualStackDomain: "api.aws.ic.gov",
            dualStackRegistryDomain: "on.aws.ic.gov"),
        AWSPartition(
            regionPrefix: "us-isob-", domain: "sc2s.sgov.gov", dualStackDomain: "api.aws.scloud",
            dualStackRegistryDomain: "on.aws.scloud"),
        AWSPartition(
            regionPrefix: "us-isof-", domain: "csp.hci.ic.gov", dualStackDomain: "api.aws.hci.ic.gov",
            dualStackRegistryDomain: "on.aws.hci.ic.gov"),
        AWSPartition(
            regionPrefix: "eu-isoe-", domain: "cloud.adc-e.uk", dualStackDomain: "api.cloud-aws.adc-e.uk",
            dualStackRegistryDomain: "on.cloud-aws.adc-e.uk"),
        AWSPartition(
            regionPrefix: "", domain: "amazonaws.com", dualStackDomain: "api.aws", dualStackRegistryDomain: "on.aws"),
    ]

    /// The partition of a region; nil when the text is not a region's name.
    package static func of(region: String) -> AWSPartition? {
        // A region becomes a part of host names and of signatures, so it is one DNS label.
        guard (1...63).contains(region.utf8.count), region.utf8.first != 0x2D, region.utf8.last != 0x2D,
            region.utf8.allSatisfy({ ASCII.isLower($0) || ASCII.isDigit($0) || $0 == 0x2D })
        else { return nil }
        return all.first { region.hasPrefix($0.regionPrefix) }
    }

    /// The endpoint of the Security Token Service in a region; nil when the text is not a region's name.
    package static func securityTokenEndpoint(region: String) -> String? {
        of(region: region).map { "https://sts.\(region).\($0.domain)" }
    }
}

/// A private registry of ECR: where it is, and whose it is.
package struct ECRHost: Sendable, Equatable {
    /// Twelve digits; nil for the registry of the credentials' own account.
    package let account: String?
    package let region: String
    /// Whether its endpoints use only cryptography validated by FIPS 140.
    package let isFIPS: Bool
    package let isDualStack: Bool
    private let partition: AWSPartition

    /// Nil when the account or the region is not one.
    package init?(account: String?, region: String, isFIPS: Bool = false, isDualStack: Bool = false) {
        guard let partition = AWSPartition.of(region: region) else { return nil }
        if let account {
            guard account.utf8.count == 12, account.utf8.allSatisfy(ASCII.isDigit) else { return nil }
        }
        self.account = account
        self.region = region
        self.isFIPS = isFIPS
        self.isDualStack = isDualStack
        self.partition = partition
    }

    /// Reads `ACCOUNT.dkr.ecr.REGION.amazonaws.com`, `ACCOUNT.dkr-ecr.REGION.on.aws` and the forms of them with `-fips`
    /// and in other partitions; nil for every other host, public.ecr.aws included.
    package init?(_ host: RegistryHost) {
        guard host.port == nil || host.port == 443 else { return nil }
        let labels = host.name.split(separator: ".", omittingEmptySubsequences: false).map(String.init)
        guard labels.count > 4 else { return nil }
        let isDualStack = labels[1] == "dkr-ecr" || labels[1] == "dkr-ecr-fips"
        let isFIPS = isDualStack ? labels[1] == "dkr-ecr-fips" : labels[2] == "ecr-fips"
        guard isDualStack || (labels[1] == "dkr" && (isFIPS || labels[2] == "ecr")) else { return nil }
        let place = labels[(isDualStack ? 2 : 3)...]
        guard let region = place.first else { return nil }
        self.init(account: labels[0], region: region, isFIPS: isFIPS, isDualStack: isDualStack)
        let domain = isDualStack ? partition.dualStackRegistryDomain : partition.domain
        guard place.dropFirst().joined(separator: ".") == domain else { return nil }
    }

    /// The registry with another region for the API; nil when the text is not a region's name.
    package func with(region: String) -> ECRHost? {
        ECRHost(account: account, region: region, isFIPS: isFIPS, isDualStack: isDualStack)
    }

    /// The endpoint of the API that gives tokens (the SDKs' rules for ECR: only the IPv4 names begin with `api`).
    package var apiEndpoint: String {
        let name = isFIPS ? "ecr-fips" : "ecr"
        return isDualStack
            ? "https://\(name).\(region).\(partition.dualStackDomain)"
            : "https://api.\(name).\(region).\(partition.domain)"
    }
}

/// The options of the provider, as its one text states them.
package struct ECRProviderOptions: Sendable, Equatable {
    package var profile: String?
    package var region: String?

    /// The options of an empty text.
    package init() {}

    /// Longest text accepted, in bytes.
    static let maximumBytes = 1024

    /// Reads `profile=NAME,region=REGION`; either may be absent, in any order.
    package init(_ text: String) throws(Refusal) {
        guard text.utf8.count <= ECRProviderOptions.maximumBytes else {
            throw Refusal("is longer than \(ECRProviderOptions.maximumBytes) bytes")
        }
        guard !ECRProviderOptions.trimmed(text[...]).isEmpty else { return }
        for part in text.split(separator: ",", omittingEmptySubsequences: false) {
            let pair = part.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            let name = ECRProviderOptions.trimmed(pair[0])
            let value = pair.count == 2 ? ECRProviderOptions.trimmed(pair[1]) : ""
            guard pair.count == 2, !value.isEmpty else {
                throw Refusal("has a part that is not name=value: expected profile=NAME,region=REGION")
            }
            switch name {
            case "profile" where profile == nil:
                guard value.utf8.allSatisfy({ $0 >= 0x20 && $0 != 0x7F }) else {
                    throw Refusal("the profile's name has control characters")
                }
                profile = value
            case "region" where region == nil:
                guard AWSPartition.of(region: value) != nil else {
                    throw Refusal("region is not the name of an AWS region, such as eu-central-1")
                }
                region = value
            case "profile", "region": throw Refusal("states \(name) twice")
            default: throw Refusal("has an unknown option: known are profile and region")
            }
        }
    }

    private static func trimmed(_ text: Substring) -> String {
        String(text.drop { $0 == " " }.reversed().drop { $0 == " " }.reversed())
    }
}
