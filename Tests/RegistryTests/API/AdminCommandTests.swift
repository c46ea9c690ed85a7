// What an operator asks for, from URLs and back to them.

import TestSupport
import Testing

@testable import Configuration
@testable import OCI
@testable import Registry

@Suite struct AdminCommandTests {
    private func command(_ target: String) throws -> AdminCommand {
        let parts = target.split(separator: "?", maxSplits: 1, omittingEmptySubsequences: false).map { Array($0.utf8) }
        return try parts[0].withUnsafeBytes { path in
            try (parts.count > 1 ? parts[1] : []).withUnsafeBytes { query in
                try AdminCommand(path: path, query: QueryItems(query))
            }
        }
    }

    @Test("the original server's admin requests are parsed") func commands() throws {
        #expect(try command("/cmd/manifest/list") == .manifests(pattern: nil, limit: 50))
        #expect(
            try command("/cmd/manifest/list?pattern=calico,cilium&count=10")
                == .manifests(pattern: "calico,cilium", limit: 10))
        #expect(try command("/cmd/manifest/list?count=-1&pattern=") == .manifests(pattern: nil, limit: nil))
        #expect(try command("/cmd/image/list?digest=4c91") == .images(pattern: nil, blob: "4c91", limit: 50))
        #expect(try command("/cmd/blob/list?substr=56ae&count=1") == .blobs(part: "56ae", limit: 1))
        #expect(try command("/cmd/table?blobs=true&short=true") == .blobTable(hasHeader: false, isShort: true))
        #expect(try command("/cmd/stop") == .stop)
        #expect(try command("/cmd/reload") == .reload)
        #expect(try command("/cmd/refresh?pattern=a%3Alatest$") == .refresh(pattern: "a:latest$"))
        #expect(
            try command("/cmd/prune?type=created&dur=10d&count=50&dryRun=true")
                == .prune(.init(.created(Age("10d")), limit: 50, isDryRun: true)))
        #expect(
            try command("/cmd/prune?type=accessed&dur=1h&count=-1")
                == .prune(.init(.accessed(Age("1h")), limit: nil, isDryRun: false)))
        // A + is one, and what a pattern needs can be escaped.
        #expect(
            try command("/cmd/prune?type=pattern&expr=a+%26%5B%2C%5D&dur=nonsense")
                == .prune(.init(.pattern("a+&[,]"), limit: 50, isDryRun: false)))
    }

    @Test(
        "a wrong admin parameter is a 400 that names it and the reason",
        arguments: [
            ("/cmd/table?blobs=true&pattern=x", "pattern: blobs have no names that it could match"),
            ("/cmd/table?blobs=yes", "blobs: must be true or false"),
            ("/cmd/prune", "type: must be accessed, created or pattern"),
            ("/cmd/prune?type=", "type: must be accessed, created or pattern"),
            ("/cmd/prune?type=all", "type: must be accessed, created or pattern"),
            ("/cmd/prune?type=created", "this type needs dur, such as dur=30d"),
            ("/cmd/prune?type=accessed&dur=30", "dur: must be a whole number and a unit"),
            ("/cmd/prune?type=pattern", "type=pattern needs expr"),
            ("/cmd/prune?type=pattern&expr=", "type=pattern needs expr"),
            ("/cmd/prune?type=pattern&expr=x&dryRun=yes", "dryRun: must be true or false"),
            ("/cmd/prune?type=pattern&expr=x&dryRun=", "dryRun: must be true or false"),
            ("/cmd/prune?type=pattern&expr=x&dryRun", "dryRun: must be true or false"),
            ("/cmd/prune?type=pattern&expr=x&dryrun=true", "unknown parameter \"dryrun\"; there are type, dur"),
            ("/cmd/prune?type=pattern&expr=x&dryRun=true&dryRun=false", "malformed parameter dryRun"),
            ("/cmd/prune?type=pattern&expr=x&count=0", "count: must be"),
            ("/cmd/prune?type=pattern&expr=x&count=-2", "count: must be"),
            ("/cmd/prune?type=pattern&expr=x&count=many", "count: must be"),
            ("/cmd/prune?type=pattern&expr=%f", "malformed parameter expr"), ("/cmd/prune?%ff=1", "malformed query"),
            ("/cmd/prune?type=created&before=today", "before: must be seconds since 1970"),
            ("/cmd/manifest/list?patern=x", "unknown parameter \"patern\"; there are pattern, count"),
            ("/cmd/load?directory=/", "files: none are given"),
            ("/cmd/load?files=x&directory=y", "directory: must be an absolute path"),
            ("/cmd/load?files=x&directory=/&platform=linux", "platform: must be all, or such as linux/amd64"),
            ("/cmd/load?files=x&directory=/&resolve=A:B:C", "resolve: not an image reference"),
            ("/cmd/refresh", "pattern: an empty one would match every tag"),
            ("/cmd/refresh?pattern=", "pattern: an empty one would match every tag"),
            ("/cmd/verify?now", "unknown parameter \"now\"; it takes none"),
            ("/cmd/reload?file=/etc/passwd", "unknown parameter \"file\"; it takes none"),
            ("/cmd/stop?now", "unknown parameter \"now\"; it takes none"),
        ])
    func refusals(_ target: String, _ reason: String) {
        let error = #expect(throws: RegistryError.self) { _ = try command(target) }
        #expect(error?.status == 400 && error?.message.hasPrefix(reason) == true, "\(error?.message ?? "-")")
    }

    @Test(
        "an unknown admin path is a 404",
        arguments: ["/cmd/", "/cmd/prune/", "/cmd/manifests", "/cmd/stop/now", "/cmd/Prune"])
    func unknownPaths(_ target: String) {
        #expect(throws: RegistryError.self) { _ = try command(target) }
        #expect((#expect(throws: RegistryError.self) { _ = try command(target) })?.status == 404)
    }

    @Test("only paths below /cmd/ are admin requests") func adminPaths() {
        for (path, isMeant) in [("/cmd/", true), ("/cmd/x", true), ("/cmd", false), ("/v2/", false), ("", false)] {
            Array(path.utf8).withUnsafeBytes { #expect(AdminCommand.isMeant($0) == isMeant, "\(path)") }
        }
    }

    /// What a sub-command writes is what the server reads.
    @Test("a command written as a request parses as the same command") func roundTrip() throws {
        let hostile = #"^docker\.io/(a+)+$,[&=?#%\s]{1,2} ü/"#
        let commands: [AdminCommand] = [
            .manifests(pattern: hostile, limit: nil), .manifests(pattern: nil, limit: 7),
            .images(pattern: "a", blob: "b", limit: nil), .blobs(part: "c", limit: 1),
            .blobTable(hasHeader: true, isShort: false),
            .table(pattern: hostile, hasHeader: true, isShort: false),
            .table(pattern: nil, hasHeader: false, isShort: true),
            .prune(.init(.pattern(hostile), limit: nil, isDryRun: true, isReport: true)),
            .prune(.init(.accessed(try Age("36500d")), limit: 3, isDryRun: false)),
            .prune(.init(.created(try Age("1ns")), limit: nil, isDryRun: false)),
            .prune(.init(.createdBefore(seconds: -12), limit: nil, isDryRun: false)), .stop, .reload, .verify,
            .refresh(pattern: "a+&[,] b"),
            .load(
                .init(
                    files: "a,*.tar,ü&=+", directory: "/a b", platforms: .all, resolveAs: ImageName("x.io/a:1"),
                    isAirGapped: true)),
            .load(
                .init(
                    files: "a", directory: "/",
                    platforms: .only(Platform(os: "linux", architecture: "arm", variant: "v7")), resolveAs: nil,
                    isAirGapped: false)),
        ]
        for asked in commands {
            let request = asked.request
            #expect(try command(request.target) == asked, "\(request.target)")
            for onSocket in [true, false] {
                #expect(asked.methods(onSocket: onSocket).map { "\($0)".uppercased() }.contains(request.method))
            }
            #expect(request.target.utf8.allSatisfy { $0 > 0x20 && $0 < 0x7F })
        }
    }

    @Test("commands that change something are marked as such and require POST or DELETE") func methods() throws {
        #expect(try command("/cmd/verify").isMutating && command("/cmd/verify").methods(onSocket: true) == [.post])
        #expect(try command("/cmd/prune?type=pattern&expr=x").isMutating && command("/cmd/stop").isMutating)
        #expect(try command("/cmd/prune?type=pattern&expr=x").methods(onSocket: false) == [.delete])
        #expect(try command("/cmd/stop").methods(onSocket: true) == [.get, .post], "a HEAD must not stop a server")
        #expect(try command("/cmd/stop").methods(onSocket: false) == [.post], "nor a link that is followed")
        for path in ["manifest", "image", "blob"] { #expect(try !command("/cmd/\(path)/list").isMutating) }
    }
}
