// Arithmetic that saturates at the type's bounds instead of ending the process, for sums of numbers from outside. A
// saturated sum still compares as larger than any valid amount.

extension FixedWidthInteger {
    @inline(__always)
    package func addingSaturated(_ other: Self) -> Self {
        let (sum, overflows) = addingReportingOverflow(other)
        guard overflows else { return sum }
        return other < 0 ? .min : .max
    }

    @inline(__always)
    package func subtractingSaturated(_ other: Self) -> Self {
        let (difference, overflows) = subtractingReportingOverflow(other)
        guard overflows else { return difference }
        return other > 0 ? .min : .max
    }

    @inline(__always)
    package func multipliedSaturated(by other: Self) -> Self {
        let (product, overflows) = multipliedReportingOverflow(by: other)
        guard overflows else { return product }
        return (self < 0) == (other < 0) ? .max : .min
    }

    /// The nearest integer towards zero; 0 for NaN.
    package init(saturating value: Double) {
        if let exact = Self(exactly: value.rounded(.towardZero)) {
            self = exact
        } else {
            self = value.isNaN ? 0 : value < 0 ? .min : .max
        }
    }
}

extension Sequence {
    /// The sum of `number` over all elements.
    package func saturatedSum(_ number: (Element) -> Int64) -> Int64 {
        reduce(0) { $0.addingSaturated(number($1)) }
    }
}
