// The catalogue's families of requests, upstreams and pulls.

extension Catalog {
    private static func byPair(_ table: @escaping @Sendable (RequestCounts) -> HistogramTable) -> Write {
        { metrics, _, text in
            let table = table(metrics.requests)
            for (endpoint, verdict) in RequestCounts.pairs {
                text.sample(
                    table, row: RequestCounts.row(endpoint, verdict),
                    Labels([("endpoint", endpoint.label), ("verdict", verdict.label)]))
            }
        }
    }

    static let requests: [MetricFamily] = [
        histogram(
            "ociregistry_http_request_duration_seconds",
            "From the first byte of a request's head to the last byte of its answer handed to the socket.",
            ["endpoint", "verdict"], byPair { $0.durations }),
        histogram(
            "ociregistry_http_time_to_first_byte_seconds",
            "From the first byte of a request's head to the first byte of its answer handed to the socket.",
            ["endpoint", "verdict"], byPair { $0.firstBytes }),
        counter(
            "ociregistry_http_responses_total", "Answers given, by class of status.", ["endpoint", "class"]
        ) { metrics, _, text in
            for endpoint in Endpoint.allCases {
                for status in StatusClass.allCases {
                    text.sample(
                        metrics.requests.responses(endpoint, status),
                        Labels([("endpoint", endpoint.label), ("class", status.label)]))
                }
            }
        },
        counter("ociregistry_http_response_bytes_total", "Bytes of answers' bodies.", ["verdict"]) { metrics, _, text in
            for verdict in Verdict.allCases {
                text.sample(metrics.requests.responseBytes(verdict), Labels("verdict", verdict.label))
            }
        },
        gauge("ociregistry_http_requests_in_flight", "Requests being answered.") { $2.sample($0.requests.inFlight) },
        counter(
            "ociregistry_http_requests_aborted_total", "Requests whose client left before the answer was whole."
        ) { $2.sample($0.requests.aborted) },
        counter("ociregistry_http_requests_malformed_total", "Requests that are not HTTP as this server takes it.") {
            $2.sample($0.requests.malformed)
        },
        counter(
            "ociregistry_denied_requests_total", "Requests answered 403, because a rule on names denied them.", ["rule"]
        ) { metrics, _, text in
            for rule in DenyingRule.allCases {
                text.sample(metrics.requests.deniedCount(by: rule), Labels("rule", rule.label))
            }
        },
        counter(
            "ociregistry_proof_requests_total",
            "Requests for cached content for which the repository had no proof, by result.", ["result"]
        ) { metrics, _, text in
            for result in ProofResult.allCases {
                text.sample(metrics.requests.withoutProof[result, default: 0], Labels("result", result.rawValue))
            }
        },
        histogram("ociregistry_tag_age_seconds", "Time since its last check of each cached tag that is served.") {
            $2.sample($0.tags.ages)
        },
        counter(
            "ociregistry_tag_revalidations_total", "Checks of cached tags at their upstreams that have ended.",
            ["result"]
        ) { metrics, _, text in
            for result in TagCheckResult.allCases {
                text.sample(metrics.tags.checkCount(result), Labels("result", result.label))
            }
        },
        counter(
            "ociregistry_stale_answers_total",
            "Cached tags served past their ttl, by the reason why they were not confirmed before.", ["reason"]
        ) { metrics, _, text in
            for reason in StaleReason.allCases {
                text.sample(metrics.tags.staleCount(reason), Labels("reason", reason.label))
            }
        },
        counter("ociregistry_cooldown_holds_total", "Answers changed by cooldown, by what is held back.", ["kind"]) {
            metrics, _, text in
            for kind in CooldownKind.allCases {
                text.sample(metrics.tags.heldCount(kind), Labels("kind", kind.label))
            }
        },
        gauge("ociregistry_http_connections_open", "Client connections.") { $2.sample($1.openConnections) },
        counter("ociregistry_http_connections_accepted_total", "Client connections taken.") {
            $2.sample($0.requests.connectionsAccepted)
        },
        counter("ociregistry_http_connections_refused_total", "Client connections turned away: too many.") {
            $2.sample($0.requests.connectionsRefused)
        },
        counter(
            "ociregistry_lists_served_offline_total",
            "Lists of tags and referrers served although the upstream did not confirm them.", ["endpoint", "reason"]
        ) { metrics, _, text in
            for endpoint in ListCounts.endpoints {
                for reason in OfflineReason.allCases {
                    text.sample(
                        metrics.lists.offlineCount(endpoint, reason),
                        Labels([("endpoint", endpoint.label), ("reason", reason.rawValue)]))
                }
            }
        },
        counter(
            "ociregistry_list_revalidations_total",
            "Lists of tags and referrers asked of upstreams, all their pages, by the result.", ["endpoint", "result"]
        ) { metrics, _, text in
            for endpoint in ListCounts.endpoints {
                for result in ListRevalidation.allCases {
                    text.sample(
                        metrics.lists.revalidationCount(endpoint, result),
                        Labels([("endpoint", endpoint.label), ("result", result.rawValue)]))
                }
            }
        },
        counter(
            "ociregistry_coalesced_requests_total", "Requests that joined a pull which another had started.",
            ["endpoint"]
        ) { metrics, _, text in
            for kind in PullKind.allCases {
                text.sample(metrics.pulls.coalesced[Int(kind.rawValue)], Labels("endpoint", kind.label))
            }
        },
    ]

