//! Filters that treat lists as sets, and those that combine their items.
//!
//! Python's sets have no order; here what came first stays first.

use super::super::call::{Call, items_of};
use super::super::python::{contains, room_for};
use super::{Filter, data};
use crate::value::Value;

pub(super) const FILTERS: &[Filter] = &[
    data("union", "b!", |call| {
        let (mut a, b) = both(call)?;
        a.extend(b);
        Ok(distinct(a).into())
    }),
    data("intersect", "b!", |call| {
        let (mut a, b) = both(call)?;
        a.retain(|item| contains(&b, item));
        Ok(distinct(a).into())
    }),
    data("difference", "b!", |call| {
        let (mut a, b) = both(call)?;
        a.retain(|item| !contains(&b, item));
        Ok(distinct(a).into())
    }),
    data("symmetric_difference", "b!", |call| {
        let (a, b) = both(call)?;
        let only_a = a.iter().filter(|item| !contains(&b, item));
        let only_b = b.iter().filter(|item| !contains(&a, item));
        Ok(distinct(only_a.chain(only_b).cloned().collect()).into())
    }),
    data("product", "* repeat", product),
    data("permutations", "r", |call| arranged(call, false)),
    data("combinations", "r!", |call| arranged(call, true)),
];

fn both(call: &Call<'_>) -> Result<(Vec<Value>, Vec<Value>), String> {
    Ok((call.items()?, items_of(call.required(0))?))
}

fn distinct(items: Vec<Value>) -> Vec<Value> {
    let mut out: Vec<Value> = Vec::with_capacity(items.len());
    for item in items {
        if !contains(&out, &item) {
            out.push(item);
        }
    }
    out
}

fn product(call: &Call<'_>) -> Result<Value, String> {
    let mut pools = vec![call.items()?];
    for pool in &call.rest {
        pools.push(items_of(pool)?);
    }
    let repeat = call.named.get("repeat").or_else(|| call.get(0));
    let repeat = repeat.and_then(Value::as_int).unwrap_or(1);
    let times = usize::try_from(repeat).unwrap_or(0);
    let size = pools
        .iter()
        .try_fold(1_usize, |size, pool| size.checked_mul(pool.len()))
        .and_then(|size| size.checked_pow(u32::try_from(times).ok()?));
    room_for(size)?;
    let mut rows: Vec<Vec<Value>> = vec![Vec::new()];
    for pool in std::iter::repeat_n(&pools, times).flatten() {
        rows = rows
            .iter()
            .flat_map(|row| {
                pool.iter().map(|item| {
                    let mut row = row.clone();
                    row.push(item.clone());
                    row
                })
            })
            .collect();
    }
    Ok(Value::list(rows))
}

fn arranged(call: &Call<'_>, combinations: bool) -> Result<Value, String> {
    let pool = call.items()?;
    let length = match call.int(0)? {
        Some(length) => usize::try_from(length).map_err(|_| "r must be non-negative")?,
        None => pool.len(),
    };
    let mut out = Vec::new();
    arrange(&pool, length, combinations, &mut Vec::new(), &mut out);
    Ok(Value::list(out))
}

fn arrange(
    pool: &[Value],
    length: usize,
    combinations: bool,
    chosen: &mut Vec<usize>,
    out: &mut Vec<Vec<Value>>,
) {
    if chosen.len() == length {
        out.push(chosen.iter().map(|at| pool[*at].clone()).collect());
        return;
    }
    let start = match chosen.last() {
        Some(last) if combinations => last + 1,
        _ => 0,
    };
    for at in start..pool.len() {
        if !chosen.contains(&at) {
            chosen.push(at);
            arrange(pool, length, combinations, chosen, out);
            chosen.pop();
        }
    }
}
