// Ownership of libuv handles. libuv keeps a pointer to a handle's memory until the close callback, so a `Handle` is
// retained on successful init and released in that callback, once.

internal import CLibuv

/// The part of a handle that does not depend on its C type, for close callbacks.
class AnyHandle {
    /// The object that gets the callbacks. It is retained until the close callback, so that a callback always finds it.
    final var owner: AnyObject? {
        didSet { borrowedOwner = owner.map { Unmanaged.passUnretained($0) } }
    }
    fileprivate final var borrowedOwner: Unmanaged<AnyObject>?
    final fileprivate(set) var isClosed = false
}

/// Owns one libuv handle of type `Raw` (`uv_timer_t`, `uv_signal_t`, …).
///
/// Source: docs.libuv.org, "uv_handle_t", "uv_close".
final class Handle<Raw>: AnyHandle {
    let pointer: UnsafeMutablePointer<Raw>

    /// Allocates the handle and initialises it; on failure its memory is freed.
    init(_ call: String, _ initialise: (UnsafeMutablePointer<Raw>) -> Int32) throws(LoopError) {
        let memory = UnsafeMutablePointer<Raw>.allocate(capacity: 1)
        let code = initialise(memory)
        guard code == 0 else {
            memory.deallocate()
            throw LoopError(call: call, code: code)
        }
        pointer = memory
        super.init()
        // Paired with the release in the close callback.
        base.pointee.data = Unmanaged<AnyHandle>.passRetained(self).toOpaque()
    }

    deinit { pointer.deallocate() }

    /// The handle as libuv's base type: every handle struct begins with the fields of `uv_handle_t`.
    var base: UnsafeMutablePointer<uv_handle_t> {
        UnsafeMutableRawPointer(pointer).assumingMemoryBound(to: uv_handle_t.self)
    }

    /// Calls `body` with the owner of a handle that libuv passes to a callback.
    @inline(__always)
    static func withOwner<Owner: AnyObject>(
        of raw: UnsafeMutablePointer<Raw>?, as _: Owner.Type = Owner.self, _ body: (Owner) -> Void
    ) {
        // libuv passes the handle whose `data` was set in `init`. The close callback, which releases handle and owner,
        // runs in a later phase of the loop, so neither is retained here: that would be four atomic instructions per
        // callback.
        let base = UnsafeMutableRawPointer(raw).unsafelyUnwrapped.assumingMemoryBound(to: uv_handle_t.self)
        Unmanaged<AnyHandle>.fromOpaque(base.pointee.data.unsafelyUnwrapped)._withUnsafeGuaranteedRef { handle in
            handle.borrowedOwner.unsafelyUnwrapped._withUnsafeGuaranteedRef { body(unsafeDowncast($0, to: Owner.self)) }
        }
    }

    /// Lets the loop end while this handle is active.
    func unreference() { uv_unref(base) }

    /// Makes the handle keep the loop running again.
    func reference() { uv_ref(base) }

    /// Closes the handle; its memory is freed in the close callback. A second call has no effect.
    func close() {
        guard !isClosed else { return }
        isClosed = true
        uv_close(base) { raw in
            guard let data = raw?.pointee.data else { return }
            Unmanaged<AnyHandle>.fromOpaque(data).takeRetainedValue().owner = nil
        }
    }
}
