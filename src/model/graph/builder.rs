//! Nodes, constants and typed values of a graph in the making.

use crate::model::{
    metadata::Column,
    proto::{
        AttributeProto, Dimension, DimensionValue, GraphProto, NodeProto, TensorProto, TensorShapeProto,
        TensorTypeProto, TypeProto, ValueInfoProto, attribute_type, data_type,
    },
};

/// A graph in the making. Each node is named after the (first) value that it gives.
#[derive(Default)]
pub(super) struct GraphBuilder {
    pub(super) graph: GraphProto,
}

impl GraphBuilder {
    pub(super) fn node(&mut self, op_type: &str, inputs: &[&str], output: &str) {
        self.node_of_several(op_type, inputs, &[output.to_owned()]);
    }

    pub(super) fn node_of_several(&mut self, op_type: &str, inputs: &[&str], outputs: &[String]) {
        self.graph.node.push(NodeProto {
            input: inputs.iter().map(|&name| name.to_owned()).collect(),
            output: outputs.to_vec(),
            name: outputs[0].clone(),
            op_type: op_type.to_owned(),
            ..NodeProto::default()
        });
    }

    /// Gives the node that was added last an integer attribute.
    pub(super) fn attribute(&mut self, name: &str, value: i64) {
        self.add_attribute(AttributeProto {
            name: name.to_owned(),
            r#type: attribute_type::INT,
            i: Some(value),
            ..AttributeProto::default()
        });
    }

    /// Gives the node that was added last an attribute of several integers.
    pub(super) fn list_attribute(&mut self, name: &str, values: &[usize]) {
        self.add_attribute(AttributeProto {
            name: name.to_owned(),
            r#type: attribute_type::INTS,
            ints: values.iter().map(|&value| value as i64).collect(),
            ..AttributeProto::default()
        });
    }

    /// Gives the node that was added last a number as attribute.
    pub(super) fn float_attribute(&mut self, name: &str, value: f32) {
        self.add_attribute(AttributeProto {
            name: name.to_owned(),
            r#type: attribute_type::FLOAT,
            f: Some(value),
            ..AttributeProto::default()
        });
    }

    fn add_attribute(&mut self, attribute: AttributeProto) {
        self.graph.node.last_mut().expect("attributes follow their node").attribute.push(attribute);
    }

    pub(super) fn floats(&mut self, name: &str, dims: &[usize], values: impl IntoIterator<Item = f32>) {
        let raw_data = values.into_iter().flat_map(f32::to_le_bytes).collect();
        self.constant(name, dims, (data_type::FLOAT, raw_data));
    }

    pub(super) fn integer(&mut self, name: &str, value: i64) {
        self.integers(name, &[value]);
    }

    pub(super) fn integers(&mut self, name: &str, values: &[i64]) {
        let raw_data = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.constant(name, &[values.len()], (data_type::INT64, raw_data));
    }

    /// A single integer of 32 bits.
    pub(super) fn int32(&mut self, name: &str, value: i32) {
        self.constant(name, &[], (data_type::INT32, value.to_le_bytes().to_vec()));
    }

    fn constant(&mut self, name: &str, dims: &[usize], (data_type, raw_data): (i32, Vec<u8>)) {
        let dims = dims.iter().map(|&size| size as i64).collect();
        let raw_data = Some(raw_data);
        self.graph.initializer.push(TensorProto {
            dims,
            data_type,
            name: name.to_owned(),
            raw_data,
            ..TensorProto::default()
        });
    }

    /// A number per column.
    pub(super) fn per_column(&mut self, name: &str, columns: &[Column], number: impl Fn(&Column) -> f32) {
        self.floats(name, &[columns.len()], columns.iter().map(number));
    }

    /// A single number, once however often it is asked for.
    pub(super) fn number(&mut self, name: &str, value: f32) {
        if self.graph.initializer.iter().all(|tensor| tensor.name != name) {
            self.floats(name, &[], [value]);
        }
    }

    /// A node of a value and a number.
    pub(super) fn with_number(&mut self, op_type: &str, input: &str, (name, value): (&str, f32), output: &str) {
        self.number(name, value);
        self.node(op_type, &[input, name], output);
    }

    /// Another shape for the same values; -1 stands for what is left.
    pub(super) fn reshape(&mut self, input: &str, dims: &[i64], output: &str) {
        let shape = format!("{output}/shape");
        self.integers(&shape, dims);
        self.node("Reshape", &[input, &shape], output);
    }

    /// The entries from `start` up to `end` along an axis.
    pub(super) fn slice(&mut self, input: &str, axis: usize, (start, end): (usize, usize), output: &str) {
        let names = ["start", "end", "axis"].map(|what| format!("{output}/{what}"));
        for (name, value) in names.iter().zip([start, end, axis]) {
            self.integer(name, value as i64);
        }
        self.node("Slice", &[input, &names[0], &names[1], &names[2]], output);
    }
}

/// A float tensor `[batch]` or `[batch, width]`.
pub(super) fn value(name: &str, width: Option<usize>, doc: &str) -> ValueInfoProto {
    let batch = DimensionValue::DimParam("batch".to_owned());
    let width = width.map(|width| DimensionValue::DimValue(width as i64));
    let dim = std::iter::once(batch).chain(width).map(|value| Dimension { value: Some(value) }).collect();
    let tensor = TensorTypeProto { elem_type: data_type::FLOAT, shape: Some(TensorShapeProto { dim }) };
    let r#type = Some(TypeProto { tensor_type: Some(tensor) });
    ValueInfoProto { name: name.to_owned(), r#type, doc_string: doc.to_owned() }
}
