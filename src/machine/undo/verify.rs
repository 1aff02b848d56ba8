//! Looking at everything once more after undoing: the oldest record of each path tells how it was.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::path::{Path, PathBuf};

use crate::transaction::journal::{Before, FileId, OldAttributes, Spot, UndoRecord};
use crate::transaction::log::Replay;
use crate::transaction::state::Item;

use super::super::Metadata;
use super::super::place::Place;
use super::spot::said;
use super::{Run, files};

/// How a path was.
#[derive(Default)]
struct Expected<'r> {
    /// `None` where only attributes are known.
    thing: Option<Thing<'r>>,
    /// The file whose attributes are known.
    id: Option<FileId>,
}

/// What was at a path.
#[derive(Clone, Copy)]
enum Thing<'r> {
    Nothing,
    Kept(&'r Before),
    Moved(FileId),
}

impl Run<'_> {
    /// Adds an item for every path that is not as it was before the oldest of the records.
    pub(super) fn verify(&mut self, pending: &[(u64, &UndoRecord)]) {
        let mut wrong = Vec::new();
        let attributes = oldest_attributes(pending);
        for (spot, expected) in self.expected(pending).values() {
            let old = expected.id.and_then(|id| attributes.get(&id));
            if let Err(why) = self.compare(spot, expected, old) {
                let what = spot.path.display().to_string();
                wrong.push(Item { what, why });
            }
        }
        self.items.extend(wrong);
    }

    fn expected<'r>(
        &self,
        pending: &[(u64, &'r UndoRecord)],
    ) -> BTreeMap<&'r Path, (&'r Spot, Expected<'r>)> {
        let mut all: BTreeMap<&Path, (&Spot, Expected<'_>)> = BTreeMap::new();
        let mut touched: BTreeSet<PathBuf> = BTreeSet::new();
        for (number, record) in pending.iter().rev() {
            if self.superseded.contains(number) {
                continue;
            }
            let excused = self.excused.contains(number);
            for (spot, thing, attributes) in claims(record) {
                let known = spot.path.ancestors().any(|path| touched.contains(path));
                if thing.is_some() {
                    touched.insert(spot.path.clone());
                }
                if known || excused {
                    continue;
                }
                let (_, expected) = all.entry(&spot.path).or_insert((spot, Expected::default()));
                expected.thing = expected.thing.or(thing);
                expected.id = expected.id.or(attributes.map(|(id, _)| id));
            }
        }
        all
    }

    fn compare(
        &self,
        spot: &Spot,
        expected: &Expected<'_>,
        old: Option<&OldAttributes>,
    ) -> Result<(), String> {
        let wrong = |error: io::Error| said(&spot.path, error);
        let place = self.find(spot)?;
        let found = match &place {
            Some(place) => place.metadata().map_err(wrong)?,
            None => None,
        };
        match (place, found, expected.thing) {
            (_, None, Some(Thing::Nothing)) => Ok(()),
            (_, Some(_), Some(Thing::Nothing)) => {
                Err("it is there again after it was removed".into())
            }
            (Some(place), Some(found), thing) => {
                if !self.is_thing(&place, &found, thing)? {
                    return Err("it was replaced again after it was restored".into());
                }
                let Some(old) = old else { return Ok(()) };
                let now = files::current(&place, &found, old).map_err(wrong)?;
                if same(&now, old, &found) {
                    return Ok(());
                }
                Err("its owner, mode or labels were changed after they were restored".into())
            }
            _ => Err("it is gone".into()),
        }
    }

    fn is_thing(
        &self,
        place: &Place,
        found: &Metadata,
        thing: Option<Thing<'_>>,
    ) -> Result<bool, String> {
        match thing {
            Some(Thing::Kept(before)) => Ok(
                self.renewed.is_in_tree(&place.path) || files::is_content(place, found, before)?
            ),
            Some(Thing::Moved(id)) => Ok(found.id() == id || self.renewed.is_copy(&place.path, id)),
            Some(Thing::Nothing) | None => Ok(true),
        }
    }
}

/// Returns the removals that were not possible, and were done anew as a copy: of the same file,
/// right after it.
pub(super) fn superseded(replay: &Replay) -> BTreeSet<u64> {
    let records: Vec<_> = replay.records().collect();
    let pairs = records.iter().zip(records.iter().skip(1));
    pairs
        .filter(|((_, record), (_, next))| match (record, next) {
            (
                UndoRecord::Removed {
                    spot,
                    before: tried,
                },
                UndoRecord::Removed {
                    spot: other,
                    before,
                },
            ) => spot.path == other.path && tried.identity.id == before.identity.id,
            _ => false,
        })
        .map(|((number, _), _)| *number)
        .collect()
}

type Claim<'r> = (
    &'r Spot,
    Option<Thing<'r>>,
    Option<(FileId, &'r OldAttributes)>,
);

/// Returns what a record says about how things were.
fn claims(record: &UndoRecord) -> Vec<Claim<'_>> {
    match record {
        UndoRecord::Created { spot, .. } => vec![(spot, Some(Thing::Nothing), None)],
        UndoRecord::Replaced { spot, before, .. } | UndoRecord::Removed { spot, before } => {
            let thing = Some(Thing::Kept(before));
            let attributes = (before.identity.id, &before.attributes);
            vec![(spot, thing, Some(attributes))]
        }
        UndoRecord::Renamed { from, to, moved } => {
            let moved = Some(Thing::Moved(*moved));
            vec![(from, moved, None), (to, Some(Thing::Nothing), None)]
        }
        UndoRecord::Attributes {
            spot, id, before, ..
        } => vec![(spot, None, Some((*id, before)))],
        UndoRecord::Effect { .. } => Vec::new(),
    }
}

/// Returns what each file's attributes were first; it may have been changed by another name.
fn oldest_attributes(pending: &[(u64, &UndoRecord)]) -> HashMap<FileId, OldAttributes> {
    let mut all: HashMap<FileId, OldAttributes> = HashMap::new();
    for (_, record) in pending.iter().rev() {
        for (_, _, attributes) in claims(record) {
            if let Some((id, more)) = attributes {
                older(all.entry(id).or_default(), more);
            }
        }
    }
    all
}

/// Takes over what is not known yet.
fn older(known: &mut OldAttributes, more: &OldAttributes) {
    known.mode = known.mode.or(more.mode);
    known.uid = known.uid.or(more.uid);
    known.gid = known.gid.or(more.gid);
    known.flags = known.flags.or(more.flags);
    if known.selinux.is_none() {
        known.selinux.clone_from(&more.selinux);
    }
    if known.capability.is_none() {
        known.capability.clone_from(&more.capability);
    }
}

fn same(now: &OldAttributes, expected: &OldAttributes, found: &Metadata) -> bool {
    // A link's mode says nothing.
    let mode = found.is_link() || now.mode == expected.mode;
    mode && OldAttributes {
        mode: expected.mode,
        ..now.clone()
    } == *expected
}
