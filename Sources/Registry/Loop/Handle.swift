// The memory of every libuv handle belongs to one of these. libuv keeps a pointer to it until the close callback, so
// the memory (and with it this object) is kept alive from a successful init to that callback, exactly once.

internal import CLibuv

/// What a close callback can name: everything of a handle but its C type.
class AnyHandle {
    /// Who gets the callbacks. Kept alive until the close callback, so that a callback always finds it.
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

    /// Allocates the handle and initialises it; on failure nothing is kept.
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

    /// The handle as libuv's base type: every handle struct begins with its fields.
    var base: UnsafeMutablePointer<uv_handle_t> {
        UnsafeMutableRawPointer(pointer).assumingMemoryBound(to: uv_handle_t.self)
    }

    /// Calls `body` with the owner of a handle that libuv passes to a callback.
    @inline(__always)
    static func withOwner<Owner: AnyObject>(
        of raw: UnsafeMutablePointer<Raw>?, as _: Owner.Type = Owner.self, _ body: (Owner) -> Void
    ) {
        // libuv passes the handle it was given; its `data` was set in `init`. The close callback, which lets go of
        // handle and owner, comes in an iteration of its own, so that neither has to be held meanwhile: that would be
        // four atomic instructions a callback.
        let base = UnsafeMutableRawPointer(raw).unsafelyUnwrapped.assumingMemoryBound(to: uv_handle_t.self)
        Unmanaged<AnyHandle>.fromOpaque(base.pointee.data.unsafelyUnwrapped)._withUnsafeGuaranteedRef { handle in
            handle.borrowedOwner.unsafelyUnwrapped._withUnsafeGuaranteedRef { body(unsafeDowncast($0, to: Owner.self)) }
        }
    }

    /// Lets the loop end while this handle is active.
    func unreference() { uv_unref(base) }

    /// Keeps it again.
    func reference() { uv_ref(base) }

    /// Closes the handle; its memory goes when libuv is done with it. Closing twice is allowed and does nothing.
    func close() {
        guard !isClosed else { return }
        isClosed = true
        uv_close(base) { raw in
            guard let data = raw?.pointee.data else { return }
            Unmanaged<AnyHandle>.fromOpaque(data).takeRetainedValue().owner = nil
        }
    }
}
