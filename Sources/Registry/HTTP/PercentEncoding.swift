// Escapes in paths: rare, since nothing the specification names needs one.

enum PercentEncoding {
    /// Undoes `%XX`; nil for a broken escape, or one that hides a control character or a slash.
    static func decode(_ path: UnsafeRawBufferPointer) -> [UInt8]? {
        var result: [UInt8] = []
        result.reserveCapacity(path.count)
        var index = 0
        while index < path.count {
            guard path[index] == 0x25 else {
                result.append(path[index])
                index += 1
                continue
            }
            guard index + 2 < path.count, let high = value(path[index + 1]), let low = value(path[index + 2]) else {
                return nil
            }
            let byte = high << 4 | low
            guard byte > 0x20, byte != 0x7F, byte != 0x2F else { return nil }
            result.append(byte)
            index += 3
        }
        return result
    }

    private static func value(_ digit: UInt8) -> UInt8? {
        guard ASCII.isHexadecimal(digit) else { return nil }
        return ASCII.isDigit(digit) ? digit - 0x30 : (digit | 0x20) - 0x57
    }
}
