//! Tests that summaries with unknown fields and values can be read, and are written back.

use std::collections::{BTreeSet, HashMap};

use atomiverse::{Element, JobId, JobState, JobSummary, JobsPage, MoleculePreview, Timestamp};
use serde_json::{Value, json};

use crate::support::{RawServer, json as answer_json};

fn summary(change: impl FnOnce(&mut Value)) -> Value {
    let mut summary = json!({
        "job_id": "9f2c", "name": "water", "state": "done", "job_type": "single_point_energy",
        "created_at": "2026-05-02T14:32:01.123456Z", "billed_core_seconds": 12.5,
        "molecule_preview": {"formula": "H2O", "atoms": [{"element": "O", "position": [0.0, 0.0, 0.117]}]}
    });
    change(&mut summary);
    summary
}

/// Lists this job over a socket, between two ordinary jobs, and returns it.
fn listed(job: &Value) -> JobSummary {
    let page = json!({"jobs": [summary(|_| ()), job, summary(|_| ())], "has_more": false});
    let server = RawServer::script(vec![answer_json(&page.to_string())]);
    let mut jobs = server.client().list_jobs().send().unwrap().jobs;
    assert_eq!(jobs.len(), 3);
    jobs.swap_remove(1)
}

#[test]
fn an_id_is_found_in_a_map_by_its_string() {
    let names = HashMap::from([(JobId::from("9f2c"), "water")]);
    assert_eq!(names.get("9f2c"), Some(&"water"));
    assert_eq!(BTreeSet::from([JobId::from("9f2c")]).get("9f2c").unwrap(), &"9f2c");
}

#[test]
fn ids_elements_and_timestamps_format_and_compare_as_strings() {
    let id = JobId::from("9f2c");
    assert!(id == *"9f2c" && id != *"77ab" && id == "9f2c" && id != "77ab");
    assert_eq!(format!("[{id:>6}]"), "[  9f2c]");
    let oxygen = Element::from("O");
    assert!(oxygen == *"O" && oxygen != *"C" && oxygen == "O" && oxygen != "C");
    assert_eq!(format!("[{oxygen:<2}]"), "[O ]");
    assert_eq!(oxygen.as_ref(), "O");
    let noon: Timestamp = serde_json::from_value(json!("2026-05-02T12:00:00Z")).unwrap();
    assert_eq!(format!("[{noon:22}]"), "[2026-05-02T12:00:00Z  ]");
}

#[test]
fn unknown_fields_at_every_level_are_ignored() {
    let job = listed(&summary(|job| {
        job["priority"] = json!({"level": [1, 2, {"x": null}]});
        job["molecule_preview"]["charge"] = json!(-1);
        job["molecule_preview"]["atoms"][0]["isotope"] = json!(17);
    }));
    assert_eq!(job.molecule_preview.unwrap().atoms.len(), 1);
}

#[test]
fn absent_and_null_are_none() {
    for value in [None, Some(Value::Null)] {
        let job = listed(&summary(|job| {
            for field in ["name", "billed_core_seconds", "molecule_preview"] {
                match &value {
                    Some(value) => job[field] = value.clone(),
                    None => drop(job.as_object_mut().unwrap().remove(field)),
                }
            }
        }));
        assert_eq!((job.name, job.billed_core_seconds, job.molecule_preview), (None, None, None));
    }
}

#[test]
fn an_unknown_job_type_is_kept() {
    let job = listed(&summary(|job| job["job_type"] = json!("reaction_network")));
    assert_eq!(job.job_type, "reaction_network");
}

#[test]
fn a_preview_in_an_unknown_form_is_left_out() {
    for shape in [
        json!("H2O"),
        json!(7),
        json!(true),
        json!([]),
        json!({}),
        json!({"smiles": "O"}),
        json!({"formula": "H2O"}),
        json!({"formula": 1, "atoms": []}),
        json!({"formula": "H2O", "atoms": "none"}),
        json!({"formula": "H2O", "atoms": [{"element": "O"}]}),
        json!({"formula": "H2O", "atoms": [{"element": 8, "position": [0, 0, 0]}]}),
        json!({"formula": "H2O", "atoms": [{"element": "O", "position": [0, 0]}]}),
        json!({"formula": "H2O", "atoms": [{"element": "O", "position": [0, 0, 0, 0]}]}),
        json!({"formula": "H2O", "atoms": [{"element": "O", "position": [0, "0", {"deep": [[]]}]}]}),
        json!({"formula": "H2O", "atoms": [null]}),
        json!({"formula": "H2O", "symbols": ["O"]}),
        json!({"formula": "H2O", "symbols": ["O"], "positions": []}),
        json!({"formula": "H2O", "symbols": [8], "positions": [[0, 0, 0]]}),
    ] {
        let job = listed(&summary(|job| job["molecule_preview"] = shape.clone()));
        assert_eq!(job.molecule_preview, None, "{shape}");
    }
}

