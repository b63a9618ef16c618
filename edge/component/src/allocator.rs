//! The guest's allocator wipes what is freed.
//!
//! Bodies, JSON and base64 pass through buffers of many libraries, and the memory of an instance
//! outlives its requests: so no freed byte keeps what it was.

use core::alloc::{GlobalAlloc, Layout};
use core::sync::atomic::{Ordering, compiler_fence};

use dlmalloc::GlobalDlmalloc;

struct Wiping;

// SAFETY: every call goes to dlmalloc with the arguments that it came with.
unsafe impl GlobalAlloc for Wiping {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promises are dlmalloc's.
        unsafe { GlobalDlmalloc.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promises are dlmalloc's.
        unsafe { GlobalDlmalloc.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller gives up a block of this layout, so all of it may be written.
        unsafe {
            block.write_bytes(0, layout.size());
            compiler_fence(Ordering::SeqCst);
            GlobalDlmalloc.dealloc(block, layout);
        }
    }

    // `realloc` is the trait's own: a new block, a copy, and the old one wiped by `dealloc`.
}

#[global_allocator]
static ALLOCATOR: Wiping = Wiping;
