//! Tests which forms of jobs and pages are read, what becomes of the others, and that what was read is written back.

use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, SystemTime};

use atomiverse::simulator::Simulator;
use atomiverse::{
    Atom, BatchSubmission, Element, Error, JobId, JobState, JobSummary, JobsPage, MoleculePreview,
    SubmissionStatus, Timestamp,
};
use serde_json::{Value, json};

use crate::support::{Random, RawServer, json as answer_json};

fn summary(change: impl FnOnce(&mut Value)) -> Value {
    let mut summary = json!({
        "job_id": "9f2c", "name": "water", "state": "done", "job_type": "single_point_energy",
        "created_at": "2026-05-02T14:32:01.123456Z", "billed_core_seconds": 12.5,
        "molecule_preview": {"formula": "H2O", "atoms": [{"element": "O", "position": [0.0, 0.0, 0.117]}]}
    });
    change(&mut summary);
    summary
}

/// Returns a summary with another value in one field.
fn with(field: &str, value: &Value) -> Value {
    summary(|job| job[field] = value.clone())
}

/// Lists these jobs over a socket on one page.
fn listed(jobs: &[impl ToString]) -> Vec<Result<JobSummary, Error>> {
    let jobs = jobs.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
    let server = RawServer::script(vec![answer_json(&format!(r#"{{"jobs":[{jobs}],"has_more":false}}"#))]);
    server.client().iter_jobs().collect()
}

/// Lists a job with each value in one field.
fn listed_with(field: &str, values: &[Value]) -> Vec<Result<JobSummary, Error>> {
    listed(&values.iter().map(|value| with(field, value)).collect::<Vec<_>>())
}

#[test]
fn what_makes_one_job_unreadable_loses_neither_its_id_nor_any_other_job() {
    // What stands in place of one field, which is removed, and whether the id and the state can still be read.
    let cases = [
        ("name", r#""name":"\ud83d""#, true, true),
        ("name", r#""name":7"#, true, true),
        ("state", r#""state":null"#, true, false),
        ("state", r#""state":"\ude00""#, true, false),
        ("state", r#""x":1"#, true, false),
        ("job_type", r#""job_type":null"#, true, true),
        ("job_type", r#""x":1"#, true, true),
        ("created_at", r#""created_at":true"#, true, true),
        ("created_at", r#""x":1"#, true, true),
        ("created_at", r#""created_at":1e400"#, true, true),
        ("billed_core_seconds", r#""billed_core_seconds":-1e400"#, true, true),
        ("billed_core_seconds", r#""billed_core_seconds":"free""#, true, true),
        ("billed_core_seconds", r#""billed_core_seconds":{"amount":1}"#, true, true),
        ("molecule_preview", r#""x":[{"y":1e999}]"#, true, true),
        ("job_id", r#""job_id":null"#, false, true),
        ("job_id", r#""job_id":1.5"#, false, true),
        ("job_id", r#""job_id":"\ud83d""#, false, true),
        ("job_id", r#""x":1"#, false, true),
    ];
    for (field, replacement, has_id, has_state) in cases {
        let mut odd = summary(|_| ());
        odd.as_object_mut().unwrap().remove(field);
        let odd = odd.to_string();
        for odd in
            [format!("{{{replacement},{}", &odd[1..]), format!("{},{replacement}}}", &odd[..odd.len() - 1])]
        {
            let good = with("job_id", &json!("a")).to_string();
            let jobs = listed(&[good.clone(), odd.clone(), good.clone()]);
            assert!(jobs.len() == 3 && jobs[0].is_ok() && jobs[2].is_ok(), "{odd}: {jobs:?}");
            let error = jobs[1].as_ref().expect_err(&odd);
            assert!(
                error.is_unreadable_job() && error.is_decode() && !error.is_transient(),
                "{odd}: {error}"
            );
            assert_eq!(error.job_id().map(JobId::as_str), has_id.then_some("9f2c"), "{odd}: {error}");
            assert_eq!(error.state(), has_state.then_some(&JobState::Done), "{odd}: {error}");
            // A page of its own is one value, which cannot be read.
            let server = RawServer::script(vec![answer_json(&format!(
                r#"{{"jobs":[{good},{odd}],"has_more":false}}"#
            ))]);
            assert!(server.client().list_jobs().send().unwrap_err().is_unreadable_job(), "{odd}");
            let server = RawServer::script(vec![answer_json(&odd)]);
            assert!(server.client().get_job("9f2c").unwrap_err().is_decode(), "{odd}");
        }
    }
    for body in [
        "<html>",
        "",
        "[]",
        "null",
        r#"{"jobs":[]"#,
        r#"{"jobs":{},"has_more":false}"#,
        r#"{"has_more":false}"#,
        r#"{"jobs":[],"has_more":1}"#,
        r#"{"jobs":[],"has_more":true,"next_cursor":{"id":1}}"#,
    ] {
        let server = RawServer::script(vec![answer_json(body)]);
        let error = server.client().iter_jobs().next().unwrap().unwrap_err();
        assert!(error.is_decode() && !error.is_unreadable_job(), "{body}: {error}");
    }
}

#[test]
fn states_are_read_in_either_case_and_unknown_ones_are_kept() {
    let unknown = |state: &str| JobState::Unknown(state.into());
    let cases = [
        ("pending", JobState::Pending),
        ("RUNNING", JobState::Running),
        ("Done", JobState::Done),
        ("failed", JobState::Failed),
        ("CANCELLED", JobState::Cancelled),
        ("canceled", JobState::Cancelled),
        ("Paused", unknown("Paused")),
        ("JobState.DONE", unknown("JobState.DONE")),
        ("", unknown("")),
    ];
    let jobs = listed_with("state", &cases.clone().map(|(text, _)| json!(text)));
    for (job, (text, state)) in jobs.into_iter().zip(cases) {
        assert_eq!(job.unwrap().state, state, "{text}");
    }
}

#[test]
fn integers_are_ids_and_strings_are_charges() {
    let jobs = listed_with("job_id", &[json!(7), json!(u64::MAX), json!("a b\u{feff}")]);
    let ids: Vec<String> = jobs.into_iter().map(|job| job.unwrap().job_id.into()).collect();
    assert_eq!(ids, ["7", "18446744073709551615", "a b\u{feff}"], "ids in responses are kept as they are");
    let jobs = listed_with("billed_core_seconds", &[json!("12.50"), json!(7), Value::Null, json!(0)]);
    let charges: Vec<Option<f64>> = jobs.into_iter().map(|job| job.unwrap().billed_core_seconds).collect();
    assert_eq!(charges, [Some(12.5), Some(7.0), None, Some(0.0)]);
    let page: JobsPage = serde_json::from_str(r#"{"jobs":[],"next_cursor":17}"#).unwrap();
    assert_eq!((page.has_more, page.next_cursor.as_deref()), (true, Some("17")));
}

#[test]
fn absent_and_null_are_none_and_unknown_fields_are_kept() {
    const OPTIONAL: [&str; 3] = ["name", "billed_core_seconds", "molecule_preview"];
    let absent =
        summary(|job| OPTIONAL.iter().for_each(|field| drop(job.as_object_mut().unwrap().remove(*field))));
    let null = summary(|job| OPTIONAL.iter().for_each(|field| job[*field] = Value::Null));
    for job in listed(&[absent, null]) {
        let job = job.unwrap();
        assert_eq!((job.name, job.billed_core_seconds, job.molecule_preview), (None, None, None));
        assert!(job.extra.is_empty());
    }
    let failed = with("error", &json!({"code": "scf", "message": "did not converge"}));
    let job = listed(&[&failed]).remove(0).unwrap();
    assert_eq!(job.extra["error"]["message"], "did not converge");
    assert_eq!(serde_json::to_value(&job).unwrap(), failed);
    let job = listed(&[with("job_type", &json!("reaction_network"))]).remove(0).unwrap();
    assert_eq!(job.job_type, "reaction_network");
}

#[test]
fn a_preview_in_an_unknown_form_is_left_out() {
    let forms = [
        json!("H2O"),
        json!(7),
        json!([]),
        json!({"smiles": "O"}),
        json!({"formula": 1, "atoms": []}),
        json!({"formula": "H2O", "atoms": "none"}),
        json!({"formula": "H2O", "atoms": [{"element": "O"}]}),
        json!({"formula": "H2O", "atoms": [{"element": 8, "position": [0, 0, 0]}]}),
        json!({"formula": "H2O", "atoms": [{"element": "O", "position": [0, 0]}]}),
        json!({"formula": "H2O", "atoms": [{"element": "O", "position": [0, 0, 0, 0]}]}),
        json!({"formula": "H2O", "atoms": [{"element": "O", "position": [0, "0", {"deep": [[]]}]}]}),
        json!({"formula": "H2O", "atoms": [null]}),
        json!({"formula": "H2O", "symbols": ["O"], "positions": [[0, 0, 0]]}),
    ];
    for (job, form) in listed_with("molecule_preview", &forms).into_iter().zip(&forms) {
        assert_eq!(job.unwrap().molecule_preview, None, "{form}");
    }
    let known = json!({"formula": "HX", "charge": -1, "atoms": [
        {"position": [1, 2.5, -3e0], "element": "H", "isotope": 2}, {"element": "Xx", "position": [0, 0, 0]}]});
    let job = listed_with("molecule_preview", &[known]).remove(0).unwrap();
    let atoms = [Atom::new("H", [1.0, 2.5, -3.0]), Atom::new("Xx", [0.0; 3])];
    assert_eq!(job.molecule_preview, Some(MoleculePreview::new("HX", atoms)));
}

#[test]
fn previews_elements_and_times_outside_of_a_summary_are_read_strictly() {
    assert!(serde_json::from_str::<MoleculePreview>(r#"{"smiles": "O"}"#).is_err());
    assert!(serde_json::from_str::<Element>("8").is_err());
    assert!(serde_json::from_str::<Timestamp>("true").is_err());
    // serde_json represents numbers like this with `arbitrary_precision`, which another crate may enable.
    let as_map = |key: &str| serde_json::from_value::<Timestamp>(json!({ key: "17" }));
    assert_eq!(as_map("$serde_json::private::Number").unwrap().as_str(), "17");
    assert!(as_map("seconds").is_err());
}

#[test]
fn every_element_is_known_by_its_symbol_with_blanks_around_it() {
    // The symbols in the order of the periodic table.
    let symbols = "H He Li Be B C N O F Ne Na Mg Al Si P S Cl Ar K Ca Sc Ti V Cr Mn Fe Co Ni Cu Zn Ga Ge As Se Br Kr \
        Rb Sr Y Zr Nb Mo Tc Ru Rh Pd Ag Cd In Sn Sb Te I Xe Cs Ba La Ce Pr Nd Pm Sm Eu Gd Tb Dy Ho Er Tm Yb Lu Hf Ta W \
        Re Os Ir Pt Au Hg Tl Pb Bi Po At Rn Fr Ra Ac Th Pa U Np Pu Am Cm Bk Cf Es Fm Md No Lr Rf Db Sg Bh Hs Mt Ds Rg Cn \
        Nh Fl Mc Lv Ts Og";
    let symbols: Vec<&str> = symbols.split_whitespace().collect();
    assert_eq!(symbols.len(), 118);
    for (number, symbol) in (1..).zip(symbols) {
        for written in [symbol.to_owned(), format!("{symbol} "), format!(" {symbol}")] {
            let element: Element = serde_json::from_value(json!(written)).unwrap();
            assert_eq!((element.atomic_number(), element.as_str()), (Some(number), symbol), "{written:?}");
            assert_eq!(Element::from(written.as_str()), element);
        }
    }
    for unknown in ["", "D", "xx", "h", "cl", "CL", "Uuo", "H1", "H H", "\u{e9}"] {
        assert_eq!(Element::from(unknown).atomic_number(), None, "{unknown}");
        assert_eq!(Element::from(unknown), unknown);
    }
}

#[test]
fn the_lines_of_an_xyz_file_have_four_fields_whatever_is_in_the_preview() {
    let numbers = [0.0, -0.5, 1e-300, 0.123456789, -1000.5, 123_456.789, -1_234_567.891, 1e15, -1e22];
    for (symbol, shown) in
        [("H", "H"), ("H ", "H"), (" C", "C"), ("a b", "X"), ("", "X"), ("Cl", "Cl"), ("\n", "X")]
    {
        for (n, x) in numbers.iter().enumerate() {
            let (y, z) = (numbers[(n + 1) % numbers.len()], numbers[(n + 5) % numbers.len()]);
            let xyz = MoleculePreview::new("H2\nO", [Atom::new(symbol, [*x, y, z])]).to_xyz();
            let lines: Vec<&str> = xyz.lines().collect();
            assert_eq!(lines[..2], ["1", "H2 O"]);
            let fields: Vec<&str> = lines[2].split_whitespace().collect();
            assert!(lines.len() == 3 && fields.len() == 4 && fields[0] == shown, "{symbol:?}: {xyz}");
            for (field, number) in fields[1..].iter().zip([*x, y, z]) {
                let read: f64 = field.parse().unwrap();
                assert!((read - number).abs() <= 5.1e-9 + number.abs() * 1e-15, "{number}: {xyz}");
            }
        }
    }
}

fn moment(wire: Value) -> Option<SystemTime> {
    serde_json::from_value::<Timestamp>(wire).unwrap().to_system_time()
}

/// Returns the time this many seconds and nanoseconds after 1970-01-01.
fn at(seconds: i64, nanoseconds: u32) -> Option<SystemTime> {
    let whole = Duration::from_secs(seconds.unsigned_abs());
    let start = if seconds < 0 { SystemTime::UNIX_EPOCH - whole } else { SystemTime::UNIX_EPOCH + whole };
    Some(start + Duration::from_nanos(nanoseconds.into()))
}

/// 2026-05-02T14:32:01Z
const SOME_DAY: i64 = 1_777_732_321;

#[test]
fn a_time_is_read_with_any_offset_and_fraction_and_written_back_unchanged() {
    let times = "2026-05-02T14:32:01Z 2026-05-02T14:32:01 2026-05-02t14:32:01z 2026-05-02T14:32:01-00:00 \
        2026-05-02T16:32:01+02:00 2026-05-02T09:02:01-05:30 2026-05-03T04:32:01+14:00 2026-05-01T20:32:01-18:00";
    let with_blank = times.split(' ').map(|text| text.replace(['T', 't'], " "));
    for text in times.split(' ').map(str::to_owned).chain(with_blank) {
        assert_eq!(moment(json!(text)), at(SOME_DAY, 0), "{text}");
        for digits in 1..=12 {
            let fraction = &"123456789012"[..digits];
            let text = format!("{}.{fraction}{}", &text[..19], &text[19..]);
            let nanoseconds = format!("{fraction:0<9}")[..9].parse().unwrap();
            assert_eq!(moment(json!(text)), at(SOME_DAY, nanoseconds), "{text}");
        }
    }
    for (text, seconds) in [
        ("1970-01-01T00:00:00Z", 0),
        ("1969-12-31T23:59:59Z", -1),
        ("1970-01-01T01:00:00+02:00", -3600),
        ("1900-03-01T00:00:00Z", -2_203_891_200),
        ("2000-02-29T12:00:00Z", 951_825_600),
        ("2024-12-31T23:59:59Z", 1_735_689_599),
        ("2100-03-01T00:00:00Z", 4_107_542_400),
        ("9999-12-30T00:00:00Z", 253_402_128_000),
    ] {
        assert_eq!(moment(json!(text)), at(seconds, 0), "{text}");
    }
    let leap = moment(json!("2016-12-31T23:59:60Z"));
    assert!(leap.is_none() || leap == at(1_483_228_800, 0), "{leap:?}");
    let wires = [json!("1777732321"), json!("2026-05-02 14:32:01"), json!(SOME_DAY), json!(1_777_732_321.5)];
    for (job, wire) in listed_with("created_at", &wires).into_iter().zip(wires) {
        let time = job.unwrap().created_at;
        assert_eq!(serde_json::to_value(&time).unwrap(), wire);
        assert_eq!(time.as_str(), wire.as_str().map_or(wire.to_string(), str::to_owned));
    }
}

#[test]
fn a_number_is_seconds_or_milliseconds_by_its_size() {
    for (wire, expected) in [
        (json!(0), at(0, 0)),
        (json!(-0.5), at(-1, 500_000_000)),
        (json!(SOME_DAY), at(SOME_DAY, 0)),
        (json!(1_777_732_321.5), at(SOME_DAY, 500_000_000)),
        (json!(99_999_999_999_u64), at(99_999_999_999, 0)),
        (json!(1e11), at(100_000_000, 0)),
        (json!(1_777_732_321_123_u64), at(SOME_DAY, 123_000_000)),
        (json!(1_777_732_321_000.5), at(SOME_DAY, 500_000)),
        (json!(1e300), None),
        (json!(-1e300), None),
    ] {
        assert_eq!(moment(wire.clone()), expected, "{wire}");
    }
    // Some platforms can represent these times. There must be no panic.
    let _ = [json!(i64::MAX), json!(i64::MIN), json!(u64::MAX)].map(moment);
}

#[test]
fn what_is_no_time_converts_to_none_and_no_string_makes_it_panic() {
    let day = "2026-05-02T";
    let ends = "|Z|14:32|14:32:01X|14:32:01Z and more|14:32:01ZZ|14:32:01+|14:32:01+2|14:32:01+99:99|14:32:01+02:60|\
        14:32:01.Z|14:32:01.5.5Z|14:32:-1Z|+4:32:01Z|24:00:00Z|14:60:00Z|14:32:61Z|\u{e9}14:32:01Z";
    let days = "||T|yesterday|2026-00-02|2026-13-02|2026-05-00|2026-05-32|2026-04-31|2023-02-29|2024-02-30|1900-02-29|\
        2100-02-29|26-05-02|\u{ff12}\u{ff10}26-05-02|2026-05-0\u{e9}|+026-05-02";
    let texts = ends.split('|').map(|end| format!("{day}{end}"));
    for text in texts.chain(days.split('|').map(|day| format!("{day}T14:32:01Z"))) {
        assert_eq!(moment(json!(text)), None, "{text:?}");
    }
    let sound: Vec<char> = "2026-05-02T14:32:01.5+02:00".chars().collect();
    for place in 0..sound.len() {
        for other in ['\0', '-', '9', ':', 'Z', '\u{e9}', '\u{1f600}'] {
            let mut text = sound.clone();
            text[place] = other;
            moment(json!(text.iter().collect::<String>()));
            text.truncate(place);
            let start = moment(json!(text.iter().collect::<String>()));
            assert!(start.is_none() || place >= 10, "an incomplete date was accepted: {text:?}");
        }
    }
}

#[cfg(feature = "jiff")]
#[test]
fn to_jiff_and_to_system_time_agree() {
    let mut random = Random(20_260_502);
    let mut below = |end| random.below(end);
    let mut moments = 0;
    for _ in 0..3000 {
        let date = format!("{:04}-{:02}-{:02}", 1600 + below(1200), 1 + below(12), 1 + below(31));
        let time = format!("{:02}:{:02}:{:02}.{:09}", below(24), below(60), below(60), below(1_000_000_000));
        let zone = ["", "Z", "+05:30", "-11:00"][below(4)];
        // Up to the year 2128. A `usize` of 32 bits holds each part.
        let seconds = below(50_000) as f64 * 1e5 + below(100_000) as f64 + below(1_000_000) as f64 / 1e6;
        for wire in
            [json!(format!("{date}T{time}{zone}")), json!(seconds), json!(-seconds), json!(seconds * 1000.0)]
        {
            let other = serde_json::from_value::<Timestamp>(wire.clone()).unwrap().to_jiff();
            let other: Option<SystemTime> = other.and_then(|moment| moment.try_into().ok());
            // The two may round a binary fraction differently.
            let apart = |ours: SystemTime, other| ours.duration_since(other).unwrap_or_else(|e| e.duration());
            match (moment(wire.clone()), other) {
                (Some(ours), Some(other)) => assert!(apart(ours, other) < Duration::from_micros(1), "{wire}"),
                (ours, other) => assert_eq!(ours, other, "{wire}"),
            }
            moments += usize::from(other.is_some());
        }
    }
    assert!((11_800..12_000).contains(&moments), "most days must exist, but not all: {moments}");
}

#[test]
fn a_batch_is_equal_after_a_round_trip_through_json() {
    let simulator = Simulator::start().unwrap();
    let batch = simulator.client().unwrap().submit_batch([json!({"job_type": "opt"}), json!({})]).unwrap();
    let text = serde_json::to_string(&batch).unwrap();
    assert_eq!(serde_json::from_str::<BatchSubmission>(&text).unwrap(), batch);
}

#[test]
fn pages_are_equal_after_a_round_trip_through_json() {
    let jobs = [
        summary(|_| ()),
        with("state", &json!("Paused")),
        with("created_at", &json!(1_777_732_321.25)),
        with("created_at", &json!(-0.0)),
        with("name", &Value::Null),
        summary(|job| job["molecule_preview"]["atoms"][0]["element"] = json!("Xx")),
    ];
    let page = json!({"jobs": jobs, "has_more": true, "next_cursor": "c2"}).to_string();
    // This number has more digits than an `f64`. The value that is read must not change again.
    let page = page.replacen("12.5", "12.111111111111113111111111111111111111111111115", 1);
    let page: JobsPage = serde_json::from_str(&page).unwrap();
    let text = serde_json::to_string(&page).unwrap();
    assert_eq!(serde_json::from_str::<JobsPage>(&text).unwrap(), page);
    assert_eq!(serde_json::from_value::<JobsPage>(serde_json::to_value(&page).unwrap()).unwrap(), page);
}

#[test]
fn a_summary_can_be_made_for_a_test_of_a_tool() {
    let job = JobSummary::new("9f2c", JobState::Done, "opt", "2026-05-02T14:32:01Z");
    let wire = r#"{"job_id":"9f2c","state":"done","job_type":"opt","created_at":"2026-05-02T14:32:01Z"}"#;
    assert_eq!(serde_json::from_str::<JobSummary>(wire).unwrap(), job);
}

#[test]
fn string_types_format_compare_and_are_found_as_strings() {
    let id = JobId::from("9f2c");
    assert!(id == *"9f2c" && id != *"77ab" && id == "9f2c" && id != "77ab");
    assert_eq!(format!("[{id:>6}][{:<2}]", Element::from("O")), "[  9f2c][O ]");
    assert_eq!(format!("[{:22}]", Timestamp::from("2026-05-02T12:00:00Z")), "[2026-05-02T12:00:00Z  ]");
    for (shown, text) in [
        (JobState::Cancelled.as_ref(), "cancelled"),
        (JobState::Unknown("paused".to_owned()).as_ref(), "paused"),
        (Timestamp::from("today").as_ref(), "today"),
        (Element::from("Xx").as_ref(), "Xx"),
    ] {
        assert_eq!(shown, text);
    }
    assert_eq!(HashMap::from([(id.clone(), "water")]).get("9f2c"), Some(&"water"));
    assert_eq!(BTreeSet::from([id]).get("9f2c").unwrap(), &"9f2c");
    for text in ["submitted", "cache_hit", "failed", "queued"] {
        let status: SubmissionStatus = serde_json::from_value(text.into()).unwrap();
        assert_eq!((status.as_str(), format!("{status:>10}")), (text, format!("{text:>10}")));
        assert_eq!(serde_json::to_value(&status).unwrap(), text);
        assert_eq!(matches!(status, SubmissionStatus::Unknown(_)), text == "queued");
    }
}
