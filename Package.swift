// swift-tools-version: 6.2
import PackageDescription

/// One strictness for every target of ours: Swift 6 concurrency checking, and no warning left standing.
let strict: [SwiftSetting] = [
    .swiftLanguageMode(.v6),
    .enableUpcomingFeature("ExistentialAny"),
    .enableUpcomingFeature("MemberImportVisibility"),
    .enableUpcomingFeature("InternalImportsByDefault"),
    .treatAllWarnings(as: .error),
]

/// Exclusive access is proven by the compiler where it can and checked at run time elsewhere. The run-time checks stay
/// in debug builds, which every test runs; in release they would be an eighth of all instructions of a cached answer.
let hot: [SwiftSetting] =
    strict + [
        .unsafeFlags(["-enforce-exclusivity=unchecked"], .when(configuration: .release))
    ]

let package = Package(
    name: "ociregistry",
    products: [
        .executable(name: "ociregistry", targets: ["App"]),
        .executable(name: "counted", targets: ["Counted"]),
        // The driver of scripts/load-test. Nothing else needs it, and nothing of it is in the server.
        .executable(name: "ociregistry-load", targets: ["LoadTest"]),
        // For scripts/soak fuzz-parsers.
        .executable(name: "parser-fuzzer", targets: ["ParserFuzzer"]),
    ],
    dependencies: [
        // Pinned exactly: no lock file is kept, so this is the one place that says what is built.
        .package(url: "https://github.com/apple/swift-argument-parser", exact: "1.8.2"),
        .package(url: "https://github.com/apple/swift-log", exact: "1.16.2"),
        .package(url: "https://github.com/apple/swift-collections", exact: "1.6.0"),
    ],
    targets: [
        .systemLibrary(name: "CLibuv"),
        .systemLibrary(name: "CLinux"),
        .systemLibrary(name: "CCurl"),
        .systemLibrary(name: "COpenSSL"),
        .systemLibrary(name: "CYAML"),
        .systemLibrary(name: "CPCRE2"),
        .systemLibrary(name: "CArchive"),
        // What a part of the program is allowed to use, the compiler keeps where no cached answer pays for it. The rest
        // is one module, so that the optimiser sees all that a cached answer does.
        .target(name: "OCI", dependencies: ["COpenSSL"], swiftSettings: hot),
        .target(name: "Configuration", dependencies: ["CPCRE2", "CYAML", "OCI"], swiftSettings: strict),
        .target(name: "ImageArchive", dependencies: ["CArchive", "OCI"], swiftSettings: strict),
        .target(name: "BuiltinImage", dependencies: ["OCI"], swiftSettings: strict),
        .target(
            name: "Registry",
            dependencies: [
                "BuiltinImage", "CCurl", "CLibuv", "CLinux", "COpenSSL", "Configuration", "ImageArchive", "OCI",
                .product(name: "Logging", package: "swift-log"),
                .product(name: "BasicContainers", package: "swift-collections"),
                .product(name: "DequeModule", package: "swift-collections"),
            ],
            swiftSettings: hot
        ),
        // The files of container runtimes, read and written by `setup` and `doctor`; nothing of it is on the hot path.
        // What `doctor` does: requests to a mirror and to container runtimes.
        .target(
            name: "Doctor",
            dependencies: ["CCurl", "OCI", "Registry", "RuntimeSetup"], swiftSettings: strict),
        .target(name: "RuntimeSetup", dependencies: ["Configuration", "OCI"], swiftSettings: strict),
        // What a browser shows at `/` of the metrics port: the document goes into the program as bytes.
        .target(name: "Page", resources: [.embedInCode("page.html")], swiftSettings: strict),
        .executableTarget(
            name: "App",
            dependencies: [
                "BuiltinImage", "Configuration", "Doctor", "ImageArchive", "OCI", "Page", "Registry", "RuntimeSetup",
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
                .product(name: "Logging", package: "swift-log"),
            ],
            swiftSettings: strict
        ),
        // The parts of the hot path whose instructions scripts/counts counts; the server does without it.
        .executableTarget(name: "Counted", dependencies: ["OCI", "Registry"], swiftSettings: strict),
        .executableTarget(
            name: "LoadTest",
            dependencies: [
                "OCI", "Registry", .product(name: "ArgumentParser", package: "swift-argument-parser"),
            ],
            swiftSettings: hot
        ),
        // The parsers as a fuzzer feeds them, and the fuzzer (scripts/soak fuzz-parsers). Without its flags it is built
        // as a program that runs single inputs.
        .target(
            name: "ParserFuzz", dependencies: ["Configuration", "ImageArchive", "OCI", "Registry"],
            path: "Tests/ParserFuzz", swiftSettings: strict),
        .systemLibrary(name: "CLibFuzzer", path: "Tests/CLibFuzzer"),
        .executableTarget(
            name: "ParserFuzzer",
            dependencies: ["CLibFuzzer", "ParserFuzz"],
            path: "Tests/ParserFuzzer",
            swiftSettings: strict
        ),
        // What several test targets share: real programs, scripted upstreams and clients, temporary directories.
        .target(
            name: "TestSupport",
            dependencies: [
                "Configuration", "ImageArchive", "OCI", "Registry", .product(name: "Logging", package: "swift-log"),
            ],
            path: "Tests/TestSupport", swiftSettings: strict),
        .testTarget(name: "OCITests", dependencies: ["OCI", "TestSupport"], swiftSettings: strict),
        .testTarget(
            name: "ConfigurationTests", dependencies: ["Configuration", "OCI", "TestSupport"], swiftSettings: strict),
        .testTarget(
            name: "ImageArchiveTests", dependencies: ["ImageArchive", "OCI", "TestSupport"], swiftSettings: strict),
        .testTarget(
            name: "RegistryTests",
            dependencies: [
                "BuiltinImage", "Configuration", "ImageArchive", "OCI", "ParserFuzz", "Registry", "TestSupport",
            ],
            swiftSettings: strict
        ),
        .testTarget(name: "DoctorTests", dependencies: ["Doctor", "Registry", "TestSupport"], swiftSettings: strict),
        .testTarget(
            name: "RuntimeSetupTests", dependencies: ["Configuration", "RuntimeSetup", "TestSupport"],
            swiftSettings: strict),
        .testTarget(
            name: "AppTests",
            dependencies: ["App", "Configuration", "OCI", "Registry", "RuntimeSetup", "TestSupport"],
            swiftSettings: strict),
        // With real clients and servers, and a real browser.
        .testTarget(
            name: "EndToEndTests",
            dependencies: ["Configuration", "ImageArchive", "LoadTest", "OCI", "Page", "Registry", "TestSupport"],
            swiftSettings: strict
        ),
        // The rules of source and documents.
        .testTarget(name: "LintTests", dependencies: ["TestSupport"], swiftSettings: strict),
    ]
)
