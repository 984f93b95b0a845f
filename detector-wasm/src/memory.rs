//! Linear memory: where it ends, and more of it. In tests a piece of memory stands in for it.

/// The unit that memory grows by.
pub(crate) const PAGE_BYTES: usize = 65_536;

#[cfg(target_arch = "wasm32")]
mod machine {
    use core::arch::wasm32;

    /// The memory of this instance.
    #[derive(Debug)]
    pub(crate) struct Memory;

    impl Memory {
        /// The first address that is not memory.
        pub(crate) fn end(&self) -> usize {
            wasm32::memory_size::<0>() * super::PAGE_BYTES
        }

        /// Makes memory longer by so many pages; false where it cannot be.
        pub(crate) fn grow(&mut self, pages: usize) -> bool {
            wasm32::memory_grow::<0>(pages) != usize::MAX
        }
    }
}

#[cfg(not(target_arch = "wasm32"))]
mod machine {
    use super::PAGE_BYTES;

    /// Pages that a test has.
    const PAGES_MAX: usize = 4;

    /// A piece of memory whose addresses are made up again from numbers, as an instance's are.
    #[derive(Debug)]
    pub(crate) struct Memory {
        /// Nothing looks in here by this name once addresses of it are in use.
        _room: Vec<u64>,
        start: usize,
        used: usize,
    }

    impl Memory {
        /// Memory that begins with some words, and where they lie.
        pub(crate) fn holding(words: &[u64]) -> (Self, [u32; 2]) {
            let mut room = vec![0; PAGES_MAX * PAGE_BYTES / size_of::<u64>()];
            room[..words.len()].copy_from_slice(words);
            let (start, bytes) = (room.as_mut_ptr().expose_provenance(), size_of_val(words));
            let used = bytes.next_multiple_of(PAGE_BYTES);
            (Self { _room: room, start, used }, [start as u32, bytes as u32])
        }

        pub(crate) fn end(&self) -> usize {
            self.start + self.used
        }

        pub(crate) fn grow(&mut self, pages: usize) -> bool {
            let used = self.used.saturating_add(pages.saturating_mul(PAGE_BYTES));
            let fits = used <= PAGES_MAX * PAGE_BYTES;
            self.used = if fits { used } else { self.used };
            fits
        }
    }
}

pub(crate) use machine::Memory;
