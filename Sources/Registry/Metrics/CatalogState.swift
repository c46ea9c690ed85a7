// The catalogue's families of the store, the process and the loop.

extension Catalog {
    static let store: [MetricFamily] = [
        gauge("ociregistry_store_partial_files", "Blobs of which a part is on disk: being pulled, or to be resumed.") {
            $2.sample($1.store.disk.partialFiles)
        },
        gauge("ociregistry_store_partial_bytes", "Bytes of those parts.") { $2.sample($1.store.disk.partialBytes) },
        gauge("ociregistry_store_quarantined_files", "Files that were found wrong and set aside.") {
            $2.sample($1.store.disk.quarantinedFiles)
        },
        counter("ociregistry_store_set_aside_total", "Files set aside since the start.") {
            $2.sample($1.store.setAside)
        },
        counter("ociregistry_store_damaged_files_total", "Damaged files found, by what found them.", ["by"]) {
            _, readings, text in
            for finder in DamageFinder.allCases {
                text.sample(readings.store.damaged[Int(finder.rawValue)], Labels("by", finder.label))
            }
        },
        counter("ociregistry_scrub_files_total", "Files that the background scrub has hashed.") {
            $2.sample($1.store.scrub.files)
        },
        counter("ociregistry_scrub_bytes_total", "Bytes that the background scrub has hashed.") {
            $2.sample($1.store.scrub.bytes)
        },
        gauge("ociregistry_scrub_running", "1 while a pass of the background scrub is under way.") {
            $2.sample($1.store.scrub.isRunning)
        },
        gauge("ociregistry_scrub_progress_ratio", "Share of the cache's bytes that this pass has hashed.") {
            $2.sample($1.store.scrubProgress)
        },
        gauge(
            "ociregistry_scrub_last_complete_timestamp_seconds",
            "End of the last whole pass since the Unix epoch in seconds; 0 when there was none."
        ) { $2.sample($1.store.scrub.lastCompleteSeconds) },
        counter("ociregistry_store_write_failures_total", "Writes that the disk refused.", ["reason"]) {
            _, readings, text in
            text.sample(readings.store.writeFailuresNoSpace, Labels("reason", "no_space"))
            text.sample(readings.store.writeFailuresOther, Labels("reason", "other"))
        },
        counter("ociregistry_store_removed_images_total", "Names of images that were removed.", ["reason"]) {
            _, readings, text in
            text.sample(readings.store.prunedImages, Labels("reason", "prune"))
            text.sample(readings.store.evictedImages, Labels("reason", "no_room"))
        },
        counter("ociregistry_store_removed_bytes_total", "Bytes that went with them.", ["reason"]) {
            _, readings, text in
            text.sample(readings.store.prunedBytes, Labels("reason", "prune"))
            text.sample(readings.store.evictedBytes, Labels("reason", "no_room"))
        },
        counter(
            "ociregistry_store_evictions_in_vain_total",
            "Evictions that found too few images to remove: the rest is pinned or in use."
        ) { $2.sample($1.store.evictionsInVain) },
        counter(
            "ociregistry_store_refused_admissions_total",
            "Pulls that got no room because too little may be removed."
        ) { $2.sample($1.store.refusedAdmissions) },
        gauge("ociregistry_store_backlog_bytes", "Bytes in memory that the disk does not have yet.") {
            $2.sample($1.store.backlogBytes)
        },
        gauge(
            "ociregistry_store_used_bytes",
            "What the budget counts: blobs, manifests, partial files, last uses, and room reserved for pulls."
        ) { $2.sample($1.store.usedBytes) },
        gauge("ociregistry_store_max_bytes", "What that may be at most; 0 without a limit.") {
            $2.sample($1.store.maxBytes ?? 0)
        },
        gauge("ociregistry_store_min_free_bytes", "What the server keeps free on the file system; 0 without a limit.") {
            $2.sample($1.store.minFreeBytes ?? 0)
        },
        gauge("ociregistry_store_recovered", "1 when the walk over the store at start is through.") {
            $2.sample($1.store.isRecovered)
        },
        gauge(
            "ociregistry_ready_for_pulls",
            "1 while something new could be stored, or nothing ever is (air-gapped); 0 without room or writes to disk."
        ) { $2.sample($1.isReadyForPulls) },
        gauge("ociregistry_store_tags", "Cached tags.") { $2.sample($1.store.tagCount) },
        gauge("ociregistry_cooldown_waiting_tags", "Tags that have moved to an image they do not serve yet.") {
            $2.sample($1.store.cooldown.waitingTags)
        },
        gauge("ociregistry_cooldown_ledger_entries", "Entries of cooldown's ledger; 0 without a policy that has one.") {
            $2.sample($1.store.cooldown.ledgerEntries)
        },
        gauge(
            "ociregistry_cooldown_clock_behind",
            "1 while no wait of cooldown ends, since the system's clock is behind the newest entry of the ledger."
        ) { $2.sample($1.store.cooldown.isClockBehind) },
        gauge("ociregistry_store_filesystem_size_bytes", "Size of the file system that holds the store.") {
            $2.sample($1.store.disk.sizeBytes)
        },
        gauge("ociregistry_store_filesystem_free_bytes", "What is free there for this process.") {
            $2.sample($1.store.disk.freeBytes)
        },
    ]

