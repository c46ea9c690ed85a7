// The page at `/` on the metrics port, and the fields it is sent with. The page itself is page.html beside this file,
// put into the program when it is built, so there is no file to find at run time.
//
// It is a target of its own because it is content, not server: the registry library is handed its bytes and knows
// nothing of them.

/// One HTML document with its style and its script in it, and a policy that lets a browser run just these two.
package enum Page {
    /// The document, UTF-8.
    package static var html: [UInt8] { PackageResources.page_html }

    /// What the style and the script hash to, base64 of SHA-256. They change with every edit of page.html: PageTests
    /// computes them and says what belongs here.
    static let styleHash = "vo/2zhOHFnlFIOpMWwiPSgR2LTpomv4q/h7XVoD8pO4="
    static let scriptHash = "87yv/mOPC1bEjKKeY+mqF5uxuJSSM/L8SWI2gtJlonI="

    /// Nothing may be loaded, run or styled but what is in the document; it may talk to its own server only; and no
    /// other page may frame it. Whatever a label value holds, there is nothing it could start.
    package static let contentSecurityPolicy = """
        default-src 'none'; connect-src 'self'; style-src 'sha256-\(styleHash)'; script-src 'sha256-\(scriptHash)'; \
        base-uri 'none'; form-action 'none'; frame-ancestors 'none'
        """

    /// The response's fields beside type and length. The page is part of the program and changes with it, so it is
    /// never kept.
    package static let fields: [(String, String)] = [
        ("Content-Security-Policy", contentSecurityPolicy),
        ("X-Content-Type-Options", "nosniff"),
        ("Referrer-Policy", "no-referrer"),
        ("Cache-Control", "no-store"),
    ]
}
