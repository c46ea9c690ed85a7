// What can be said of the page by reading it: that it needs nothing but itself, never makes markup of what it is told,
// and can be read.

import Foundation
import TestSupport
import Testing

@testable import OCI
@testable import Page
@testable import Registry

@Suite struct PageTests {
    private static let text = String(decoding: Page.html, as: UTF8.self)

    /// It is sent uncompressed, and should stay readable in one sitting.
    static let maximumBytes = 60 * 1024

    /// What stands between `<tag>` and `</tag>`, the only ones of their kind.
    private static func content(of tag: String) throws -> String {
        let parts = text.components(separatedBy: "<\(tag)>")
        #expect(parts.count == 2 && !text.contains("<\(tag) "), "one <\(tag)>, without attributes")
        return try #require(parts.last?.components(separatedBy: "</\(tag)>").first)
    }

    /// A wrong hash leaves a page without style or script.
    @Test("the content security policy has the hashes of the page's style and script") func hashes() throws {
        for (tag, stated) in [("style", Page.styleHash), ("script", Page.scriptHash)] {
            let hash = ContentHash(.sha256)
            Array(try Self.content(of: tag).utf8).withUnsafeBytes { hash.update($0) }
            let digits = Array(hash.digest().description.dropFirst("sha256:".count))
            let bytes = stride(from: 0, to: digits.count, by: 2).compactMap {
                UInt8(String(digits[$0...($0 + 1)]), radix: 16)
            }
            let actual = Data(bytes).base64EncodedString()
            #expect(stated == actual, "Sources/Page/Page.swift: \(tag)Hash has to be \(actual)")
        }
    }

    @Test("the content security policy allows only the page's own style, script and metrics") func policy() {
        #expect(
            Page.contentSecurityPolicy == """
                default-src 'none'; connect-src 'self'; style-src 'sha256-\(Page.styleHash)'; \
                script-src 'sha256-\(Page.scriptHash)'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'
                """)
        let fields = Dictionary(uniqueKeysWithValues: Page.fields)
        #expect(fields["Content-Security-Policy"] == Page.contentSecurityPolicy)
        #expect(fields["X-Content-Type-Options"] == "nosniff" && fields["Referrer-Policy"] == "no-referrer")
        #expect(fields["Cache-Control"] == "no-store")
    }

    @Test("the page fetches its metrics and nothing else") func selfContained() {
        // The one address in it is the name of SVG, which nothing is fetched from.
        let addresses = Self.text.components(separatedBy: "//www.w3.org/2000/svg")
        #expect(addresses.count == 2 && !addresses.contains { $0.contains("://") || $0.contains("\"//") })
        let links = Self.text.components(separatedBy: "href=\"").dropFirst().map { $0.prefix { $0 != "\"" } }
        #expect(Set(links) == ["metrics"])
        for word in ["src=", "url(", "@import", "@font-face", "import(", "<link", "<iframe", "<img", "WebSocket"] {
            #expect(!Self.text.contains(word), "\(word) asks for something outside")
        }
        #expect(Self.text.components(separatedBy: "fetch('metrics'").count == 2)
        #expect(Self.text.components(separatedBy: "fetch(").count == 2, "it asks for one thing")
    }

    @Test("the page's script uses no function that makes markup or code from text") func noMarkup() {
        let words = [
            "innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "Function(", "DOMParser",
            "createContextualFragment", "srcdoc", "setHTML", "setTimeout('", "style=", " onclick", " onload",
        ]
        for word in words { #expect(!Self.text.contains(word), "\(word)") }
    }

    /// A metric that is renamed and not here would be a chart that stays empty.
    @Test("every metric that the page reads is in the catalogue") func metrics() throws {
        let names = Set(Catalog.families.map(\.name))
        let words = try Self.content(of: "script").matches(of: /'([a-z][a-z0-9_]*[a-z])'/).map { String($0.output.1) }
        let asked = Set(words.filter { $0.contains("_") })
        #expect(asked.count > 40)
        for name in asked {
            let full = name.hasPrefix("process_") ? name : "ociregistry_\(name)"
            #expect(names.contains(full), "\(full)")
        }
    }

    @Test("the page is within its size limit") func size() {
        #expect(Page.html.count <= Self.maximumBytes, "\(Page.html.count) bytes")
    }

    /// Every colour that text or a line has, in light and in dark, against what it stands on: WCAG's 4.5 to 1.
    @Test("text and line colours have a contrast of at least 4.5 to 1 in light and dark mode")
    func coloursContrast() throws {
        let colours = try Self.colours()
        let grounds = ["page", "card"]
        let decoration: Set = ["page", "card", "rule", "grid"]
        #expect(colours.count == 14)
        for (name, shades) in colours where !decoration.contains(name) {
            for ground in grounds {
                let below = try #require(colours[ground])
                for (shade, under) in zip(shades, below) {
                    #expect(Self.contrast(shade, under) >= 4.5, "\(name) on \(ground): \(shade), \(under)")
                }
            }
        }
        #expect(Self.contrast("ffffff", "000000").rounded() == 21)
    }

    /// `--name: light-dark(#rrggbb, #rrggbb);`
    private static func colours() throws -> [String: [String]] {
        var found: [String: [String]] = [:]
        for line in try content(of: "style").split(separator: "\n") {
            let parts = line.split { " :,();#".contains($0) }.map(String.init)
            if parts.count == 4, parts[1] == "light-dark" { found[String(parts[0].dropFirst(2))] = Array(parts[2...]) }
        }
        return found
    }

    private static func contrast(_ one: String, _ other: String) -> Double {
        let (a, b) = (luminance(one), luminance(other))
        return (max(a, b) + 0.05) / (min(a, b) + 0.05)
    }

    /// WCAG 2's relative luminance of `rrggbb`.
    private static func luminance(_ colour: String) -> Double {
        let number = Int(colour, radix: 16) ?? 0
        let parts = [number >> 16, number >> 8, number].map { part -> Double in
            let value = Double(part & 0xFF) / 255
            return value <= 0.03928 ? value / 12.92 : pow((value + 0.055) / 1.055, 2.4)
        }
        return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]
    }
}
