// Tarballs made byte by byte, including ones that no tool would write.

internal import Foundation

/// A tarball being built (tar(5), "POSIX ustar Archives").
package struct TarBuilder {
    package private(set) var bytes: [UInt8] = []

    package init(_ files: [(name: String, content: [UInt8])] = []) {
        for file in files { add(file.name, file.content) }
    }

    /// Adds an entry. `stated` is the size in the header, if it must differ from the content's.
    package mutating func add(
        _ name: String, _ content: [UInt8] = [], type: Character = "0", link: String = "", stated: Int? = nil
    ) {
        if name.utf8.count > 100 { addLongName(name) }
        var header = [UInt8](repeating: 0, count: 512)
        func put(_ text: some Sequence<UInt8>, at offset: Int) {
            for (index, byte) in text.enumerated() { header[offset + index] = byte }
        }
        func octal(_ number: Int, _ digits: Int) -> String.UTF8View {
            let text = String(number, radix: 8)
            return (String(repeating: "0", count: digits - text.count) + text).utf8
        }
        put(name.utf8.prefix(100), at: 0)
        put(octal(0o644, 7), at: 100)
        put(octal(0, 7), at: 108)
        put(octal(0, 7), at: 116)
        put(octal(stated ?? content.count, 11), at: 124)
        put(octal(0, 11), at: 136)
        put(repeatElement(0x20, count: 8), at: 148)
        put(type.utf8, at: 156)
        put(link.utf8.prefix(100), at: 157)
        put("ustar\u{0}00".utf8, at: 257)
        put(octal(header.reduce(0) { $0 + Int($1) }, 6), at: 148)
        header[154] = 0
        bytes += header + content
        bytes += [UInt8](repeating: 0, count: (512 - content.count % 512) % 512)
    }

    /// Adds a name of any length, as GNU tar writes it before an entry.
    package mutating func addLongName(_ name: String) {
        add("././@LongLink", Array(name.utf8) + [0], type: "L")
    }

    /// The tarball with the two empty blocks at its end.
    package var finished: [UInt8] { bytes + [UInt8](repeating: 0, count: 1024) }
}

/// The files of an image archive, by name.
package struct SampleArchive {
    package var files: [(name: String, content: [UInt8])] = []

    package init(files: [(name: String, content: [UInt8])] = []) {
        self.files = files
    }

    package mutating func add(_ name: String, _ text: String) { files.append((name, Array(text.utf8))) }

    package mutating func replace(_ name: String, with content: [UInt8]) {
        if let index = files.firstIndex(where: { $0.name == name }) { files[index].content = content }
    }

    package mutating func remove(_ name: String) { files.removeAll { $0.name == name } }

    package func write(to directory: TemporaryDirectory, _ name: String) throws -> String {
        try directory.write(TarBuilder(files).finished, to: name)
    }

    package func unpack(to directory: TemporaryDirectory, _ name: String) throws -> String {
        for file in files { try directory.write(file.content, to: "\(name)/\(file.name)") }
        return directory.file(name)
    }
}
