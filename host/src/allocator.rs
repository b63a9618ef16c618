//! The host's allocator wipes what is freed, as the guest's does.
//!
//! Requests with keys and answers with DEKs pass through buffers of HTTP, TLS and the runtime, and random
//! bytes on their way to the guest through one more. Their owners free them unwiped, so it is done here.

use std::alloc::{GlobalAlloc, Layout};
use std::sync::atomic::{Ordering, compiler_fence};

use mimalloc::MiMalloc;

struct Wiping;

// SAFETY: every call goes to mimalloc with the arguments that it came with.
unsafe impl GlobalAlloc for Wiping {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promises are mimalloc's.
        unsafe { MiMalloc.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promises are mimalloc's.
        unsafe { MiMalloc.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller gives up a block of this layout, so all of it may be written.
        unsafe {
            block.write_bytes(0, layout.size());
            compiler_fence(Ordering::SeqCst);
            MiMalloc.dealloc(block, layout);
        }
    }

    // `realloc` is the trait's own: a new block, a copy, and the old one wiped by `dealloc`.
}

#[global_allocator]
static ALLOCATOR: Wiping = Wiping;
