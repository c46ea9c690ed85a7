// Process-wide settings, made once before the first library call and the first thread.

import ArgumentParser
import Glibc
import Registry

enum ProcessSetup {
    static func apply() {
        // libuv reads it at the pool's first use. The 0 keeps a size that the user has set.
        setenv("UV_THREADPOOL_SIZE", "\(Offload.threadCount)", 0)
        // A write to a closed socket must return an error, not end the process: sendfile(2) has no MSG_NOSIGNAL.
        signal(SIGPIPE, SIG_IGN)
        Heap.configure()
        raiseDescriptorLimit()
    }

    /// Each connection needs a descriptor, and distributions start processes with a limit of 1,024. A limit that cannot
    /// be raised is accepted: the connection cap is derived from it.
    private static func raiseDescriptorLimit() {
        var limit = rlimit()
        guard getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0 else { return }
        limit.rlim_cur = limit.rlim_max
        setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
    }
}

extension ProcessSetup {
    /// The current limit of open descriptors.
    static var descriptorLimit: Int {
        var limit = rlimit()
        guard getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0 else { return 1024 }
        return Int(min(limit.rlim_cur, rlim_t(Int32.max)))
    }
}

enum Environment {
    /// The value of an environment variable; nil when it is not set.
    static func value(_ name: String) -> String? { getenv(name).map { String(cString: $0) } }
}

enum StartFailure {
    /// Writes the message to standard error unchanged, one problem per line, so that `file:line:` begins the line and
    /// editors can follow it. The caller throws the returned status.
    static func report(_ message: String, _ status: ExitCode) -> ExitCode {
        LogFile.writeToStandardError(message + "\n")
        return status
    }
}
