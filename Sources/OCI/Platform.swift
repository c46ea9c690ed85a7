// The platform of an image, in Go's GOOS and GOARCH terms, which image-spec uses (image-index.md, "platform").

/// Operating system, architecture and, for some architectures, a variant of it.
package struct Platform: Hashable, Sendable, CustomStringConvertible {
    package let os: String
    package let architecture: String
    package let variant: String?

    package init(os: String, architecture: String, variant: String? = nil) {
        self.os = os
        self.architecture = architecture
        self.variant = variant
    }

    /// The platform of this machine.
    package static let machine = Platform(os: "linux", architecture: machineArchitecture)

    #if arch(x86_64)
        private static let machineArchitecture = "amd64"
    #elseif arch(arm64)
        private static let machineArchitecture = "arm64"
    #elseif arch(s390x)
        private static let machineArchitecture = "s390x"
    #elseif arch(powerpc64le)
        private static let machineArchitecture = "ppc64le"
    #elseif arch(riscv64)
        private static let machineArchitecture = "riscv64"
    #endif

    /// Whether an image for `other` matches; a platform without a variant matches every variant.
    package func accepts(_ other: Platform) -> Bool {
        os == other.os && architecture == other.architecture && (variant == nil || variant == other.variant)
    }

    /// Whether it is the platform that build tools write for attestations, which run nowhere.
    package var isUnknown: Bool { os == "unknown" }

    package var description: String { "\(os)/\(architecture)" + (variant.map { "/\($0)" } ?? "") }
}

/// The wanted platforms of an index.
package enum PlatformChoice: Hashable, Sendable {
    case all
    case only(Platform)

    /// Whether an index's entry is wanted; an entry without a platform is.
    package func accepts(_ platform: Platform?) -> Bool {
        guard case .only(let wanted) = self, let platform else { return true }
        return wanted.accepts(platform)
    }
}
