// Feeds one parser. A usual build runs the files named on the command line, to look at an input that was found. A build
// with `-sanitize=fuzzer -DFUZZER`, as scripts/soak makes it, is libFuzzer with coverage and takes its arguments.
//
//     OCIREGISTRY_FUZZ_PARSER=manifest parser-fuzzer FILE…
//     parser-fuzzer --list

import Glibc
import ParserFuzz

#if FUZZER
    import CLibFuzzer
#endif

private let names = ParserEntry.all.map(\.name)

private func fail(_ message: String) -> Never {
    let line = "parser-fuzzer: \(message)\n"
    write(STDERR_FILENO, line, line.utf8.count)
    exit(2)
}

if CommandLine.arguments.dropFirst() == ["--list"] {
    for name in names { print(name) }
    exit(0)
}

private let chosen = getenv("OCIREGISTRY_FUZZ_PARSER").map { String(cString: $0) } ?? ""
guard let parser = ParserEntry.all.first(where: { $0.name == chosen }) else {
    fail("OCIREGISTRY_FUZZ_PARSER must be one of \(names.joined(separator: ", "))")
}
private let run = parser.run

#if FUZZER
    var count = CommandLine.argc
    var arguments: UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>? = CommandLine.unsafeArgv
    exit(
        LLVMFuzzerRunDriver(&count, &arguments) { data, size in
            run(UnsafeRawBufferPointer(start: data, count: size))
            return 0
        })
#else
    for path in CommandLine.arguments.dropFirst() {
        guard let file = fopen(path, "r") else { fail("cannot read \(path)") }
        var bytes: [UInt8] = []
        var piece = [UInt8](repeating: 0, count: 64 * 1024)
        while case let got = fread(&piece, 1, piece.count, file), got > 0 { bytes += piece[..<got] }
        fclose(file)
        bytes.withUnsafeBytes(run)
        print("\(path): \(bytes.count) bytes")
    }
#endif
