//! See `weir_fuzz::arrow_ipc_in`.
#![no_main]

use std::sync::Once;

/// The reader of the library panics on damaged batches; the framer catches that and refuses the stream. The hook of libFuzzer
/// would end the process before it can: what nobody catches still does.
static CAUGHT: Once = Once::new();

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    CAUGHT.call_once(|| std::panic::set_hook(Box::new(|panic| eprintln!("{panic}"))));
    weir_fuzz::arrow_ipc_in(data);
});
