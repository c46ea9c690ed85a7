// Which answers of upstreams are remembered, for how long, and what ends that.

import TestSupport
import Testing

@testable import Configuration
@testable import OCI
@testable import Registry

@Suite struct NegativeAnswersTests {
    private static let settings = NegativeCacheSettings(notFoundMilliseconds: 10_000, deniedMilliseconds: 3_000)
    private static let host = RegistryHost("a.test")!  // a valid host

    private static func key(_ name: String, host: RegistryHost = host) -> NegativeAnswers.Key {
        NegativeAnswers.Key(host: host, path: "/v2/team/app/manifests/\(name)")
    }

    private static func error(_ status: Int, upstream: Int?) -> RegistryError {
        var error = RegistryError(status: status, code: .unknown, message: "m", detail: "d")
        error.upstreamStatus = upstream
        return error
    }

    private static func note(
        _ answers: inout NegativeAnswers, _ key: NegativeAnswers.Key, _ error: RegistryError?,
        _ question: NegativeAnswers.Question = .content, now: UInt64 = 0
    ) {
        let ticket = answers.begin(key)
        answers.end(ticket, question, error, now: now)
    }

    @Test(
        "only an upstream's own 404, 410, 401, 403 and 451 are remembered, each for its time",
        arguments: [
            (404, 404, 10_000), (404, 410, 10_000), (403, 401, 3_000), (403, 403, 3_000), (403, 451, 3_000),
            (404, nil, nil), (403, nil, nil), (429, 429, nil), (503, 500, nil), (503, 503, nil), (502, 302, nil),
            (502, nil, nil), (400, 400, nil), (503, 401, nil), (502, 404, nil),
        ] as [(Int, Int?, UInt64?)])
    func kinds(_ status: Int, _ upstream: Int?, _ milliseconds: UInt64?) {
        var answers = NegativeAnswers(Self.settings)
        Self.note(&answers, Self.key("v1"), Self.error(status, upstream: upstream), now: 100)
        guard let milliseconds else {
            #expect(answers.count == 0 && answers.error(Self.key("v1"), .content, now: 100) == nil)
            return
        }
        for now in [100, 100 + milliseconds - 1] {
            #expect(
                answers.error(Self.key("v1"), .content, now: now) == Self.error(status, upstream: nil),
                "the same error, which is final")
        }
        #expect(answers.error(Self.key("v1"), .content, now: 100 + milliseconds) == nil)
        #expect(answers.error(Self.key("v2"), .content, now: 100) == nil)
        #expect(answers.error(Self.key("v1", host: .dockerHub), .content, now: 100) == nil)
    }

    @Test("a time of zero turns one kind off") func off() {
        for (settings, status) in [
            (NegativeCacheSettings(notFoundMilliseconds: 0, deniedMilliseconds: 5), 404),
            (NegativeCacheSettings(notFoundMilliseconds: 5, deniedMilliseconds: 0), 403),
        ] {
            var answers = NegativeAnswers(settings)
            Self.note(&answers, Self.key("v1"), Self.error(status, upstream: status))
            #expect(answers.count == 0)
            Self.note(&answers, Self.key("v1"), Self.error(807 - status, upstream: 807 - status))
            #expect(answers.count == 1)
        }
    }

    /// What is remembered after a question, by the questions that it answers then.
    @Test(
        "an answer to a GET holds for HEADs, and one to a HEAD for nothing that could be answered by GET",
        arguments: [
            (.content, 404, 404, [.content, .head, .proof]), (.content, 403, 403, [.content, .head, .proof]),
            (.head, 404, 404, []), (.head, 403, 403, []), (.head, 403, 401, [.head]), (.head, 404, 410, [.head]),
            (.proof, 404, 404, [.proof]), (.proof, 403, 403, []), (.proof, 403, 401, [.proof]),
        ] as [(NegativeAnswers.Question, Int, Int, Set<NegativeAnswers.Question>)])
    func questions(
        _ asked: NegativeAnswers.Question, _ status: Int, _ upstream: Int, _ answered: Set<NegativeAnswers.Question>
    ) {
        var answers = NegativeAnswers(Self.settings)
        Self.note(&answers, Self.key("v1"), Self.error(status, upstream: upstream), asked)
        let found = [NegativeAnswers.Question.content, .head, .proof].filter {
            answers.error(Self.key("v1"), $0, now: 1) != nil
        }
        #expect(Set(found) == answered)
        answers.succeeded(Self.key("v1"))
        #expect(answers.count == 0)
    }

    /// The order of the steps of one request that fails, and of a success of another kind.
    @Test("a failure that began before a success is not remembered, whatever comes first") func successes() {
        let (key, missing) = (Self.key("v1"), Self.error(404, upstream: 404))
        var answers = NegativeAnswers(Self.settings)
        // begin, success, end.
        let early = answers.begin(key)
        answers.succeeded(key)
        answers.end(early, .content, missing, now: 0)
        #expect(answers.count == 0)
        // begin, end, success.
        Self.note(&answers, key, missing)
        #expect(answers.count == 1)
        answers.succeeded(key)
        #expect(answers.count == 0)
        // A request that began later is newer than the success.
        let old = answers.begin(key)
        answers.succeeded(key)
        let young = answers.begin(key)
        answers.end(young, .content, missing, now: 0)
        #expect(answers.count == 1)
        answers.end(old, .head, Self.error(403, upstream: 401), now: 0)
        #expect(answers.error(key, .head, now: 1)?.status == 404)
        // The success of a request ends what another one, still running, will say.
        let (first, second) = (answers.begin(key), answers.begin(key))
        answers.end(first, .content, nil, now: 0)
        answers.end(second, .content, missing, now: 0)
        #expect(answers.count == 0 && answers.askingCount == 0)
    }

    @Test("after clearing, what was asked before is not remembered") func clearing() {
        let missing = Self.error(404, upstream: 404)
        var answers = NegativeAnswers(Self.settings)
        Self.note(&answers, Self.key("v1"), missing)
        let running = answers.begin(Self.key("v2"))
        answers.clear()
        #expect(answers.error(Self.key("v1"), .content, now: 0) == nil)
        answers.end(running, .content, missing, now: 0)
        #expect(answers.count == 0)
        answers.clear(NegativeCacheSettings(notFoundMilliseconds: 1, deniedMilliseconds: 1))
        Self.note(&answers, Self.key("v2"), missing)
        #expect(answers.error(Self.key("v2"), .content, now: 0) != nil)
        #expect(answers.error(Self.key("v2"), .content, now: 1) == nil)
    }

    @Test("memory is bounded, and the oldest answers leave first") func bound() {
        var answers = NegativeAnswers(Self.settings)
        let missing = Self.error(404, upstream: 404)
        for number in 0..<(NegativeAnswers.maximumEntries + 10) {
            Self.note(&answers, Self.key("t\(number)"), missing)
        }
        #expect(answers.count == NegativeAnswers.maximumEntries)
        #expect(answers.error(Self.key("t9"), .content, now: 0) == nil)
        #expect(answers.error(Self.key("t10"), .content, now: 0) != nil)
        // What is over makes room.
        Self.note(&answers, Self.key("late"), missing, now: 10_000)
        #expect(answers.count == 1)
        #expect(answers.error(Self.key("late"), .content, now: 10_001) != nil)
    }

    @Test("the largest times do not overflow") func overflow() {
        var answers = NegativeAnswers(.init(notFoundMilliseconds: .max, deniedMilliseconds: -1))
        Self.note(&answers, Self.key("v1"), Self.error(404, upstream: 404), now: .max - 1)
        #expect(answers.error(Self.key("v1"), .content, now: .max - 1) != nil)
        Self.note(&answers, Self.key("v2"), Self.error(403, upstream: 403), now: .max)
        #expect(answers.count == 1)
    }

    /// Against a model that keeps everything: for each key the times of its successes and its failures.
    @Test("random orders of requests, successes and clearings never hide a success") func random() {
        var random = SeededRandom(seed: .random(in: .min ... .max))
        for _ in 0..<300 {
            var answers = NegativeAnswers(Self.settings)
            var running: [(ticket: NegativeAnswers.Ticket, key: Int, began: Int)] = []
            var succeeded = [0, 0, 0]
            var remembered: [Int: Int] = [:]
            for step in 1...60 {
                let key = Int.random(in: 0..<3, using: &random)
                switch Int.random(in: 0..<10, using: &random) {
                case 0..<4: running.append((answers.begin(Self.key("\(key)")), key, step))
                case 4..<8:
                    guard let index = running.indices.randomElement(using: &random) else { continue }
                    let one = running.remove(at: index)
                    let isSuccess = Int.random(in: 0..<4, using: &random) == 0
                    answers.end(
                        one.ticket, .content, isSuccess ? nil : Self.error(404, upstream: 404), now: UInt64(step))
                    if isSuccess {
                        (succeeded[one.key], remembered[one.key]) = (step, nil)
                    } else if one.began > succeeded[one.key] {
                        remembered[one.key] = step
                    }
                case 8:
                    answers.succeeded(Self.key("\(key)"))
                    (succeeded[key], remembered[key]) = (step, nil)
                default:
                    answers.clear()
                    (succeeded, remembered) = ([step, step, step], [:])
                }
                for key in 0..<3 {
                    let isKnown = answers.error(Self.key("\(key)"), .content, now: UInt64(step)) != nil
                    #expect(isKnown == (remembered[key] != nil), "seed \(random.seed)")
                }
            }
            for one in running { answers.end(one.ticket, .content, nil, now: 60) }
            #expect(answers.askingCount == 0)
        }
    }
}