    static let upstreams: [MetricFamily] = [
        counter(
            "ociregistry_upstream_requests_total",
            "Requests to upstreams by their final answer, after tokens and redirects; error is no answer at all.",
            ["ns", "class"]
        ) { metrics, _, text in
            for (host, counts) in zip(metrics.namespaces.labels, metrics.byNamespace) {
                for (label, count) in zip(NamespaceCounts.answerLabels, counts.answers) {
                    text.sample(count, Labels([("ns", host), ("class", label)]))
                }
            }
        },
        counter("ociregistry_upstream_received_bytes_total", "Bytes of upstreams' answers.", ["ns"]) {
            metrics, _, text in
            for (label, counts) in metrics.perNamespace { text.sample(counts.receivedBytes, label) }
        },
        histogram(
            "ociregistry_upstream_request_duration_seconds", "From an upstream request to the last byte of its answer.",
            ["ns"]
        ) { metrics, _, text in
            for (row, host) in metrics.namespaces.labels.enumerated() {
                text.sample(metrics.upstreamDurations, row: row, Labels("ns", host))
            }
        },
        histogram(
            "ociregistry_upstream_time_to_first_byte_seconds",
            "From an upstream request to the head of its final answer.", ["ns"]
        ) { metrics, _, text in
            for (row, host) in metrics.namespaces.labels.enumerated() {
                text.sample(metrics.upstreamFirstBytes, row: row, Labels("ns", host))
            }
        },
        counter(
            "ociregistry_upstream_token_requests_total", "Requests to upstreams' token services.", ["ns", "result"]
        ) { metrics, _, text in
            for (host, counts) in zip(metrics.namespaces.labels, metrics.byNamespace) {
                text.sample(counts.tokensGranted, Labels([("ns", host), ("result", "success")]))
                text.sample(counts.tokensRefused, Labels([("ns", host), ("result", "failure")]))
            }
        },
        counter(
            "ociregistry_upstream_rate_limited_total", "Answers of 429, by upstreams and their token services.", ["ns"]
        ) { metrics, _, text in
            for (label, counts) in metrics.perNamespace { text.sample(counts.rateLimited, label) }
        },
        counter(
            "ociregistry_upstream_credentials_refused_total",
            "Times that the configured credentials were sent and refused.", ["ns"]
        ) { metrics, _, text in
            for (label, counts) in metrics.perNamespace { text.sample(counts.credentialsRefused, label) }
        },
        counter(
            "ociregistry_upstream_failovers_total",
            "Requests that went to an upstream's next endpoint, since one failed or did not have the content.", ["ns"]
        ) { metrics, _, text in
            for (label, counts) in metrics.perNamespace { text.sample(counts.endpointsFailed, label) }
        },
        gauge(
            "ociregistry_upstream_rate_limit_remaining_seconds",
            "Rest of the longest pause of the upstream's repositories after a 429; 0 is not limited.", ["ns"]
        ) { metrics, readings, text in
            for (number, host) in metrics.namespaces.labels.enumerated() {
                text.sample(readings.rateLimitSeconds[number] ?? 0, Labels("ns", host))
            }
        },
        gauge(
            "ociregistry_upstream_ratelimit_limit",
            "Requests that the upstream allows in its period, as its last answer with ratelimit-limit stated.", ["ns"]
        ) { metrics, _, text in
            for (label, counts) in metrics.perNamespace {
                if let limit = counts.rateLimit?.limit { text.sample(limit, label) }
            }
        },
        gauge(
            "ociregistry_upstream_ratelimit_remaining",
            "Requests that the upstream still allows, as its last answer with ratelimit-remaining stated.",
            ["ns"]
        ) { metrics, _, text in
            for (label, counts) in metrics.perNamespace {
                if let remaining = counts.rateLimit?.remaining { text.sample(remaining, label) }
            }
        },
        counter(
            "ociregistry_upstream_quota_saved_total",
            "Pulls not made, since the upstream has stated fewer left than quota.reserve.", ["ns", "kind"]
        ) { metrics, _, text in
            for (host, counts) in zip(metrics.namespaces.labels, metrics.byNamespace) {
                for kind in PullKind.allCases {
                    text.sample(counts.quotaSaved[Int(kind.rawValue)], Labels([("ns", host), ("kind", kind.label)]))
                }
            }
        },
        gauge("ociregistry_upstream_requests_in_flight", "Requests to upstreams under way.") {
            $2.sample($1.upstreamRequestsInFlight)
        },
        gauge("ociregistry_upstream_requests_waiting", "Requests that wait for the end of a pause after a 429.") {
            $2.sample($1.rateLimitedRequests)
        },
        counter(
            "ociregistry_upstream_reconnects_total",
            "Upstream requests sent again on a new connection, because a reused one did not answer."
        ) { $2.sample($1.connect.reconnects) },
        gauge(
            "ociregistry_upstream_lookups", "Lookups of upstreams' names, under way and waiting for a place.", ["state"]
        ) { _, readings, text in
            text.sample(readings.connect.lookupsRunning, Labels("state", "running"))
            text.sample(readings.connect.lookupsWaiting, Labels("state", "waiting"))
        },
        counter(
            "ociregistry_upstream_lookups_refused_total",
            "Upstream requests refused because too many name lookups were waiting."
        ) { $2.sample($1.connect.lookupsRefused) },
    ]

