// The change of a file as a unified diff, as `patch` and everybody's eyes know it.

enum UnifiedDiff {
    private static let context = 3
    /// Changed lines that are compared with each other, which takes as much time as there are pairs of them.
    private static let maximumCompared = 2000

    private enum Line {
        case kept(String)
        case removed(String)
        case added(String)
    }

    /// Nil content: there is no such file.
    static func text(_ place: String, from before: [UInt8]?, to after: [UInt8]?) -> String {
        let lines = lines(from: split(before), to: split(after))
        var text = "--- \(before == nil ? "/dev/null" : place)\n+++ \(after == nil ? "/dev/null" : place)\n"
        // Where each line is in both files, from 0.
        var positions: [(old: Int, new: Int)] = []
        var old = 0
        var new = 0
        for line in lines {
            positions.append((old, new))
            if case .added = line {
                new += 1
            } else if case .removed = line {
                old += 1
            } else {
                (old, new) = (old + 1, new + 1)
            }
        }
        for hunk in hunks(lines) {
            let start = positions[hunk.lowerBound]
            var counts = (old: 0, new: 0)
            var body = ""
            for line in lines[hunk] {
                switch line {
                case .kept(let text):
                    counts = (counts.old + 1, counts.new + 1)
                    body += " " + ended(text)
                case .removed(let text):
                    counts.old += 1
                    body += "-" + ended(text)
                case .added(let text):
                    counts.new += 1
                    body += "+" + ended(text)
                }
            }
            // An empty range names the line before it.
            text += "@@ -\(start.old + (counts.old > 0 ? 1 : 0)),\(counts.old)"
            text += " +\(start.new + (counts.new > 0 ? 1 : 0)),\(counts.new) @@\n" + body
        }
        return text
    }

    private static func ended(_ line: String) -> String {
        line.utf8.last == 0x0A ? line : line + "\n\\ No newline at end of file\n"
    }

    /// Lines with their newlines.
    private static func split(_ bytes: [UInt8]?) -> [String] {
        var lines: [String] = []
        var rest = (bytes ?? [])[...]
        while !rest.isEmpty {
            let end = rest.firstIndex(of: 0x0A).map { $0 + 1 } ?? rest.endIndex
            lines.append(String(decoding: rest[..<end], as: UTF8.self))
            rest = rest[end...]
        }
        return lines
    }

    private static func lines(from before: [String], to after: [String]) -> [Line] {
        // Changes are few and near each other: what is equal at both ends is not compared.
        let start = zip(before, after).prefix { $0 == $1 }.count
        let end = zip(before[start...].reversed(), after[start...].reversed()).prefix { $0 == $1 }.count
        let old = before[start..<(before.count - end)]
        let new = after[start..<(after.count - end)]
        var removed: Set<Int> = []
        var added: Set<Int> = []
        guard max(old.count, new.count) <= maximumCompared else {
            return before[..<start].map(Line.kept) + old.map(Line.removed) + new.map(Line.added)
                + after[(after.count - end)...].map(Line.kept)
        }
        for change in Array(new).difference(from: Array(old)) {
            switch change {
            case .remove(let offset, _, _): removed.insert(offset)
            case .insert(let offset, _, _): added.insert(offset)
            }
        }
        var lines = before[..<start].map(Line.kept)
        var from = 0
        var to = 0
        while from < old.count || to < new.count {
            if from < old.count, removed.contains(from) {
                lines.append(.removed(old[old.startIndex + from]))
                from += 1
            } else if to < new.count, added.contains(to) {
                lines.append(.added(new[new.startIndex + to]))
                to += 1
            } else {
                lines.append(.kept(new[new.startIndex + to]))
                (from, to) = (from + 1, to + 1)
            }
        }
        return lines + after[(after.count - end)...].map(Line.kept)
    }

    /// The changes with the lines around them; those that touch are one.
    private static func hunks(_ lines: [Line]) -> [Range<Int>] {
        var hunks: [Range<Int>] = []
        for (index, line) in lines.enumerated() {
            if case .kept = line { continue }
            let range = max(0, index - context)..<min(lines.count, index + context + 1)
            if let last = hunks.last, last.upperBound >= range.lowerBound {
                hunks[hunks.count - 1] = last.lowerBound..<range.upperBound
            } else {
                hunks.append(range)
            }
        }
        return hunks
    }
}
