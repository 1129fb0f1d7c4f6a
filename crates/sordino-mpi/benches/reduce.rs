//! What `exchange=reduce` costs beside the engine's own all-reduce.
fn main() {}
