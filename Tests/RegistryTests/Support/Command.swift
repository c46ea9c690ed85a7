// Programs that run to their end, such as the clients.

import Foundation

enum Command {
    struct Result: CustomStringConvertible {
        let arguments: [String]
        let status: ChildProcess.Status
        let output: [UInt8]
        let errors: String
        var text: String { String(decoding: output, as: UTF8.self) }
        var description: String { "\(arguments.joined(separator: " ")): status \(status)\n\(text)\(errors)" }
    }

    /// Runs a program to its end, whatever that is. Throws when it cannot start or takes too long.
    static func run(
        _ arguments: [String], environment: [String: String] = [:],
        patienceSeconds: Double = ChildProcess.patienceSeconds
    ) throws -> Result {
        let child = try ChildProcess(arguments, environment: environment)
        let status = try child.wait(patienceSeconds: patienceSeconds)
        return Result(arguments: arguments, status: status, output: child.output.bytes, errors: child.errors.text)
    }

    /// Runs a program that has to succeed, and returns what it wrote to its standard output.
    @discardableResult
    static func check(
        _ arguments: [String], environment: [String: String] = [:],
        patienceSeconds: Double = ChildProcess.patienceSeconds
    ) throws -> [UInt8] {
        let result = try run(arguments, environment: environment, patienceSeconds: patienceSeconds)
        guard result.status == 0 else { throw ChildProcess.Failure(description: result.description) }
        return result.output
    }
}
