//! Scales that bend, as ONNX operators.
//!
//! Every value looks up its piece among those of its column by bisection, and goes along it. That takes four operators for
//! each doubling of the pieces and six more, on tensors of the values' own size: with 32 pieces, on one core, some 20 ns a
//! value. A sum of ramps takes four or five operators for each piece and three times as long, or a tensor as many times
//! larger as there are pieces; and of ONNX Runtime's two ways to look numbers up, `Gather` takes four times as long as
//! `GatherElements`. No step depends on a value's place, and none rounds but the last three, so the trainer computes the
//! same bits.

use crate::model::{
    knots::{Knots, Piece},
    metadata::Column,
};

use super::{GraphSpec, builder::GraphBuilder};

type Number = fn(&Piece) -> f32;

/// What is looked up of a piece.
const NUMBERS: [(&str, Number); 3] =
    [("from", |piece| piece.from), ("to", |piece| piece.to), ("slope", |piece| piece.slope)];

impl GraphSpec<'_> {
    /// Whether the scale of any column bends.
    pub(super) fn bends(&self) -> bool {
        self.columns.iter().any(|column| column.knots.is_some())
    }
}

impl GraphBuilder {
    /// Each value of `rows` rows of all columns, `[batch, rows * D]`, along the piece of its column that it lies on.
    pub(super) fn along(
        &mut self,
        (columns, rows): (&[Column], usize),
        pieces: fn(&Knots) -> &[Piece],
        input: &str,
        output: &str,
    ) {
        if rows == 1 {
            return self.along_row(columns, pieces, input, output);
        }
        // Rows below each other, or the tables would have to hold every column once for each.
        let [given, bent] = ["rows", "bent_rows"].map(|what| format!("{output}/{what}"));
        self.reshape(input, &[-1, columns.len() as i64], &given);
        self.along_row(columns, pieces, &given, &bent);
        self.reshape(&bent, &[-1, (rows * columns.len()) as i64], output);
    }

    fn along_row(&mut self, columns: &[Column], pieces: fn(&Knots) -> &[Piece], input: &str, output: &str) {
        let of_column = |column: &Column| column.knots.as_ref().map_or(vec![Piece::STRAIGHT], |k| pieces(k).to_vec());
        let each: Vec<Vec<Piece>> = columns.iter().map(of_column).collect();
        let places = each.iter().map(Vec::len).max().unwrap_or(1).next_power_of_two().max(2);
        let part = |what: &str| format!("{output}/{what}");
        for (name, number) in NUMBERS {
            // Where there are fewer pieces than the bisection has places, the last one stands in all that are left.
            let at = |place: usize| each.iter().map(move |all| number(&all[place.min(all.len() - 1)]));
            self.floats(&part(&format!("all_{name}")), &[places, columns.len()], (0..places).flat_map(at));
        }
        let middle = each.iter().map(|all| all[(places / 2).min(all.len() - 1)].from);
        self.floats(&part("middle"), &[columns.len()], middle);
        self.int32(&part("first"), 0);
        let place = self.place(places, input, output);
        for (name, _) in NUMBERS {
            self.node("GatherElements", &[&part(&format!("all_{name}")), &place], &part(name));
            self.attribute("axis", 0);
        }
        self.node("Sub", &[input, &part("from")], &part("run"));
        self.node("Mul", &[&part("run"), &part("slope")], &part("rise"));
        self.node("Add", &[&part("rise"), &part("to")], output);
    }

    /// The name of each value's place among the pieces of its column, of which there are a power of two, at least 2.
    fn place(&mut self, places: usize, input: &str, output: &str) -> String {
        let part = |what: &str| format!("{output}/{what}");
        let (mut place, mut step) = (part("first"), places / 2);
        while step > 0 {
            let of_step = |what: &str| part(&format!("{what}_{step}"));
            self.int32(&of_step("step"), step as i32);
            let (mut tried, mut begins) = (of_step("step"), part("middle"));
            if place != part("first") {
                (tried, begins) = (of_step("tried"), of_step("begins"));
                self.node("Add", &[&place, &of_step("step")], &tried);
                self.node("GatherElements", &[&part("all_from"), &tried], &begins);
                self.attribute("axis", 0);
            }
            self.node("GreaterOrEqual", &[input, &begins], &of_step("is_there"));
            self.node("Where", &[&of_step("is_there"), &tried, &place], &of_step("place"));
            place = of_step("place");
            step /= 2;
        }
        place
    }
}
