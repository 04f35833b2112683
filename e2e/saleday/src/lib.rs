//! A day of a sale, simulated: millions of viewers come to thousands of rooms, and the operator's own placement and
//! autoscaling decide, second by second, where rooms go and how many pods there are. Beside them a
//! HorizontalPodAutoscaler does the same day, and an oracle that knew it.
//!
//! Time is virtual, and all chance follows from a seed. Viewers are not simulated one by one but in crowds: those of
//! one room on one pod are two numbers (who look in, who stay), of which a random part leaves each second. Joins are
//! counted by viewers.

pub mod chart;
pub mod day;
pub mod page;
pub mod random;
pub mod scale;
pub mod scaler;
pub mod site;
pub mod world;
