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
        .target(
            name: "Registry",
            dependencies: [
                "CLibuv", "CLinux", "CCurl", "COpenSSL", "CYAML", "CPCRE2", "CArchive",
                .product(name: "Logging", package: "swift-log"),
                .product(name: "DequeModule", package: "swift-collections"),
            ],
            swiftSettings: hot
        ),
        // What a browser shows at `/` of the metrics port: the document goes into the program as bytes.
        .target(name: "Page", resources: [.embedInCode("page.html")], swiftSettings: strict),
        .executableTarget(
            name: "App",
            dependencies: [
                "Page", "Registry",
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
                .product(name: "Logging", package: "swift-log"),
            ],
            swiftSettings: strict
        ),
        // The parts of the hot path whose instructions scripts/counts counts; the server does without it.
        .executableTarget(name: "Counted", dependencies: ["Registry"], swiftSettings: strict),
        .executableTarget(
            name: "LoadTest",
            dependencies: ["Registry", .product(name: "ArgumentParser", package: "swift-argument-parser")],
            swiftSettings: hot
        ),
        // The parsers as a fuzzer feeds them, and the fuzzer (scripts/soak fuzz-parsers). Without its flags it is built
        // as a program that runs single inputs.
        .target(name: "ParserFuzz", dependencies: ["Registry"], path: "Tests/ParserFuzz", swiftSettings: strict),
        .systemLibrary(name: "CLibFuzzer", path: "Tests/CLibFuzzer"),
        .executableTarget(
            name: "ParserFuzzer",
            dependencies: ["CLibFuzzer", "ParserFuzz"],
            path: "Tests/ParserFuzzer",
            swiftSettings: strict
        ),
        .testTarget(
            name: "RegistryTests",
            dependencies: ["Registry", "App", "LoadTest", "Page", "ParserFuzz"],
            swiftSettings: strict
        ),
    ]
)
