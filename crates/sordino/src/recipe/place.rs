//! Where layers live, once the network and the number of ranks are known.

use super::Recipe;
use crate::base::Result;
use crate::grammar::{Element, Value};
use crate::placement::{self, Cost, Placement};

impl Recipe {
    /// Where the layers live.
    pub fn placement(&self) -> Result<Placement> {
        placement::build(self.choice("placement")?)
    }

    /// How many clients a task's rows are dealt to on `ranks` ranks: the federated ones, or as many as there are copies
    /// of the network, which has so many layers; `layers` means nothing where the recipe says how many blocks there are.
    pub fn clients(&self, ranks: usize, layers: usize) -> Result<usize> {
        let Placement::Pipeline(pipeline) = self.placement()? else {
            return Ok(self.participation()?.clients(ranks));
        };
        let blocks = pipeline.blocks_on(ranks, pipeline.blocks.unwrap_or(layers))?;
        Ok(ranks / pipeline.workers_of(blocks))
    }

    /// Replaces what is `auto` about a pipeline by the cut of a network whose layers cost so much.
    pub fn place(&mut self, ranks: usize, costs: &[Cost]) -> Result<()> {
        let Placement::Pipeline(pipeline) = self.placement()? else { return Ok(()) };
        let blocks = pipeline.cut(ranks, costs)?.blocks;
        let mut cuts = Element::word("at");
        cuts.positional.extend(blocks[1..].iter().map(|block| Value::Number(block.start as f64)));
        self.set_key("placement", "blocks", Value::Number(blocks.len() as f64))?;
        if blocks.len() > 1 {
            self.set_key("placement", "cuts", Value::Element(cuts))?;
        }
        Ok(())
    }
}
