// What is set for the whole process, once, before the first library call and the first thread.

import ArgumentParser
import Glibc
import Registry

enum ProcessSetup {
    static func apply() {
        // Read by libuv at the pool's first use. The 0: a size the user has set stays.
        setenv("UV_THREADPOOL_SIZE", "\(Offload.threadCount)", 0)
        // A write to a closed socket must be an error, not the end: sendfile(2) has no MSG_NOSIGNAL.
        signal(SIGPIPE, SIG_IGN)
        Heap.configure()
        raiseDescriptorLimit()
    }

    /// A connection is a descriptor, and distributions start processes with 1,024. What cannot be raised stays: the
    /// connection cap is derived from what is there.
    private static func raiseDescriptorLimit() {
        var limit = rlimit()
        guard getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0 else { return }
        limit.rlim_cur = limit.rlim_max
        setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
    }
}

extension ProcessSetup {
    /// Descriptors this process may have, as they stand now.
    static var descriptorLimit: Int {
        var limit = rlimit()
        guard getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0 else { return 1024 }
        return Int(min(limit.rlim_cur, rlim_t(Int32.max)))
    }
}

enum Environment {
    /// A variable's value; nil when it is not set.
    static func value(_ name: String) -> String? { getenv(name).map { String(cString: $0) } }
}

enum StartFailure {
    /// Puts the message on standard error as it is, a line a problem, so that `file:line:` begins the line and
    /// editors can follow it; `throw` what it returns.
    static func report(_ message: String, _ status: ExitCode) -> ExitCode {
        LogFile.writeToStandardError(message + "\n")
        return status
    }
}
