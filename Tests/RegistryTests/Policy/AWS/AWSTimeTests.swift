// Times in the answers of AWS.

import Testing

@testable import Registry

@Suite struct AWSTimeTests {
    @Test("times of RFC 3339 are read, and nothing else") func times() {
        #expect(AWSTime.seconds("1970-01-01T00:00:00Z") == 0)
        #expect(AWSTime.seconds("2000-02-29T12:00:00Z") == 951_825_600)
        #expect(AWSTime.seconds("2026-11-28T08:59:21.123456Z") == 1_795_856_361)
        #expect(AWSTime.seconds("2026-11-28T08:59:21+01:30") == 1_795_850_961)
        #expect(AWSTime.seconds("2026-11-28T08:59:21-00:01") == 1_795_856_421)
        #expect(AWSTime.seconds("9999-12-31T23:59:59Z") == 253_402_300_799)
        for text in [
            "", "Z", "2026-11-28", "2026-11-28T08:59:21", "2026-13-28T08:59:21Z", "2026-11-28T24:59:21Z",
            "2026-11-28T08:59:21+25:00", "2026-11-28T08:59:21+0100", "1969-12-31T23:59:59Z", "+026-11-28T08:59:21Z",
            "99999-11-28T08:59:21Z", "9999-12-31T23:59:59-23:59", "1970-01-01T00:00:00+00:01", "2026-11-28T08:59:21.Zx",
        ] {
            #expect(AWSTime.seconds(text) == nil, "\(text)")
        }
    }
}
