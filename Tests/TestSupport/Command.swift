// Programs that run to completion, such as clients.

internal import Foundation

package enum Command {
    package struct Result: CustomStringConvertible {
        package let arguments: [String]
        package let status: ChildProcess.Status
        package let output: [UInt8]
        package let errors: String
        package var text: String { String(decoding: output, as: UTF8.self) }
        package var description: String { "\(arguments.joined(separator: " ")): status \(status)\n\(text)\(errors)" }
    }

    /// Runs a program to its end, with any exit status. Throws when it cannot start or takes too long.
    package static func run(
        _ arguments: [String], environment: [String: String] = [:],
        patienceSeconds: Double = ChildProcess.patienceSeconds
    ) throws -> Result {
        let child = try ChildProcess(arguments, environment: environment)
        let status = try child.wait(patienceSeconds: patienceSeconds)
        return Result(arguments: arguments, status: status, output: child.output.bytes, errors: child.errors.text)
    }

    /// Runs a program that must succeed, and returns its standard output.
    @discardableResult
    package static func check(
        _ arguments: [String], environment: [String: String] = [:],
        patienceSeconds: Double = ChildProcess.patienceSeconds
    ) throws -> [UInt8] {
        let result = try run(arguments, environment: environment, patienceSeconds: patienceSeconds)
        guard result.status == 0 else { throw ChildProcess.Failure(description: result.description) }
        return result.output
    }
}

/// The content of a gzip member, decompressed by the gzip program.
package func gunzip(_ member: [UInt8]) throws -> [UInt8] {
    let files = try TemporaryDirectory()
    return try Command.check(["gzip", "--decompress", "--stdout", try files.write(member, to: "member.gz")])
}
