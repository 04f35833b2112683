//! The dependency descriptor (AV1 RTP specification, appendix A): a header extension that says of a
//! frame of any codec which layer it is of and which frames it refers to.
//!
//! Most packets name a *template*, of which a keyframe's first packet brings all, in a *structure*.
//!
//! Who forwards a stream changes two things in it for each receiver ([`Dependencies`]): the number
//! of the frame, and which *decode targets* (layers that one can want to see) it still gets.

use super::bits::Bits;
use super::layering::{MAX_SPATIAL, SpatialSizes};

mod forward;
#[cfg(test)]
mod tests;

use forward::Targets;
pub use forward::{Dependencies, MAX_GROWTH, MAX_LEN};

/// The most templates (their ids have 6 bits) and decode targets (5 bits).
const MAX_TEMPLATES: usize = 64;
const MAX_TARGETS: usize = 32;

/// The most frames that one refers to: AV1 has 7 references.
const MAX_REFERENCES: usize = 8;

/// The mandatory fields alone.
const MANDATORY: usize = 3;

/// What a frame is: its layers, and how many frames back those are that it refers to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct FrameKind {
    pub(super) spatial: u8,
    pub(super) temporal: u8,
    references: [u16; MAX_REFERENCES],
    count: u8,
}

impl FrameKind {
    /// Differences of frame numbers.
    pub(super) fn references(&self) -> &[u16] {
        &self.references[..usize::from(self.count)]
    }

    fn refer(&mut self, back: u32) -> Option<()> {
        *self.references.get_mut(usize::from(self.count))? = u16::try_from(back).ok()?;
        self.count += 1;
        Some(())
    }
}

/// The templates of a stream, from a keyframe on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Structure {
    offset: u8,
    templates: [FrameKind; MAX_TEMPLATES],
    count: u8,
    targets: u8,
    chains: u8,
    sizes: Option<SpatialSizes>,
    /// The highest spatial and temporal layer that each decode target needs.
    needs: [(u8, u8); MAX_TARGETS],
}

impl Structure {
    /// The sizes of the spatial layers, if the structure tells them.
    pub(super) fn sizes(&self) -> Option<SpatialSizes> {
        self.sizes
    }

    fn template(&self, id: u8) -> Option<FrameKind> {
        let index = (id + 64 - self.offset) % 64;
        (index < self.count).then(|| self.templates[usize::from(index)])
    }

    /// `template_dependency_structure()`, §A.8.3.
    fn parse(bits: &mut Bits<'_>) -> Option<Self> {
        let mut this = Self {
            offset: bits.bits(6)? as u8,
            templates: [FrameKind::default(); MAX_TEMPLATES],
            count: 0,
            targets: bits.bits(5)? as u8 + 1,
            chains: 0,
            sizes: None,
            needs: [(0, 0); MAX_TARGETS],
        };
        let highest_spatial = this.read_layers(bits)?;
        for template in &this.templates[..usize::from(this.count)] {
            for need in this.needs.iter_mut().take(usize::from(this.targets)) {
                // 0: the frame is not part of the target.
                if bits.bits(2)? != 0 {
                    need.0 = need.0.max(template.spatial);
                    need.1 = need.1.max(template.temporal);
                }
            }
        }
        for template in &mut this.templates[..usize::from(this.count)] {
            while bits.bit()? {
                template.refer(bits.bits(4)? + 1)?;
            }
        }
        this.skip_chains(bits)?;
        if bits.bit()? {
            let mut sizes = SpatialSizes::default();
            for spatial in 0..=highest_spatial {
                let (width, height) = (bits.bits(16)? + 1, bits.bits(16)? + 1);
                if let Some(size) = sizes.get_mut(usize::from(spatial)) {
                    *size = (u16::try_from(width).ok()?, u16::try_from(height).ok()?);
                }
            }
            this.sizes = Some(sizes);
        }
        Some(this)
    }

    /// `template_layers()`; the highest spatial layer.
    fn read_layers(&mut self, bits: &mut Bits<'_>) -> Option<u8> {
        let (mut spatial, mut temporal) = (0u8, 0u8);
        loop {
            let template = self.templates.get_mut(usize::from(self.count))?;
            (template.spatial, template.temporal) = (spatial, temporal);
            self.count += 1;
            match bits.bits(2)? {
                0 => {}
                1 => temporal += 1,
                2 => {
                    temporal = 0;
                    spatial += 1;
                }
                _ => return Some(spatial),
            }
        }
    }

