//! `record.jsonl`: appended a line a round, cut back when a run goes on from a checkpoint.

use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use sordino::{Error, Result};

use super::Point;
use crate::files::{self, system};

/// The record's file in a run's directory.
pub const RECORD: &str = "record.jsonl";
/// The same as a table.
pub const TABLE: &str = "record.csv";

/// The open record of a run.
#[derive(Debug)]
pub struct Journal {
    file: File,
    path: PathBuf,
    offset: u64,
}

impl Journal {
    /// A new, empty record in the run's directory; an old one is overwritten.
    pub fn create(directory: &Path) -> Result<Self> {
        files::make_directory(directory)?;
        let path = directory.join(RECORD);
        let file = File::create(&path).map_err(|e| system("write", &path, &e))?;
        Ok(Self { file, path, offset: 0 })
    }

    /// The record of a run that goes on from a checkpoint made when the record had `offset` bytes: what was written
    /// after is cut off.
    pub fn resume(directory: &Path, offset: u64) -> Result<Self> {
        let path = directory.join(RECORD);
        let mut file = OpenOptions::new().read(true).write(true).open(&path).map_err(|e| system("open", &path, &e))?;
        let length = file.metadata().map_err(|e| system("read", &path, &e))?.len();
        if length < offset {
            return Err(Error::mismatch(format!(
                "{} has {length} bytes, but the checkpoint was made when it had {offset}: it is not this run's record",
                path.display()
            )));
        }
        if offset > 0 {
            let mut last = [0];
            let ends = file.seek(SeekFrom::Start(offset - 1)).and_then(|_| file.read_exact(&mut last));
            ends.map_err(|e| system("read", &path, &e))?;
            if last != *b"\n" {
                return Err(Error::mismatch(format!(
                    "{}: byte {offset}, where the checkpoint was made, is no end of a line: it is not this run's record",
                    path.display()
                )));
            }
        }
        let cut = file.set_len(offset).and_then(|()| file.seek(SeekFrom::Start(offset)));
        cut.map_err(|e| system("cut", &path, &e))?;
        Ok(Self { file, path, offset })
    }

    /// Appends a line; it is with the operating system when this returns.
    pub fn append(&mut self, point: &Point) -> Result<()> {
        let mut line =
            serde_json::to_string(point).map_err(|e| Error::data(format!("a point cannot be written: {e}")))?;
        line.push('\n');
        self.file.write_all(line.as_bytes()).map_err(|e| system("write", &self.path, &e))?;
        self.offset += line.len() as u64;
        Ok(())
    }

    /// Puts what was appended onto the disk and says how many bytes that is: what a checkpoint remembers.
    pub fn settle(&mut self) -> Result<u64> {
        self.file.sync_data().map_err(|e| system("write", &self.path, &e))?;
        Ok(self.offset)
    }

    /// Writes `record.csv` beside the record, from what the record holds.
    pub fn finish(&mut self) -> Result<()> {
        let points = read_points(&self.path)?;
        files::write_aside(&self.path.with_file_name(TABLE), table(&points).as_bytes())
    }
}

/// The points of a record. A last line that was cut off when its writer was killed is left out.
pub fn read_points(path: &Path) -> Result<Vec<Point>> {
    let text = files::read_bytes(path)?;
    let mut points = Vec::new();
    let mut lines = text.split(|&b| b == b'\n').enumerate().peekable();
    while let Some((number, line)) = lines.next() {
        if line.trim_ascii().is_empty() {
            continue;
        }
        match serde_json::from_slice(line) {
            Ok(point) => points.push(point),
            // No newline follows: the writer did not get to the end of it.
            Err(_) if lines.peek().is_none() => {}
            Err(e) => {
                let (path, line) = (path.display(), number + 1);
                return Err(Error::data(format!("{path}: line {line}: expected a point of a record, but {e}")));
            }
        }
    }
    Ok(points)
}

fn table(points: &[Point]) -> String {
    let mut text = Point::default().columns().map(|(name, _)| name).join(",");
    text.push('\n');
    for point in points {
        for (at, (_, value)) in point.columns().into_iter().enumerate() {
            let comma = if at == 0 { "" } else { "," };
            // Writing to a string cannot fail.
            let _ = match value {
                Some(value) => write!(text, "{comma}{value}"),
                None => write!(text, "{comma}"),
            };
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::files::Scratch;

    fn point(round: u64) -> Point {
        Point { round, train_loss: 0.1 + round as f64, bytes_sent: 1 << 40, ..Point::default() }
    }

    fn rounds(directory: &Path) -> Vec<u64> {
        read_points(&directory.join(RECORD)).unwrap().iter().map(|p| p.round).collect()
    }

    #[test]
    fn a_resumed_record_is_cut_back_to_its_checkpoint() {
        let scratch = Scratch::new("journal");
        let mut journal = Journal::create(&scratch.0).unwrap();
        journal.append(&point(0)).unwrap();
        let offset = journal.settle().unwrap();
        journal.append(&point(1)).unwrap();
        journal.append(&point(2)).unwrap();
        let end = journal.settle().unwrap();
        drop(journal);
        let mut journal = Journal::resume(&scratch.0, offset).unwrap();
        journal.append(&point(10)).unwrap();
        assert_eq!(rounds(&scratch.0), [0, 10]);
        assert!(Journal::resume(&scratch.0, end).unwrap_err().to_string().contains("not this run's record"));
        assert!(Journal::resume(&scratch.0, offset - 1).unwrap_err().to_string().contains("no end of a line"));
        assert_eq!(rounds(&scratch.0), [0, 10], "a refusal cuts nothing");
    }

    #[test]
    fn a_cut_last_line_is_left_out_and_a_broken_middle_is_an_error() {
        let scratch = Scratch::new("cut");
        let mut journal = Journal::create(&scratch.0).unwrap();
        journal.append(&point(0)).unwrap();
        journal.append(&point(1)).unwrap();
        let path = scratch.0.join(RECORD);
        let whole = fs::read(&path).unwrap();
        let first = whole.iter().position(|&b| b == b'\n').unwrap() + 1;
        for cut in first..whole.len() - 1 {
            fs::write(&path, &whole[..cut]).unwrap();
            assert_eq!(rounds(&scratch.0), [0]);
        }
        fs::write(&path, [&whole[..first - 5], b"\n", &whole[first..]].concat()).unwrap();
        let says = read_points(&path).unwrap_err().to_string();
        assert!(says.contains("line 1: expected a point"), "{says}");
    }

    #[test]
    fn the_table_repeats_the_record() {
        let scratch = Scratch::new("table");
        let mut journal = Journal::create(&scratch.0).unwrap();
        journal.append(&point(0)).unwrap();
        journal.append(&point(7)).unwrap();
        journal.finish().unwrap();
        let text = fs::read_to_string(scratch.0.join(TABLE)).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[0].starts_with("round,step,epoch,train_loss,"));
        assert!(lines[2].starts_with("7,0,0,7.1,,,1099511627776,"), "{}", lines[2]);
        assert_eq!(lines.len(), 3);
        let columns = lines[0].matches(',').count();
        assert!(columns >= 17 && lines.iter().all(|l| l.matches(',').count() == columns));
    }
}
