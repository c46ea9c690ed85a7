// `verify`: hashes everything in the cache again. Alone it sets aside what is wrong; beside a server it only tells.

import ArgumentParser
import Registry

struct Verify: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Hash everything in the cache again.",
        discussion: """
            What is wrong is set aside, so that the next pull fetches it anew. While a server uses the cache it is \
            only told.
            """)

    @OptionGroup var global: GlobalOptions

    func run() throws {
        ProcessSetup.apply()
        let config = try global.resolve { _ in }
        let check: StoreCheck
        do {
            check = try StoreCheck(imagePath: config.imagePath)
        } catch {
            throw StartFailure.report("\(error)", ExitCode.failure)
        }
        let wrongCount = walk(check)
        for reason in check.unreadable { LogFile.writeToStandardError(reason + "\n") }
        let progress = check.progress
        print("\(progress.files) files, \(ByteText.megabytes(progress.bytes)) MB; \(wrongCount) wrong")
        if wrongCount > 0, let obstacle = check.obstacle {
            LogFile.writeToStandardError(
                "\(obstacle)\nWhen no server is using the cache, verify sets aside what is wrong.\n")
        }
        if wrongCount > 0 || !check.unreadable.isEmpty { throw ExitCode.failure }
    }

    /// - Returns: how many files are wrong; each is a line of standard output.
    private func walk(_ check: StoreCheck) -> Int {
        let progress = ProgressLines()
        var wrongCount = 0
        while true {
            switch check.next() {
            case .end:
                progress.clear()
                return wrongCount
            case .right: break
            case .wrong(let finding):
                progress.clear()
                print(finding)
                wrongCount += 1
            }
            progress.draw(check.progress.bytes, of: check.progress.allBytes)
        }
    }
}