    static let pulls: [MetricFamily] = [
        counter("ociregistry_pulls_total", "Pulls from upstreams that have ended.", ["kind", "result"]) {
            metrics, _, text in
            for kind in PullKind.allCases {
                let (succeeded, failed) = (
                    metrics.pulls.succeeded[Int(kind.rawValue)], metrics.pulls.failed[Int(kind.rawValue)]
                )
                text.sample(succeeded, Labels([("kind", kind.label), ("result", "success")]))
                text.sample(failed, Labels([("kind", kind.label), ("result", "failure")]))
            }
        },
        gauge("ociregistry_pulls_in_flight", "Pulls from upstreams under way.", ["kind"]) { _, readings, text in
            for kind in PullKind.allCases {
                text.sample(readings.pullsInFlight[Int(kind.rawValue)], Labels("kind", kind.label))
            }
        },
        gauge("ociregistry_pulls_queued", "Blob pulls waiting for their turn.") { $2.sample($1.pullsQueued) },
        counter(
            "ociregistry_negative_hits_total",
            "Requests answered without an upstream request, as it answered 404 or 403 a short while ago.", ["status"]
        ) { metrics, _, text in
            text.sample(metrics.pulls.notFoundHits, Labels("status", "404"))
            text.sample(metrics.pulls.deniedHits, Labels("status", "403"))
        },
        counter("ociregistry_pulls_resumed_total", "Blob transfers that went on where an earlier one broke off.") {
            $2.sample($0.pulls.resumed)
        },
        counter(
            "ociregistry_pulls_passed_through_total",
            "Blobs and ranges of blobs passed to clients without being kept, since the cache could not store them."
        ) { $2.sample($0.pulls.passed) },
        counter(
            "ociregistry_range_requests_ahead_total",
            "Requests for ranges far ahead of a blob pull, whose bytes are sent before the digest is verified.",
            ["result"]
        ) { metrics, _, text in
            text.sample(metrics.pulls.aheadSucceeded, Labels("result", "success"))
            text.sample(metrics.pulls.aheadFailed, Labels("result", "failure"))
        },
        counter("ociregistry_range_bytes_ahead_total", "Bytes received for ranges far ahead of a blob pull.") {
            $2.sample($0.pulls.aheadBytes)
        },
        counter(
            "ociregistry_verification_failures_total", "Content from upstreams that did not match its digest.", ["kind"]
        ) { metrics, _, text in
            for kind in PullKind.allCases {
                text.sample(metrics.pulls.verificationFailures[Int(kind.rawValue)], Labels("kind", kind.label))
            }
        },
    ]
}
