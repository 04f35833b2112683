//! The figures: printed, and as a page of the docs.
