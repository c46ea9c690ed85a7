// Arithmetic that stops at the largest and the smallest number instead of ending the process: for sums of numbers that
// come from outside. A sum that has stopped at its bound still compares as more than there can be.

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

    /// The nearest integer towards zero; 0 for what is not a number.
    package init(saturating value: Double) {
        if let exact = Self(exactly: value.rounded(.towardZero)) {
            self = exact
        } else {
            self = value.isNaN ? 0 : value < 0 ? .min : .max
        }
    }
}

extension Sequence {
    /// The sum of one number of each element.
    package func saturatedSum(_ number: (Element) -> Int64) -> Int64 {
        reduce(0) { $0.addingSaturated(number($1)) }
    }
}
