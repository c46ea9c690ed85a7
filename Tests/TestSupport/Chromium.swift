// Chromium, headless: the state of a page some time after it was opened, and its console messages.

internal import Foundation

/// The state of a page at the end of its time.
package struct BrowsedPage: CustomStringConvertible {
    /// The document as the browser serializes it: in text, `<`, `>` and `&` are entities.
    package let markup: String
    /// The console messages: errors, and refusals by the Content-Security-Policy.
    package let console: [String]

    package var description: String { "\(console.joined(separator: "\n"))\n\(markup)" }

    /// The value of `name="…"` in the first tag that has `mark`.
    package func attribute(_ name: String, inTagWith mark: String) -> String? {
        for tag in markup.components(separatedBy: "<").dropFirst() {
            let tag = tag.prefix { $0 != ">" }
            guard tag.contains(mark) else { continue }
            return tag.components(separatedBy: " \(name)=\"").dropFirst().first.map {
                Self.text(String($0.prefix { $0 != "\"" }))
            }
        }
        return nil
    }

    /// The cells of every row of every table, as text.
    package var rows: [[String]] {
        markup.components(separatedBy: "<tr>").dropFirst().map { row in
            let cells = row.components(separatedBy: "</tr>")[0].components(separatedBy: "<t").dropFirst()
            return cells.map { cell in
                let content = cell.drop { $0 != ">" }.dropFirst()
                return Self.text(String(content.prefix { $0 != "<" }))
            }
        }
    }

    package static func text(_ markup: String) -> String {
        [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&nbsp;", "\u{A0}"), ("&amp;", "&")].reduce(markup) {
            $0.replacingOccurrences(of: $1.0, with: $1.1)
        }
    }
}

package enum Chromium {
    /// Opens a page, lets `milliseconds` of virtual time pass, and returns the page's state. Virtual time stands still
    /// while a response is pending and runs fast when the page is idle, so a slow machine does not shorten it.
    package static func open(_ url: String, milliseconds: Int, options: [String] = []) throws -> BrowsedPage {
        let profile = try TemporaryDirectory()
        // Root cannot set up chromium's sandbox.
        let sandbox = geteuid() == 0 ? ["--no-sandbox"] : []
        let result = try Command.run(
            [
                "chromium", "--headless=new", "--disable-gpu", "--user-data-dir=\(profile.path)", "--no-first-run",
                "--enable-logging=stderr", "--v=0", "--virtual-time-budget=\(milliseconds)",
            ] + sandbox + options + ["--dump-dom", url])
        guard result.status == 0 else { throw ChildProcess.Failure(description: result.description) }
        let console = result.errors.split(separator: "\n").filter { $0.contains(":CONSOLE") }
        return BrowsedPage(markup: result.text, console: console.map(String.init))
    }
}
