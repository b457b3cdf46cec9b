//! The things of weir that Rust calls unsafe, kept apart from all that is not: mapping a file
//! into memory ([`Mapping`]), sharing texts while more are written behind them ([`GrowingTexts`]), asking the processor to fetch ahead ([`prefetch`]), looking at many
//! bytes of text at once ([`SpecialBytes`], [`plain_prefix`], [`equal_bytes`]), asking the system for
//! a core at once ([`go_first`]) and, for tests, counting what is allocated ([`CountingAllocator`]).

#![allow(unsafe_code, reason = "this crate is where it lives; every block says why it is sound")]

#[cfg(feature = "mimalloc")]
mod allocator;
mod counting;
mod growing;
mod text;
mod turns;

#[cfg(feature = "mimalloc")]
pub use allocator::{purge_delay_ms, steady_memory};
pub use counting::CountingAllocator;
pub use growing::GrowingTexts;
pub use text::{SpecialBytes, equal_bytes, plain_prefix};
pub use turns::{go_first, lends_its_core};

use std::fs::File;
use std::io;
use std::ops::Deref;

/// A whole file, readable as bytes.
#[derive(Debug)]
pub struct Mapping {
    map: memmap2::Mmap,
}

impl Mapping {
    /// Maps a file that nobody may write to.
    ///
    /// # Errors
    /// `PermissionDenied` when the file's mode lets anybody write to it: whoever shortened or changed it
    /// would do so under the reader. Otherwise what the system says.
    pub fn of_read_only(file: &File) -> io::Result<Self> {
        if !file.metadata()?.permissions().readonly() {
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, "the file can be written to"));
        }
        // SAFETY: memmap2 asks that the file is not changed while it is mapped. Its mode forbids that to
        // everybody but root; a new version is another file that is renamed over the name, which leaves the
        // mapped one as it was.
        let map = unsafe { memmap2::Mmap::map(file)? };
        Ok(Self { map })
    }
}

impl Deref for Mapping {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.map
    }
}

/// Asks the processor to bring the cache line of `items[index]` near. An index outside does nothing; on
/// other processors than x86-64 nothing does anything.
#[inline(always)]
#[allow(clippy::inline_always, reason = "a call costs more than what it asks for")]
pub fn prefetch<T>(items: &[T], index: usize) {
    #[cfg(target_arch = "x86_64")]
    if let Some(item) = items.get(index) {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a prefetch reads nothing as far as the program can tell, and SSE is part of every x86-64.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(item).cast()) }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (items, index);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn only_what_nobody_can_write_to_is_mapped() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(b"weir").unwrap();
        let refused = Mapping::of_read_only(file.as_file()).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::PermissionDenied);
        let mut mode = file.as_file().metadata().unwrap().permissions();
        mode.set_readonly(true);
        file.as_file().set_permissions(mode).unwrap();
        let mapping = Mapping::of_read_only(file.as_file()).unwrap();
        prefetch(&mapping, 3);
        prefetch(&mapping, 4);
        assert_eq!(&*mapping, b"weir");
    }
}
