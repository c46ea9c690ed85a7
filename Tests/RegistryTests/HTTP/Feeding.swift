// How the HTTP tests feed bytes: whole, in two parts, byte by byte; and what they look at afterwards. A connection's
// whole life becomes a list of events, which has to be the same however the bytes were cut.

import TestSupport
import Testing

@testable import Registry

/// What a connection has done with its input.
enum ConnectionEvent: Equatable {
    case request(RequestHead)
    case skipped(Int)
    case refused(ParseFailure)
    case end
}

enum Feeding {
    /// What the parser says to the first `count` bytes (all, if nil): the same with no memory of the fields and with
    /// one that has seen them.
    static func parse(_ bytes: [UInt8], first count: Int? = nil) -> RequestParser.Outcome {
        bytes.withUnsafeBytes { raw in
            let part = UnsafeRawBufferPointer(rebasing: raw[..<(count ?? raw.count)])
            let outcome = RequestParser.parse(part)
            var memory: FieldsMemory? = FieldsMemory()
            _ = RequestParser.parse(raw, &memory)
            #expect(RequestParser.parse(part, &memory) == outcome)
            return outcome
        }
    }

    /// The head that `text` is.
    static func head(_ text: String) throws -> RequestHead {
        guard case .head(let head) = parse(Array(text.utf8)) else {
            throw Unexpected(outcome: parse(Array(text.utf8)))
        }
        return head
    }

    struct Unexpected: Error {
        let outcome: RequestParser.Outcome
    }

    /// The parser's status for `text`: 200 for a head, 0 for too little.
    static func status(_ text: String) -> Int {
        status(parse(Array(text.utf8)))
    }

    static func status(_ outcome: RequestParser.Outcome) -> Int {
        switch outcome {
        case .incomplete: 0
        case .head: 200
        case .failure(let failure): failure.status
        }
    }

    static func text(_ slice: Slice?, _ text: String) -> String? {
        let bytes = Array(text.utf8)
        return slice.map { slice in bytes.withUnsafeBytes { String(decoding: slice.in($0), as: UTF8.self) } }
    }

    /// Plays a connection whose every request is answered at once, and which ends after the last chunk.
    static func connection(_ chunks: some Sequence<ArraySlice<UInt8>>) -> [ConnectionEvent] {
        var machine = ServerConnectionMachine()
        var memory: FieldsMemory? = FieldsMemory()
        var kept: [UInt8] = []
        var events: [ConnectionEvent] = []
        for chunk in chunks where !chunk.isEmpty {
            kept += chunk
            advance(&machine, &memory, &kept, &events)
        }
        machine.inputEnded()
        while events.last != .end { advance(&machine, &memory, &kept, &events) }
        return events
    }

    private static func advance(
        _ machine: inout ServerConnectionMachine, _ memory: inout FieldsMemory?, _ kept: inout [UInt8],
        _ events: inout [ConnectionEvent]
    ) {
        while events.last != .end {
            switch kept.withUnsafeBytes({ machine.next($0, &memory) }) {
            case .needMore: return
            case .request(let head, let consumed):
                events.append(.request(head))
                kept.removeFirst(consumed)
                machine.responseFinished()
            case .skip(let count):
                kept.removeFirst(count)
                skip(count, &events)
            case .refuse(let failure): events.append(.refused(failure))
            case .end: events.append(.end)
            }
            // A closing connection ends when it is empty; here it is drained of all chunks first, to count them.
            if machine.mustClose, kept.isEmpty { return }
        }
    }

    private static func skip(_ count: Int, _ events: inout [ConnectionEvent]) {
        if case .skipped(let earlier) = events.last {
            events[events.count - 1] = .skipped(earlier + count)
        } else {
            events.append(.skipped(count))
        }
    }

    static func whole(_ bytes: [UInt8]) -> [ConnectionEvent] {
        connection([bytes[...]])
    }

    static func split(_ bytes: [UInt8], at index: Int) -> [ConnectionEvent] {
        connection([bytes[..<index], bytes[index...]])
    }

    static func byteByByte(_ bytes: [UInt8]) -> [ConnectionEvent] {
        connection(bytes.indices.map { bytes[$0...$0] })
    }
}

/// Expects that `text` means the same to parser and connection however it is cut.
func expectSameHoweverCut(_ text: String, sourceLocation: SourceLocation = #_sourceLocation) {
    let bytes = Array(text.utf8)
    let outcome = Feeding.parse(bytes)
    let events = Feeding.whole(bytes)
    for index in 0...bytes.count {
        let early = Feeding.parse(bytes, first: index)
        #expect(early == .incomplete || early == outcome, "prefix of \(index)", sourceLocation: sourceLocation)
        #expect(Feeding.split(bytes, at: index) == events, "split at \(index)", sourceLocation: sourceLocation)
    }
    #expect(Feeding.byteByByte(bytes) == events, sourceLocation: sourceLocation)
}
