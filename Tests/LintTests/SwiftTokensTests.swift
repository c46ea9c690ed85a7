// The tidy rules are as good as the list of tokens they read.

import TestSupport
import Testing

@Suite struct SwiftTokensTests {
    private func names(_ text: String) -> [String] { SwiftLexer(text).tokens.filter(\.isName).map(\.text) }

    @Test("the lexer drops comments and records their lines") func comments() {
        let lexer = SwiftLexer("a // b\n/* c /* d */ e\n*/ f")
        #expect(lexer.tokens.map(\.text) == ["a", "f"])
        #expect(lexer.tokens.map(\.line) == [1, 3])
        #expect(lexer.commentLines == [1, 2, 3])
    }

    @Test("the lexer drops string text and reads interpolations") func strings() {
        #expect(names(#"x = "a \(b + "c \(d)") e" + f"#) == ["x", "b", "d", "f"])
        #expect(names(##"x = #"a "b" \(c) \#(d)"# + e"##) == ["x", "d", "e"])
        #expect(names("x = \"\"\"\n a \"b\" \\(c)\n \"\"\" + d") == ["x", "c", "d"])
        #expect(names(#"x = "\"" + y"#) == ["x", "y"])
    }

    @Test("declarations are found with their depth and access") func declarations() {
        let text = "struct A {\n    private let b = 1\n    class func c() {}\n    enum D { case e }\n}\nfunc f() {}"
        let declarations = Declaration.all(in: SwiftLexer(text).tokens)
        #expect(declarations.map(\.name) == ["A", "b", "c", "D", "e", "f"])
        #expect(declarations.map(\.depth) == [0, 1, 1, 1, 2, 0])
        #expect(declarations.filter(\.isPrivate).map(\.name) == ["b"])
        let generic = Declaration.all(in: SwiftLexer("struct A<B: C<D>, E> where B: F {}").tokens)
        #expect(generic.map(\.name) == ["B", "E", "A"])
    }
}
