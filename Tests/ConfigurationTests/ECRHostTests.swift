// The hosts of ECR, and the options of its provider.

import Testing

@testable import Configuration
@testable import OCI

@Suite struct ECRHostTests {
    @Test(
        "the hosts of ECR give account, region and endpoint",
        arguments: [
            ("123456789012.dkr.ecr.eu-central-1.amazonaws.com", "https://api.ecr.eu-central-1.amazonaws.com"),
            ("123456789012.dkr.ecr.us-gov-west-1.amazonaws.com", "https://api.ecr.us-gov-west-1.amazonaws.com"),
            ("123456789012.dkr.ecr-fips.us-east-1.amazonaws.com", "https://api.ecr-fips.us-east-1.amazonaws.com"),
            ("123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn", "https://api.ecr.cn-north-1.amazonaws.com.cn"),
            ("123456789012.dkr-ecr.eu-west-1.on.aws", "https://ecr.eu-west-1.api.aws"),
            ("123456789012.dkr-ecr-fips.us-east-2.on.aws", "https://ecr-fips.us-east-2.api.aws"),
            (
                "123456789012.dkr-ecr.cn-northwest-1.on.amazonwebservices.com.cn",
                "https://ecr.cn-northwest-1.api.amazonwebservices.com.cn"
            ),
            ("123456789012.dkr.ecr.eusc-de-east-1.amazonaws.eu", "https://api.ecr.eusc-de-east-1.amazonaws.eu"),
            ("123456789012.dkr.ecr.us-iso-east-1.c2s.ic.gov", "https://api.ecr.us-iso-east-1.c2s.ic.gov"),
            ("123456789012.dkr-ecr.us-isob-east-1.on.aws.scloud", "https://ecr.us-isob-east-1.api.aws.scloud"),
            ("123456789012.dkr.ecr.eu-west-3.amazonaws.com:443", "https://api.ecr.eu-west-3.amazonaws.com"),
        ])
    func knownHosts(_ text: String, _ endpoint: String) throws {
        let host = try #require(RegistryHost(text).flatMap(ECRHost.init))
        #expect(host.account == "123456789012")
        #expect(text.contains(".\(host.region)."))
        #expect(host.isFIPS == text.contains("fips"))
        #expect(host.apiEndpoint == endpoint)
    }

    @Test(
        "other hosts are not of ECR",
        arguments: [
            "public.ecr.aws", "docker.io", "123456789012.dkr.ecr.eu-central-1.amazonaws.com.evil.example",
            "123456789012.dkr.ecr.eu-central-1.amazonaws.com.cn", "123456789012.dkr.ecr.cn-north-1.amazonaws.com",
            "12345678901.dkr.ecr.eu-central-1.amazonaws.com", "x23456789012.dkr.ecr.eu-central-1.amazonaws.com",
            "123456789012.dkr.ecr.amazonaws.com", "123456789012.dkr.ecr.eu-central-1.on.aws",
            "123456789012.dkr-ecr.eu-central-1.amazonaws.com", "123456789012.dkr.ecr.eu-central-1.amazonaws.com:8443",
            "123456789012.ecr.eu-central-1.amazonaws.com", "a.b.c.d.e", "[::1]:5000", "127.0.0.1:5000",
        ])
    func otherHosts(_ text: String) throws {
        #expect(ECRHost(try #require(RegistryHost(text))) == nil)
    }

    @Test("a stated region is a region's name, and an account has twelve digits") func statedParts() {
        #expect(ECRHost(account: nil, region: "eu-west-1")?.apiEndpoint == "https://api.ecr.eu-west-1.amazonaws.com")
        for region in ["", "eu-west-1.evil.example/", "EU-WEST-1", "-a", "a:b", String(repeating: "a", count: 64)] {
            #expect(ECRHost(account: nil, region: region) == nil)
        }
        for account in ["", "1", "1234567890123", "12345678901\"", "١٢٣٤٥٦٧٨٩٠١٢"] {
            #expect(ECRHost(account: account, region: "eu-west-1") == nil)
        }
    }

    @Test("the provider's options are profile and region") func options() throws {
        let both = try ECRProviderOptions(" profile = prod eu , region=eu-west-1")
        #expect(both.profile == "prod eu")
        #expect(both.region == "eu-west-1")
        #expect(try ECRProviderOptions("") == ECRProviderOptions())
        #expect(try ECRProviderOptions("profile=a=b").profile == "a=b")
    }

    @Test(
        "invalid options are refused with a reason",
        arguments: [
            ("profile", "name=value"), ("profile=", "name=value"), ("profile=a,", "name=value"),
            ("profile=a,profile=b", "twice"), ("region=eu-west-1,region=eu-west-1", "twice"),
            ("region=Frankfurt", "region"), ("zone=a", "unknown option"), ("profile=a\nb", "control characters"),
            (String(repeating: "a", count: 2000), "longer"),
        ])
    func refusedOptions(_ text: String, _ reason: String) {
        #expect {
            _ = try ECRProviderOptions(text)
        } throws: {
            "\($0)".contains(reason)
        }
    }
}
