//! Arbitrary bytes through every decoder of the registry: an error or a whole vector, never a panic.
//!
//! The first two bytes choose the length of a second tensor beside one of 100 entries; the rest is the message.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sordino::base::{Layout, Reader, Role, Tensor};
use sordino::compress;
use sordino::grammar::Element;

const UNWRITTEN: u32 = 0x7FA5_5A5A;

fuzz_target!(|data: &[u8]| {
    let Some((length, body)) = data.split_first_chunk::<2>() else { return };
    let length = usize::from(u16::from_le_bytes(*length) % 5000);
    let layout = Layout::new([Tensor::new("a", &[length], Role::Weight), Tensor::new("b", &[100], Role::Weight)]);
    for entry in compress::ENTRIES {
        let mut compressor = compress::build(&Element::word(entry.name)).expect("defaults build");
        let mut out = vec![f32::from_bits(UNWRITTEN); layout.len()];
        if compressor.decode(&mut Reader::new(body), &layout, &mut out).is_ok() && !body.contains(&0x5A) {
            assert!(out.iter().all(|v| v.to_bits() != UNWRITTEN), "{} left entries unwritten", entry.name);
        }
    }
});
