//! What the screen of a machine shows, and the pictures that are kept of it.

use std::fs;

use super::Observer;
use crate::{
    cell::pictures,
    event::Level,
    health,
    lab::Screenshot,
    model::{CURSOR_PPM, KnownScreen, Progress, Sha256, SignalKind},
};

/// Most pictures that are kept of a cell, and how many of them are its first: the others are its last.
const FRAMES: usize = 60;
const FIRST: usize = 30;

impl Observer {
    /// Takes a picture, keeps it if it is another one, and says what it shows once it stands still.
    pub(super) async fn look_at_screen(&mut self, progress: &mut Progress) {
        let Some(Ok(Some(now))) = self.in_time(self.vm.screenshot()).await else { return };
        if let Some(before) = &self.screen {
            progress.screen_changed_ppm = Some(pictures::difference_ppm(before, &now));
        }
        if let Some(settled) = &self.settled_screen {
            progress.screen_unlike_settled_ppm = settled.unlike_ppm(&now);
        }
        if progress.screen_changed_ppm.is_none_or(|ppm| ppm > CURSOR_PPM) {
            self.keep_frame(now.clone()).await;
        } else if let Some((sha256, file)) = self.standing.take()
            && let Some(shows) = self.recognise(now.clone()).await
        {
            self.emit(SignalKind::Screen { sha256, file, shows: Some(shows) });
        }
        self.screen = Some(now);
    }

    /// Keeps what the screen shows now. A picture that cannot be written is no fault of the machine.
    async fn keep_frame(&mut self, screen: Screenshot) {
        let sha256 = Sha256::of(&screen.rgb);
        let mut file = None;
        let name = format!("screens/{:02}.png", self.frames_taken + 1);
        let path = self.dir.join(&name);
        let old = (self.frames.len() >= FRAMES).then(|| self.frames.remove(FIRST));
        let write = move || {
            old.map_or(Ok(()), fs::remove_file)?;
            path.parent().map_or(Ok(()), fs::create_dir_all)?;
            pictures::write_png(&screen, &path).map(|()| path)
        };
        match tokio::task::spawn_blocking(write).await {
            Ok(Ok(path)) => {
                self.frames.push(path);
                self.frames_taken += 1;
                file = Some(name);
            }
            Ok(Err(error)) => self.note(Level::Info, format!("a picture cannot be kept: {error}")),
            Err(_) => {}
        }
        self.standing = Some((sha256.clone(), file.clone()));
        self.emit(SignalKind::Screen { sha256, file, shows: None });
    }

    async fn recognise(&mut self, screen: Screenshot) -> Option<KnownScreen> {
        if self.dazzled {
            return None;
        }
        let work = move || health::recognise(screen.width, screen.height, &screen.rgb);
        match self.in_time(tokio::task::spawn_blocking(work)).await {
            Some(shows) => shows.ok().flatten(),
            None if self.cancel.is_cancelled() => None,
            None => {
                self.dazzled = true;
                self.note(Level::Info, "what the screen shows takes too long to recognise".to_owned());
                None
            }
        }
    }
}
