// Metrics of one scrape, for tests: values by the text of their series.

/// The samples of one scrape, by `name{label="value",…}` as written there.
package struct Scrape {
    package let samples: [String: Double]

    package init(_ text: String) {
        var samples: [String: Double] = [:]
        for line in text.split(separator: "\n") where !line.hasPrefix("#") {
            guard let space = line.lastIndex(of: " ") else { continue }
            samples[String(line[..<space])] = Double(line[line.index(after: space)...].replacing("+Inf", with: "inf"))
        }
        self.samples = samples
    }

    package subscript(series: String) -> Double? { samples[series] }

    /// The differences since an earlier scrape, without unchanged samples.
    package func increases(since former: Scrape) -> [String: Double] {
        samples.reduce(into: [:]) { result, sample in
            let increase = sample.value - (former.samples[sample.key] ?? 0)
            if increase != 0 { result[sample.key] = increase }
        }
    }
}
