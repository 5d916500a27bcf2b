//! The file in which `fanfare sub` keeps how far it has come. It is replaced as a whole and is on the
//! disk before the command goes on; what was printed after the last time comes again.

use std::io;
use std::path::{Path, PathBuf};

use fanfare_client::{BadProgress, Progress};
use tokio::io::AsyncWriteExt as _;

use crate::failure::Failure;

/// Items after which it is written though more wait: as many as may come again after a crash.
const BATCH: u32 = 256;

/// A cursor file, or none: then nothing is kept.
pub struct CursorFile {
    path: Option<PathBuf>,
    /// Items processed since it was written.
    unsaved: u32,
}

impl CursorFile {
    /// Kept at `path`, if one is given.
    pub fn at(path: Option<PathBuf>) -> Self {
        Self { path, unsaved: 0 }
    }

    /// What it holds; one that is not there is a beginning.
    pub async fn load(&self) -> Result<Progress, Failure> {
        let Some(path) = &self.path else {
            return Ok(Progress::default());
        };
        let bad = |why: &dyn std::fmt::Display| {
            let path = path.display();
            Failure::Usage(format!(
                "--cursor-file: {path}: {why}\nRemove the file to begin anew"
            ))
        };
        let text = match tokio::fs::read_to_string(path).await {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(Progress::default());
            }
            Err(error) => return Err(bad(&error)),
        };
        // It is never left empty: to begin at the latest would lose unseen.
        if text.trim().is_empty() {
            return Err(bad(&"the file is empty"));
        }
        text.parse().map_err(|e: BadProgress| bad(&e))
    }

    /// One more item is processed.
    pub fn processed(&mut self) {
        self.unsaved = self.unsaved.saturating_add(1);
    }

    /// True if it has to be written before anything else is done.
    pub fn is_full(&self) -> bool {
        self.unsaved >= BATCH
    }

    /// True if it should be written before waiting.
    pub fn is_behind(&self) -> bool {
        self.path.is_some() && self.unsaved > 0
    }

    /// Writes it if it is behind. Without a cursor yet there is nothing to go on from.
    pub async fn save(&mut self, progress: &Progress) -> Result<(), Failure> {
        self.unsaved = 0;
        let (Some(path), Some(_)) = (&self.path, progress.cursor()) else {
            return Ok(());
        };
        let written = replace(path, progress.to_string().as_bytes()).await;
        written.map_err(|e| Failure::Usage(format!("--cursor-file: {}: {e}", path.display())))
    }
}

/// Written beside it and synced, renamed, and the directory synced: whatever happens, the old or the
/// new one is there, whole.
async fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let beside = PathBuf::from(beside);
    let mut file = tokio::fs::File::create(&beside).await?;
    file.write_all(bytes).await?;
    file.sync_all().await?;
    drop(file);
    tokio::fs::rename(&beside, path).await?;
    let dir = match path.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir,
        Some(_) | None => Path::new("."),
    };
    tokio::fs::File::open(dir).await?.sync_all().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_is_replaced_as_a_whole_and_never_mistaken() {
        let dir = std::env::temp_dir().join(format!("fanfare-sub-{}", std::process::id()));
        tokio::fs::create_dir_all(&dir).await.unwrap();
        let path = dir.join("orders.cursor");
        let mut file = CursorFile::at(Some(path.clone()));
        assert_eq!(file.load().await.unwrap(), Progress::default());
        let progress: Progress = "C42\n7-43 news\n".parse().unwrap();
        file.processed();
        assert!(file.is_behind() && !file.is_full());
        file.save(&progress).await.unwrap();
        assert!(!file.is_behind());
        file.save(&progress).await.unwrap();
        assert_eq!(file.load().await.unwrap(), progress);
        let mut left = tokio::fs::read_dir(&dir).await.unwrap();
        let only = left.next_entry().await.unwrap().unwrap();
        assert_eq!(only.path(), path);
        let more = left.next_entry().await.unwrap();
        assert!(more.is_none(), "nothing is left beside it");
        tokio::fs::write(&path, "").await.unwrap();
        assert!(matches!(file.load().await, Err(Failure::Usage(_))));
        tokio::fs::remove_dir_all(&dir).await.unwrap();
    }

    #[test]
    fn a_batch_is_bounded_and_without_a_file_nothing_is_behind() {
        let mut file = CursorFile::at(Some("a".into()));
        (0..BATCH).for_each(|_| file.processed());
        assert!(file.is_full());
        let mut none = CursorFile::at(None);
        none.processed();
        assert!(!none.is_behind());
    }
}