#[test]
fn every_timestamp_is_kept() {
    for (wire, text) in [
        (json!("2026-05-02T14:32:01.123456Z"), "2026-05-02T14:32:01.123456Z"),
        (json!("2026-05-02T14:32:01"), "2026-05-02T14:32:01"),
        (json!("yesterday"), "yesterday"),
        (json!(""), ""),
        (json!(1_777_732_321), "1777732321"),
        (json!(1_777_732_321.25), "1777732321.25"),
    ] {
        let job = listed(&summary(|job| job["created_at"] = wire.clone()));
        assert_eq!(job.created_at.as_str(), text);
        assert_eq!(
            serde_json::to_value(&job.created_at).unwrap(),
            wire,
            "the timestamp is written back unchanged"
        );
    }
}

#[cfg(feature = "jiff")]
#[test]
fn a_timestamp_converts_to_jiff() {
    let moment = |wire: Value| serde_json::from_value::<Timestamp>(wire).unwrap().to_jiff();
    let expected: jiff::Timestamp = "2026-05-02T14:32:01Z".parse().unwrap();
    let half: jiff::Timestamp = "2026-05-02T14:32:01.5Z".parse().unwrap();
    for wire in [
        json!("2026-05-02T14:32:01Z"),
        json!("2026-05-02T16:32:01+02:00"),
        json!("2026-05-02T14:32:01"),
        json!("2026-05-02 14:32:01"),
        json!(1_777_732_321),
    ] {
        assert_eq!(moment(wire.clone()), Some(expected), "{wire}");
    }
    for wire in [json!("2026-05-02T14:32:01.500000"), json!(1_777_732_321.5)] {
        assert_eq!(moment(wire.clone()), Some(half), "{wire}");
    }
    for wire in [json!("yesterday"), json!(""), json!(1e300)] {
        assert_eq!(moment(wire.clone()), None, "{wire}");
    }
}

#[test]
fn a_summary_is_serialized_as_it_was_received() {
    let wire = summary(|_| ());
    let job: JobSummary = serde_json::from_value(wire.clone()).unwrap();
    assert_eq!(serde_json::to_value(&job).unwrap(), wire);
}

#[test]
fn pages_are_equal_after_a_round_trip_through_json() {
    let jobs = [
        summary(|_| ()),
        summary(|job| job["state"] = json!("Paused")),
        summary(|job| job["created_at"] = json!(1_777_732_321.25)),
        summary(|job| job["molecule_preview"]["atoms"][0]["element"] = json!("Xx")),
        summary(|job| job["name"] = Value::Null),
        summary(|job| job["molecule_preview"] = json!({"unknown": "shape"})),
        summary(|job| job["created_at"] = json!(-0.0)),
    ];
    let page = json!({"jobs": jobs, "has_more": true, "next_cursor": "c2"}).to_string();
    // This number has more digits than an `f64`. The value that is read must not change again.
    let page = page.replacen("12.5", "12.111111111111113111111111111111111111111111115", 1);
    let page: JobsPage = serde_json::from_str(&page).unwrap();
    let text = serde_json::to_string(&page).unwrap();
    assert_eq!(serde_json::from_str::<JobsPage>(&text).unwrap(), page);
    let value = serde_json::to_value(&page).unwrap();
    assert_eq!(serde_json::from_value::<JobsPage>(value).unwrap(), page);
}

#[test]
fn a_preview_outside_of_a_summary_is_read_strictly() {
    let error = serde_json::from_str::<MoleculePreview>(r#"{"smiles": "O"}"#).unwrap_err();
    assert!(error.to_string().contains("expected a molecule preview"), "{error}");
    assert!(serde_json::from_str::<Element>("8").is_err());
    assert!(serde_json::from_str::<Timestamp>("true").is_err());
}