    /// `template_chains()`: which frames in a row a target needs. Sequence numbers without a gap
    /// say the same.
    fn skip_chains(&mut self, bits: &mut Bits<'_>) -> Option<()> {
        let chains = non_symmetric(bits, u32::from(self.targets) + 1)?;
        self.chains = u8::try_from(chains).ok()?;
        if chains == 0 {
            return Some(());
        }
        for _ in 0..self.targets {
            non_symmetric(bits, chains)?;
        }
        for _ in 0..u32::from(self.count) * chains {
            bits.bits(4)?;
        }
        Some(())
    }
}

/// `ns(n)`: a value below `n` (AV1 bitstream specification, §4.10.7).
fn non_symmetric(bits: &mut Bits<'_>, n: u32) -> Option<u32> {
    let width = 32 - n.leading_zeros();
    let short = (1 << width) - n;
    let value = bits.bits(width - 1)?;
    if value < short {
        return Some(value);
    }
    Some((value << 1) - short + u32::from(bits.bit()?))
}

/// A descriptor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Descriptor {
    /// First packet of its frame (of one spatial layer).
    pub(super) begins: bool,
    /// Last packet of its frame.
    pub(super) ends: bool,
    /// The frame's number in its stream, over all layers.
    pub(super) frame_number: u16,
    /// The structure that holds from here on, if there is a new one.
    pub(super) structure: Option<Structure>,
    /// What the frame is; none if its template isn't known.
    pub(super) frame: Option<FrameKind>,
    /// The decode targets that the sender says are active from here on, by bit.
    pub(super) active_targets: Option<u32>,
    /// Where the fields before the active decode targets end, in bits from the start.
    targets_at: usize,
}

impl Descriptor {
    /// Reads the extension's value. `known` is the structure that the stream has so far. None if
    /// the value is cut off or contradicts itself.
    pub(super) fn parse(value: &[u8], known: Option<&Structure>) -> Option<Self> {
        let mut bits = Bits::new(value);
        let (begins, ends) = (bits.bit()?, bits.bit()?);
        let template = bits.bits(6)? as u8;
        let mut this = Self {
            begins,
            ends,
            frame_number: bits.bits(16)? as u16,
            structure: None,
            frame: None,
            active_targets: None,
            targets_at: 0,
        };
        if value.len() <= MANDATORY {
            this.frame = known.and_then(|s| s.template(template));
            return Some(this);
        }
        let has_structure = bits.bit()?;
        let has_active_targets = bits.bit()?;
        let (own_targets, own_references) = (bits.bit()?, bits.bit()?);
        bits.bit()?; // own chains, which come last
        if has_structure {
            this.structure = Some(Structure::parse(&mut bits)?);
        }
        let Some(structure) = this.structure.as_ref().or(known) else {
            return Some(this);
        };
        let targets = usize::from(structure.targets).min(MAX_TARGETS);
        this.targets_at = bits.position();
        if has_active_targets {
            this.active_targets = Some(bits.bits(targets as u32)?);
        }
        let Some(mut frame) = structure.template(template) else {
            return Some(this);
        };
        if own_targets {
            for _ in 0..targets {
                bits.bits(2)?;
            }
        }
        if own_references {
            frame.count = 0;
            loop {
                match bits.bits(2)? {
                    0 => break,
                    size => frame.refer(bits.bits(4 * size)? + 1)?,
                }
            }
        }
        frame.spatial = frame.spatial.min(MAX_SPATIAL as u8 - 1);
        this.frame = Some(frame);
        Some(this)
    }

    /// What a forwarder needs to change in this descriptor, whose value is so long and whose stream
    /// has this structure and these active decode targets now.
    pub(super) fn dependencies(
        &self,
        len: usize,
        structure: Option<&Structure>,
        active: u32,
    ) -> Dependencies {
        let begins_picture = self.begins && self.frame.is_some_and(|frame| frame.spatial == 0);
        let targets = structure.filter(|_| begins_picture || self.active_targets.is_some());
        Dependencies::new(
            self.frame_number,
            targets.and_then(|structure| {
                let needs = &structure.needs[..usize::from(structure.targets).min(MAX_TARGETS)];
                let has_own = self.active_targets.is_some();
                Targets::new(needs, active, self.targets_at, has_own, len)
            }),
        )
    }
}