    static let process: [MetricFamily] = [
        counter("process_cpu_seconds_total", "User and system CPU time spent in seconds.") {
            $2.sample(nanoseconds: $1.process.cpuNanoseconds)
        },
        gauge("process_resident_memory_bytes", "Resident memory size in bytes.") {
            $2.sample($1.process.residentBytes)
        },
        gauge("process_virtual_memory_bytes", "Virtual memory size in bytes.") { $2.sample($1.process.virtualBytes) },
        gauge("process_virtual_memory_max_bytes", "Most virtual memory there may be, in bytes.") { _, readings, text in
            guard let limit = readings.process.virtualLimitBytes else { return text.sample(Double.infinity) }
            text.sample(limit)
        },
        gauge("process_heap_bytes", "Process heap size in bytes.") {
            $2.sample($1.process.heapUsedBytes + $1.process.heapFreeBytes)
        },
        gauge("process_open_fds", "Open file descriptors.") { $2.sample($1.process.openDescriptors) },
        gauge("process_max_fds", "Most open file descriptors there may be.") {
            $2.sample($1.process.maximumDescriptors)
        },
        gauge("process_start_time_seconds", "Start of the process since the Unix epoch in seconds.") {
            $2.sample($1.process.startSeconds)
        },
        gauge("process_threads", "Threads of the process.") { $2.sample($1.process.threads) },
        counter(
            "process_network_receive_bytes_total",
            "Bytes received in the process's network namespace, by whatever process."
        ) { $2.sample($1.process.receivedBytes) },
        counter(
            "process_network_transmit_bytes_total",
            "Bytes sent in the process's network namespace, by whatever process."
        ) { $2.sample($1.process.transmittedBytes) },
    ]

    static let loop: [MetricFamily] = [
        histogram(
            "ociregistry_loop_iteration_busy_seconds",
            "Busy time of an iteration of the event loop: how long a new event may have to wait."
        ) { $2.sample($1.loop.iterations) },
        counter("ociregistry_loop_iterations_total", "Iterations of the event loop.") {
            $2.sample($1.loop.iterations.count())
        },
        counter("ociregistry_loop_busy_seconds_total", "Time the event loop worked.") {
            $2.sample(nanoseconds: $1.loop.iterations.sumNanoseconds())
        },
        counter("ociregistry_loop_idle_seconds_total", "Time the event loop waited for events.") {
            $2.sample(nanoseconds: $1.loop.idleNanoseconds)
        },
        gauge("ociregistry_loop_active_handles", "Active handles of the event loop: sockets, timers, signals.") {
            $2.sample($1.loop.activeHandles)
        },
        gauge("ociregistry_pool_threads", "Threads of the pool for blocking work.") { $2.sample($1.loop.poolThreads) },
        gauge("ociregistry_pool_jobs_in_flight", "Jobs given to the pool whose result has not come back.") {
            $2.sample($1.loop.poolJobsInFlight)
        },
        gauge("ociregistry_pool_queue_depth", "Jobs of those that no thread has been free for.") {
            $2.sample(max(0, $1.loop.poolJobsInFlight - $1.loop.poolThreads))
        },
        counter("ociregistry_pool_jobs_total", "Jobs the pool has done.") { $2.sample($1.loop.poolRuns.count()) },
        histogram("ociregistry_pool_wait_seconds", "How long jobs waited for a thread.") {
            $2.sample($1.loop.poolWaits)
        },
        histogram("ociregistry_pool_run_seconds", "How long jobs took on their thread.") {
            $2.sample($1.loop.poolRuns)
        },
        gauge("ociregistry_heap_used_bytes", "Heap in use, large blocks included.") {
            $2.sample($1.process.heapUsedBytes)
        },
        gauge("ociregistry_heap_free_bytes", "Heap that the allocator holds and nobody uses.") {
            $2.sample($1.process.heapFreeBytes)
        },
        gauge("ociregistry_heap_mapped_bytes", "Large blocks, mapped each by itself.") {
            $2.sample($1.process.heapMappedBytes)
        },
        gauge("ociregistry_live_objects", "Objects alive, by kind.", ["kind"]) { _, readings, text in
            text.sample(readings.openConnections, Labels("kind", "connection"))
            text.sample(readings.loop.transfers, Labels("kind", "transfer"))
            text.sample(readings.loop.growingBlobs, Labels("kind", "growing_blob"))
            text.sample(readings.store.cachedManifests, Labels("kind", "cached_manifest"))
            text.sample(readings.store.openFiles, Labels("kind", "open_file"))
        },
        gauge("ociregistry_manifest_memory_bytes", "Manifests kept ready in memory.") {
            $2.sample($1.store.manifestMemoryBytes)
        },
    ]

    static let about: [MetricFamily] = [
        gauge(
            "ociregistry_config_last_reload_success",
            "1 when the configuration was loaded without a problem the last time, at the start or by a reload."
        ) { metrics, _, text in text.sample(metrics.configLoads.hasLastLoadSucceeded) },
        gauge(
            "ociregistry_config_last_reload_success_timestamp_seconds",
            "Time of the last load without a problem since the Unix epoch in seconds."
        ) { metrics, _, text in text.sample(metrics.configLoads.lastSuccessSeconds) },
        counter("ociregistry_log_lines_dropped_total", "Log lines that could not be written fast enough.") {
            $2.sample($1.logLinesDropped)
        },
        gauge("ociregistry_last_scrape_loop_seconds", "Time the last exposition took of the event loop.") {
            $2.sample(nanoseconds: $1.lastScrapeNanoseconds)
        },
        gauge(
            "ociregistry_build_info", "1; the versions are in the labels.",
            ["version", "swift", "libuv", "libcurl", "openssl"]
        ) { _, readings, text in text.sample(1, Labels(readings.build.map { ($0.label, $0.value) })) },
    ]
}
